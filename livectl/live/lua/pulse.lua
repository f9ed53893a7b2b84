-- Reads how things stand, at a glance: ARGV are the number of a change, and how many names and changes at most.
-- Returns [followed, lines that lead to nobody, live, names of those live since last, the next who is asked as
-- [when, platform, id], the changes after that number, the targets as [name, sent, number of the change that was told
-- last, whether it takes alerts ill, answer], dead letters].
local last, most_names, most_changes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
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

local changes = {}
for at, entry in ipairs(call('XRANGE', 'livectl:outbox', '(' .. last, '+', 'COUNT', most_changes)) do
  local row = {entry[1], '{}', '{}'}
  for field = 1, #entry[2], 2 do
    if entry[2][field] == 'change' then row[2] = entry[2][field + 1] end
    if entry[2][field] == 'page' then row[3] = entry[2][field + 1] end
  end
  changes[at] = row
end

local targets = {}
for at, name in ipairs(call('HKEYS', 'livectl:targets')) do
  local fields = call('HMGET', key('target', name), 'sent', 'last_told', 'failing_since', 'problem', 'lost_since')
  local ill = fields[3] or fields[5] or (call('HLEN', key('lanes', name)) > 0 and 'lanes')
  targets[at] = {name, fields[1] or '0', fields[2] or '', ill or '', fields[4] or ''}
end

return {
  followed, call('HLEN', 'livectl:unresolved'), live, names, first, changes, targets, call('HLEN', 'livectl:dead'),
}
