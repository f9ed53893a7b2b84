-- Reads how things stand, at a glance: ARGV is how many names at most. Returns [followed, lines that lead to nobody, live,
-- names of those live since last, the next who is asked as [when, platform, id]].
local most_names = tonumber(ARGV[1])
local followed, live, newest, first = 0, 0, {}, {}

local function name_of(platform, id)
  for _, kind in ipairs({'follows', 'page'}) do
    local text = call('HGET', key(kind, platform), id)
    local name = text and given(cjson.decode(text).name)
    if name then return name end
  end
  return id
end

for _, platform in ipairs(call('SMEMBERS', 'livectl:platforms')) do
  followed = followed + call('HLEN', key('follows', platform))
  live = live + call('ZCARD', key('live', platform))
  local some = call('ZREVRANGE', key('live', platform), 0, most_names - 1, 'WITHSCORES')
  for at = 1, #some, 2 do newest[#newest + 1] = {tonumber(some[at + 1]), platform, some[at]} end
  local due = call('ZRANGE', key('due', platform), 0, 0, 'WITHSCORES')
  if due[1] and (not first[1] or tonumber(due[2]) < tonumber(first[1])) then first = {due[2], platform, due[1]} end
end
table.sort(newest, function(one, other) return one[1] > other[1] end)
local names = {}
for at = 1, math.min(most_names, #newest) do names[at] = name_of(newest[at][2], newest[at][3]) end

return {followed, call('HLEN', 'livectl:unresolved'), live, names, first}
