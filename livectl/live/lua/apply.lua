-- Applies the next piece of the follow list that is in force: [platform, now, [[id, streamer as text], ...], ids of the
-- gone, {bucket: count and digest of its lines, empty where it has none}]. Without a platform the lines are those that
-- lead to nobody. Returns how many pieces are left.
local function drop(platform, ids)
  call('HDEL', key('follows', platform), unpack(ids))
  for _, kind in ipairs({'due', 'claimed', 'live', 'ending', 'others'}) do call('ZREM', key(kind, platform), unpack(ids)) end
  for _, kind in ipairs({'unlearned', 'shown'}) do call('SREM', key(kind, platform), unpack(ids)) end
  local pulls = {}
  for at, id in ipairs(ids) do pulls[at] = {id} end
  set_pulls(platform, pulls)
end

-- Puts those who are followed from now on where they were in their sessions.
local function add(platform, ids, now)
  local dues, others = {}, {}
  for at, raw in ipairs(call('HMGET', key('now', platform), unpack(ids))) do
    local hot, id = raw and reading(raw) or {}, ids[at]
    dues[#dues + 1], dues[#dues + 2] = now, id
    if hot.state == 'live' then
      call('ZADD', key('live', platform), hot.started, id)
      if hot.ending then call('ZADD', key('ending', platform), hot.ending, id) end
    else
      others[#others + 1], others[#others + 2] = place(hot), id
    end
  end
  call('ZADD', key('due', platform), unpack(dues))
  if #others > 0 then call('ZADD', key('others', platform), unpack(others)) end
end

local function follow(platform, rows, now)
  local ids, values, new = {}, {}, {}
  for at, row in ipairs(rows) do ids[at], values[2 * at - 1], values[2 * at] = row[1], row[1], row[2] end
  for at, text in ipairs(call('HMGET', key('follows', platform), unpack(ids))) do
    if not text then new[#new + 1] = ids[at] end
  end
  call('SADD', 'livectl:platforms', platform)
  call('HSET', key('follows', platform), unpack(values))
  call('SADD', key('unlearned', platform), unpack(ids))
  if #new > 0 then add(platform, new, now) end
end

local function note_lines(rows, gone)
  for _, row in ipairs(rows) do call('HSET', 'livectl:unresolved', row[1], row[2]) end
  for _, name in ipairs(gone) do call('HDEL', 'livectl:unresolved', name) end
end

local text = call('LINDEX', 'livectl:applying', 0)
if not text then return 0 end
local platform, now, rows, gone, buckets = unpack(cjson.decode(text))
if platform == '' then
  note_lines(rows, gone)
else
  if #gone > 0 then drop(platform, gone) end
  if #rows > 0 then follow(platform, rows, now) end
  for bucket, lines in pairs(buckets) do
    if lines == '' then
      call('HDEL', key('listed', platform), bucket)
    else
      call('HSET', key('listed', platform), bucket, lines)
    end
  end
end
call('LPOP', 'livectl:applying')
return call('LLEN', 'livectl:applying')
