-- Reads streamers: ARGV are 'live', 'all', or 'some' with a platform and ids. Returns [platform, id, follow, now, page]
-- rows. Among all are the lines of the follow list that lead to nobody.
local what, rows = ARGV[1], {}
local unresolved = fields('livectl:unresolved') -- platform/id -> [follow, now] of such a line

-- What is known of somebody who is followed while their line cannot be read: the trouble is the line's.
local function with_trouble(now, line)
  local hot, trouble = cjson.decode(now), cjson.decode(line)
  hot.trouble, hot.troubled, hot.problem = trouble.trouble, trouble.troubled, trouble.problem
  return cjson.encode(hot)
end

local function row(platform, id, follow)
  local now = call('HGET', key('now', platform), id) or '{}'
  local page = call('HGET', key('page', platform), id) or '{}'
  local text = unresolved[platform .. '/' .. id]
  if text then
    local line = cjson.decode(text)
    now = follow and with_trouble(now, line[2]) or line[2]
    follow = follow or line[1]
    unresolved[platform .. '/' .. id] = nil
  end
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
if what == 'all' then
  for name in pairs(fields('livectl:unresolved')) do
    if unresolved[name] then row(name:match('^([^/]*)/(.*)$')) end
  end
end
return rows
