-- Follows exactly these streamers: ARGV are now, {platform: {id: streamer as text}}, and {'platform/id': text} of the
-- lines that lead to nobody. Returns [added, removed].
local now, wanted, unresolved = tonumber(ARGV[1]), cjson.decode(ARGV[2]), cjson.decode(ARGV[3])
local added, removed = 0, 0

local function drop(platform, id)
  call('HDEL', key('follows', platform), id)
  for _, kind in ipairs({'due', 'claimed', 'live', 'ending'}) do call('ZREM', key(kind, platform), id) end
  call('SREM', key('unlearned', platform), id)
  set_pull(platform, id, nil)
end

local function add(platform, id, streamer)
  call('HSET', key('follows', platform), id, streamer)
  call('ZADD', key('due', platform), now, id)
  call('SADD', key('unlearned', platform), id)
  local raw = call('HGET', key('now', platform), id)
  local hot = raw and cjson.decode(raw)
  if hot and hot.state == 'live' then
    call('ZADD', key('live', platform), hot.started, id)
    if hot.ending then call('ZADD', key('ending', platform), hot.ending, id) end
  end
end

for _, platform in ipairs(call('SMEMBERS', 'livectl:platforms')) do
  local want = wanted[platform] or {}
  for _, id in ipairs(call('HKEYS', key('follows', platform))) do
    if not want[id] then
      drop(platform, id)
      removed = removed + 1
    end
  end
end
for platform, want in pairs(wanted) do
  call('SADD', 'livectl:platforms', platform)
  local have = fields(key('follows', platform))
  for id, streamer in pairs(want) do
    if not have[id] then
      add(platform, id, streamer)
      added = added + 1
    elseif have[id] ~= streamer then
      call('HSET', key('follows', platform), id, streamer)
      call('SADD', key('unlearned', platform), id)
    end
  end
end
call('DEL', 'livectl:unresolved')
for name, text in pairs(unresolved) do call('HSET', 'livectl:unresolved', name, text) end
return {added, removed}
