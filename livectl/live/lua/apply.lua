-- Applies a piece of the follow list that is in force to its cell: ARGV are the list's stamp, the number of the piece, and
-- [now, [[id, streamer as text], ...], ids of the gone, {bucket: count and digest of its lines, empty where it has none}].
-- Returns whether it came in its turn: a piece that was applied before, or is of an older list, changes nothing.
local function drop(ids)
  call('HDEL', K.follows, unpack(ids))
  for _, name in ipairs({K.due, K.claimed, K.live, K.ending, K.others}) do call('ZREM', name, unpack(ids)) end
  for _, name in ipairs({K.unlearned, K.shown}) do call('SREM', name, unpack(ids)) end
  local pulls = {}
  for at, id in ipairs(ids) do pulls[at] = {id} end
  set_pulls(pulls)
end

-- Puts those who are followed from now on where they were in their sessions.
local function add(ids, now)
  local dues, others = {}, {}
  for at, raw in ipairs(call('HMGET', K.now, unpack(ids))) do
    local hot, id = raw and reading(raw) or {}, ids[at]
    dues[#dues + 1], dues[#dues + 2] = now, id
    if hot.state == 'live' then
      call('ZADD', K.live, hot.started, id)
      if hot.ending then call('ZADD', K.ending, hot.ending, id) end
    else
      others[#others + 1], others[#others + 2] = place(hot), id
    end
  end
  call('ZADD', K.due, unpack(dues))
  if #others > 0 then call('ZADD', K.others, unpack(others)) end
end

local function follow(rows, now)
  local ids, values, new = {}, {}, {}
  for at, row in ipairs(rows) do ids[at], values[2 * at - 1], values[2 * at] = row[1], row[1], row[2] end
  for at, text in ipairs(call('HMGET', K.follows, unpack(ids))) do
    if not text then new[#new + 1] = ids[at] end
  end
  call('HSET', K.follows, unpack(values))
  call('SADD', K.unlearned, unpack(ids))
  if #new > 0 then add(new, now) end
end

local stamp, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local last = cjson.decode(call('GET', K.applied) or '[0, 0]')
if stamp < last[1] or stamp == last[1] and number <= last[2] then return 0 end
local now, rows, gone, buckets = unpack(cjson.decode(ARGV[3]))
if #gone > 0 then drop(gone) end
if #rows > 0 then follow(rows, now) end
for bucket, lines in pairs(buckets) do
  if lines == '' then call('HDEL', K.listed, bucket) else call('HSET', K.listed, bucket, lines) end
end
call('SET', K.applied, string.format('[%.0f, %.0f]', stamp, number))
return 1
