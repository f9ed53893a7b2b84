-- Takes requests from the budget without a claim: ARGV are platform, limits, requests, now. Returns the rest, as text.
local terms, now = cjson.decode(ARGV[2]), tonumber(ARGV[4])
local left = refill(ARGV[1], terms, now) - tonumber(ARGV[3])
spend(ARGV[1], left, now)
return tostring(left)
