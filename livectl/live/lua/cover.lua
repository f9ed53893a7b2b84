-- Puts off asking after those of a cell of whom its platform tells by itself: as if each had been asked just now. ARGV are
-- limits, what is known of the other cells, the sums of all pulls, now, who is due from when until when, since when
-- nothing can have been missed, how many at most. Returns how many were looked at, how many were put off, and when the
-- last of them was due. Who is due already, who is live, and who was not read since the platform tells of them (nor within
-- the longest interval) is asked as ever; who is being asked stays claimed.
local terms, at = cjson.decode(ARGV[1]), tonumber(ARGV[4])
local since, most = tonumber(ARGV[7]), tonumber(ARGV[8])
local now, changes = pace(terms, platform_counts(cjson.decode(ARGV[2])), ARGV[3]), {}
local due = K.due
local soon = call('ZRANGEBYSCORE', due, '(' .. ARGV[5], ARGV[6], 'WITHSCORES', 'LIMIT', 0, most)

local function is_believed(id)
  local from = call('ZSCORE', K.pushed, id)
  local raw = from and call('HGET', K.now, id)
  local hot = raw and reading(raw) or {}
  if not hot.seen or hot.state == 'live' then return false end
  return hot.seen > math.max(tonumber(from), since, at - terms.slowest)
end

for place = 1, #soon, 2 do
  local id = soon[place]
  if not is_lapse(tonumber(soon[place + 1])) and is_believed(id) then
    changes[#changes + 1], changes[#changes + 2] = next_due(now, id, at), id
  end
end
if #changes > 0 then call('ZADD', due, 'XX', unpack(changes)) end
return {#soon / 2, #changes / 2, soon[#soon] or ARGV[6]}
