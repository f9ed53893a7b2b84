-- Claims streamers of a cell: ARGV are now, the lease in seconds, how many of those who are due, how many more, how due
-- times change by new settings (or nothing), limits, what is known of the other cells, the sums of all pulls; and while
-- a list stands in for asking, how many are asked whom it has not shown (or nothing).
-- Returns whether all due times are as the settings say, and the ids as JSON, which is read sooner than a reply of many.
local now, lease, most, more = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local CHUNK = 2000 -- arguments: Lua's stack holds some 8,000
local MOST = 5000 -- ids that are given back in one call, so that no call holds up the store

-- Makes due again what was claimed and not recorded within its lease.
local function give_back()
  for _ = 1, math.ceil(MOST / CHUNK) do
    local lost = call('ZRANGEBYSCORE', K.claimed, '-inf', now, 'LIMIT', 0, CHUNK)
    if #lost == 0 then return end
    local dues = {}
    for _, id in ipairs(lost) do dues[#dues + 1], dues[#dues + 2] = now, id end
    call('ZADD', K.due, unpack(dues))
    call('ZREM', K.claimed, unpack(lost))
  end
end

-- Moves due times as the settings have changed: from the next who is due on, a piece at each claim. Whoever was moved is
-- due before the end of their piece, and so in no other. Returns whether it is done.
local function repace(text)
  local from, share, longest = unpack(cjson.decode(text))
  local noted = cjson.decode(call('GET', K.repaced) or '[]')
  local reached = noted[1] == text and noted[2] or string.format('%.17g', from)
  if reached == '' then return true end
  local waiting, changes = call('ZRANGEBYSCORE', K.due, '(' .. reached, '+inf', 'WITHSCORES', 'LIMIT', 0, CHUNK), {}
  if #waiting == 2 * CHUNK then -- those who are due at the same time as the last belong to this piece, too
    local last = waiting[#waiting]
    for _, id in ipairs(call('ZRANGEBYSCORE', K.due, last, last)) do
      waiting[#waiting + 1], waiting[#waiting + 2] = id, last
    end
  end
  for at = 1, #waiting, 2 do
    local rest = math.min((waiting[at + 1] - from) * share, longest)
    changes[#changes + 1], changes[#changes + 2] = from + rest, waiting[at]
    if #changes == 2 * CHUNK or at + 1 == #waiting then
      call('ZADD', K.due, unpack(changes))
      changes = {}
    end
  end
  reached = #waiting < 2 * CHUNK and '' or waiting[#waiting]
  call('SET', K.repaced, cjson.encode({text, reached}))
  return reached == ''
end

-- While a list stands in for asking, no more are asked than the budget bears: who is live, whom the list has shown, and
-- the first of the others. The rest is put off, as if they had been asked, so that nobody waits behind them.
local function put_off(kept)
  local changes, current = {}, nil
  for _, id in ipairs(call('ZRANGEBYSCORE', K.due, '-inf', now, 'LIMIT', 0, CHUNK)) do
    if not call('ZSCORE', K.live, id) and call('SISMEMBER', K.shown, id) == 0 then
      kept = kept - 1
      if kept < 0 then
        current = current or pace(cjson.decode(ARGV[6]), platform_counts(cjson.decode(ARGV[7])), ARGV[8])
        changes[#changes + 1], changes[#changes + 2] = next_due(current, id, now), id
      end
    end
  end
  if #changes > 0 then call('ZADD', K.due, unpack(changes)) end
end

local function take()
  local count = math.min(most, call('ZCOUNT', K.due, '-inf', now)) + more
  if count < 1 then return '[]' end
  local ids, any_shown = call('ZRANGE', K.due, 0, count - 1), call('EXISTS', K.shown) == 1
  local lapses = string.format('%.17g', now + lease) -- as text: a number would be written anew for each
  for first = 1, #ids, CHUNK do
    local leases, last = {}, math.min(first + CHUNK - 1, #ids)
    for at = first, last do
      leases[2 * (at - first) + 1], leases[2 * (at - first) + 2] = lapses, ids[at]
    end
    call('ZADD', K.claimed, unpack(leases))
    if any_shown then call('SREM', K.shown, unpack(ids, first, last)) end
  end
  call('ZREMRANGEBYRANK', K.due, 0, count - 1)
  return #ids > 0 and cjson.encode(ids) or '[]'
end

local done = ARGV[5] == '' or repace(ARGV[5])
give_back()
if ARGV[9] ~= '' then put_off(tonumber(ARGV[9])) end
return {done and 1 or 0, take()}
