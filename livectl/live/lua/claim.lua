-- Claims streamers of a cell: ARGV are now, the lease in seconds, how many of those who are due, how many more, how due
-- times change by new settings (or nothing), limits, what is known of the other cells, the sums of all pulls; and while
-- a list stands in for asking, how many are asked whom it has not shown (or nothing).
-- Returns whether all due times are as the settings say, and the ids as JSON, which is read sooner than a reply of many.
local now, lease, most, more = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local CHUNK = 2000 -- ids: Lua's stack holds some 8,000 arguments

-- Whom an older livectl was asking is due when that lapses.
local function take_over()
  local asked, dues = call('ZRANGE', K.claimed, 0, CHUNK - 1, 'WITHSCORES'), {}
  if #asked == 0 then return end
  for at = 1, #asked, 2 do dues[at], dues[at + 1] = asked[at + 1], asked[at] end
  call('ZADD', K.due, 'NX', unpack(dues))
  call('ZREMRANGEBYRANK', K.claimed, 0, CHUNK - 1)
end

-- Moves due times as the settings have changed: from the next who is due on, a piece at each claim. Whoever was moved is
-- due before the end of their piece, and so in no other. Who is being asked stays. Returns whether it is done.
local function repace(text)
  local from, share, longest = unpack(cjson.decode(text))
  local noted = cjson.decode(call('GET', K.repaced) or '[]')
  local reached = noted[1] == text and noted[2] or string.format(SCORE_FORMAT, from)
  if reached == '' then return true end
  local waiting, changes = call('ZRANGEBYSCORE', K.due, '(' .. reached, '+inf', 'WITHSCORES', 'LIMIT', 0, CHUNK), {}
  if #waiting == 2 * CHUNK then -- those who are due at the same time as the last belong to this piece, too
    local last = waiting[#waiting]
    for _, id in ipairs(call('ZRANGEBYSCORE', K.due, last, last)) do
      waiting[#waiting + 1], waiting[#waiting + 2] = id, last
    end
  end
  for at = 1, #waiting, 2 do
    if not is_lapse(tonumber(waiting[at + 1])) then
      local rest = math.min((waiting[at + 1] - from) * share, longest)
      changes[#changes + 1], changes[#changes + 2] = from + rest, waiting[at]
    end
    if #changes > 0 and (#changes == 2 * CHUNK or at + 1 == #waiting) then
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

-- Those who are due, and the next of those who are not being asked.
local function take()
  local count = math.min(most, call('ZCOUNT', K.due, '-inf', now))
  local ids = count > 0 and call('ZRANGE', K.due, 0, count - 1) or {}
  local next_ones = first_waiting('(' .. ARGV[1], more)
  for at = 1, #next_ones, 2 do ids[#ids + 1] = next_ones[at] end
  local any_shown = call('EXISTS', K.shown) == 1
  for first = 1, #ids, CHUNK do
    local some = {unpack(ids, first, math.min(first + CHUNK - 1, #ids))}
    claim_until(now + lease, some)
    if any_shown then call('SREM', K.shown, unpack(some)) end
  end
  return #ids > 0 and cjson.encode(ids) or '[]'
end

local done = ARGV[5] == '' or repace(ARGV[5])
take_over()
call('ZREMRANGEBYSCORE', K.leases, '-inf', now)
if ARGV[9] ~= '' then put_off(tonumber(ARGV[9])) end
return {done and 1 or 0, take()}
