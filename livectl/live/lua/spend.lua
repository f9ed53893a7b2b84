-- Takes requests from the budget without a claim, or gives them back: ARGV are limits, requests, now, and a change of due
-- times that is done with, if any. Returns the rest, as text.
local terms, now = cjson.decode(ARGV[1]), tonumber(ARGV[3])
if ARGV[4] and call('HGET', K.health, 'repace') == ARGV[4] then call('HDEL', K.health, 'repace') end
local left = refill(terms, now) - tonumber(ARGV[2])
spend(left, now)
return tostring(left)
