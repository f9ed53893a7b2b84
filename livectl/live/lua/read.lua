-- Reads streamers: ARGV are 'live', 'all', or 'some' with a platform and ids. Returns [platform, id, follow, now, page]
-- rows.
local what, rows = ARGV[1], {}

local function row(platform, id, follow)
  local now = call('HGET', key('now', platform), id) or '{}'
  local page = call('HGET', key('page', platform), id) or '{}'
  rows[#rows + 1] = {platform, id, follow or '', now, page}
end

if what == 'some' then
  for at = 3, #ARGV do row(ARGV[2], ARGV[at], call('HGET', key('follows', ARGV[2]), ARGV[at])) end
  return rows
end
for _, platform in ipairs(call('SMEMBERS', 'livectl:platforms')) do
  local follows = key('follows', platform)
  if what == 'live' then
    for _, id in ipairs(call('ZREVRANGE', key('live', platform), 0, -1)) do
      row(platform, id, call('HGET', follows, id))
    end
  else
    for id, follow in pairs(fields(follows)) do row(platform, id, follow) end
  end
end
return rows
