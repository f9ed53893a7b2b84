-- Claims these until then, or less than a second longer. There are as few of them as Lua's stack holds. The times when
-- claims lapse are kept beside, so that who is being asked can be counted.
local function claim_until(time, ids)
  local lapse, lapses = string.format(SCORE_FORMAT, math.ceil(time) - EARLY), {}
  for at, id in ipairs(ids) do lapses[2 * at - 1], lapses[2 * at] = lapse, id end
  call('ZADD', K.due, 'XX', unpack(lapses))
  call('ZADD', K.leases, lapse, lapse)
end
