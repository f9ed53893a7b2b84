-- Whoever is claimed stays among those who are due, at the time when the claim lapses: who is not recorded by then is due
-- again by that alone. Such a time is half a millisecond before a full second, as no other due time is. So it tells who is
-- being asked from who waits.
local EARLY = 0.0005 -- seconds
local SCORE_FORMAT = '%.17g' -- as text, a number of many is written once, and not for each of them

local function is_lapse(due)
  return due == math.ceil(due) - EARLY
end

-- The first who wait and are not being asked, as [id, due, id, due ...]: so many at most, due from this time on.
local function first_waiting(from, most)
  local found = {}
  while #found < 2 * most do
    local some, asked = call('ZRANGEBYSCORE', K.due, from, '+inf', 'WITHSCORES', 'LIMIT', 0, most - #found / 2), nil
    for at = 1, #some, 2 do
      asked = is_lapse(tonumber(some[at + 1])) and some[at + 1]
      if asked then break end
      found[#found + 1], found[#found + 2] = some[at], some[at + 1]
    end
    if not asked then return found end
    from = '(' .. asked
  end
  return found
end
