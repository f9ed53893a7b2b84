-- Reads who comes next in a cell, as the store sorts them: ARGV are the order ('live' or 'others'), how many; and where it
-- does not begin, a score, behind which 'all' of the same score are to come, 'none', or 'some': those behind an id. Returns
-- ids and scores. Ids are compared by their bytes, as the server does: Lua would do so by its locale.
local call, key, is_live = redis.call, K[ARGV[1]], ARGV[1] == 'live'

local function range(first, last, ...)
  return call(is_live and 'ZREVRANGE' or 'ZRANGE', key, first, last, ...)
end

local function comes_first(one, other)
  for at = 1, math.min(#one, #other) do
    local a, b = one:byte(at), other:byte(at)
    if a ~= b then return (a < b) ~= is_live end
  end
  return (#one < #other) ~= is_live
end

local first, still, score, id = 0, ARGV[3], ARGV[4], ARGV[5]
if score then
  first = is_live and call('ZCOUNT', key, '(' .. score, '+inf') or call('ZCOUNT', key, '-inf', '(' .. score)
  local last = first
  if still ~= 'all' then last = first + call('ZCOUNT', key, score, score) end
  if still == 'none' then first = last end
  while first < last do
    local middle = math.floor((first + last) / 2)
    local name = range(middle, middle)[1]
    if name == id or comes_first(name, id) then first = middle + 1 else last = middle end
  end
end
return range(first, first + ARGV[2] - 1, 'WITHSCORES')
