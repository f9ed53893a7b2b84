-- Reads streamers, each as [platform, id, follow, now, page]: ARGV are
--   'some', platform, ids ...               these, as an array
--   'page', kind, platform, cursor, count   a page of who is followed there, or live there
--   'lines', cursor, count                  a page of the lines of the follow list that lead to nobody who is followed
--   'newest', count                         the first of all: who is live, the latest start first; then by the last end
-- A page is [the next cursor, 0 at the end, rows]; the newest are [followed, live, whether all have their place, rows].
local what = ARGV[1]

-- What is known of somebody who is followed while their line cannot be read: the trouble is the line's.
local function with_trouble(now, line)
  local hot, trouble = reading(now), cjson.decode(line)
  hot.trouble, hot.troubled, hot.problem = trouble.trouble, trouble.troubled, trouble.problem
  return cjson.encode(hot)
end

local function rows_of(platform, ids)
  local rows = {}
  if #ids == 0 then return rows end
  local follows = call('HMGET', key('follows', platform), unpack(ids))
  local nows = call('HMGET', key('now', platform), unpack(ids))
  local pages = call('HMGET', key('page', platform), unpack(ids))
  local any_lines = call('HLEN', 'livectl:unresolved') > 0
  for at, id in ipairs(ids) do
    local follow, now = follows[at], nows[at] or '{}'
    local text = any_lines and call('HGET', 'livectl:unresolved', platform .. '/' .. id)
    if text then
      local line = cjson.decode(text)
      now = follow and with_trouble(now, line[2]) or line[2]
      follow = follow or line[1]
    end
    rows[at] = {platform, id, follow or '', now, pages[at] or '{}'}
  end
  return rows
end

local function names_in(scanned)
  local names = {}
  for at = 1, #scanned[2], 2 do names[#names + 1] = scanned[2][at] end
  return names
end

local function page(kind, platform, cursor, count)
  local scan = kind == 'live' and 'ZSCAN' or 'HSCAN'
  local scanned = call(scan, key(kind, platform), cursor, 'COUNT', count)
  return {scanned[1], rows_of(platform, names_in(scanned))}
end

local function lines(cursor, count)
  local scanned, rows = call('HSCAN', 'livectl:unresolved', cursor, 'COUNT', count), {}
  for _, name in ipairs(names_in(scanned)) do
    local platform, id = name:match('^([^/]*)/(.*)$')
    if call('HEXISTS', key('follows', platform), id) == 0 then rows[#rows + 1] = rows_of(platform, {id})[1] end
  end
  return {scanned[1], rows}
end

-- The first of a sorted set of each platform, in the order of their scores, then of their names.
local function first_of(kind, count, command, sign)
  local found = {}
  for _, platform in ipairs(call('SMEMBERS', 'livectl:platforms')) do
    local some = call(command, key(kind, platform), 0, count - 1, 'WITHSCORES')
    for at = 1, #some, 2 do found[#found + 1] = {sign * tonumber(some[at + 1]), platform, some[at]} end
  end
  table.sort(found, function(one, other)
    for at = 1, 3 do
      if one[at] ~= other[at] then return one[at] < other[at] end
    end
    return false
  end)
  return found
end

local function newest(count)
  local followed, live, others, rows = 0, 0, 0, {}
  for _, platform in ipairs(call('SMEMBERS', 'livectl:platforms')) do
    followed = followed + call('HLEN', key('follows', platform))
    live = live + call('ZCARD', key('live', platform))
    others = others + call('ZCARD', key('others', platform))
  end
  for _, one in ipairs(first_of('live', count, 'ZREVRANGE', -1)) do
    if #rows < count then rows[#rows + 1] = rows_of(one[2], {one[3]})[1] end
  end
  if #rows < count then
    for _, one in ipairs(first_of('others', count, 'ZRANGE', 1)) do
      if #rows < count then rows[#rows + 1] = rows_of(one[2], {one[3]})[1] end
    end
  end
  return {followed, live, live + others == followed and 1 or 0, rows}
end

if what == 'page' then return page(ARGV[2], ARGV[3], ARGV[4], ARGV[5]) end
if what == 'lines' then return lines(ARGV[2], ARGV[3]) end
if what == 'newest' then return newest(tonumber(ARGV[2])) end
local ids = {}
for at = 3, #ARGV do ids[at - 2] = ARGV[at] end
return rows_of(ARGV[2], ids)
