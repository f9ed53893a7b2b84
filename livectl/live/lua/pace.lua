-- Computes when a streamer is checked again. tests/support/polling_model.py computes the same; a test compares the two.
-- A pull is a poll weight: how often a streamer is checked in an hour of the week, compared with the others.
local HOUR, WEEK_HOURS = 3600, 168
local FLOOR = 0.3 -- of the budget, shared alike: nobody waits longer than 1 / 0.3 of the uniform interval
local LIVE_SOONEST, LIVE_LATEST = 60, 120
local LIVE_SHARE = 0.2 -- of the budget: above it, live streamers are checked less often, down to LIVE_LATEST
local IDLE_SHARE = 0.5 -- of the budget is left to the others, however many are live

local LOWEST, STEP = 0.003, 0.13 -- the pull of the lowest digit, and the logarithm between two digits
local PULL = setmetatable({}, {__index = function(known, byte)
  known[byte] = LOWEST * math.exp(STEP * (DIGITS:find(string.char(byte), 1, true) - 1))
  return known[byte]
end})

local function between(low, value, high)
  return math.max(low, math.min(value, high))
end

-- How many are asked in a second where who is not live is asked about by another request as well, with so many others
-- and once in so long.
local function beside_confirming(terms, spare, idle)
  local each = terms.offline_batch or 0
  if each == 0 then return spare end
  local requests, seldom = spare / terms.batch, terms.offline_seconds
  local left = (requests - idle / each / seldom) * terms.batch
  if left > 0 and idle / left <= seldom then return left end
  return requests / (1 / terms.batch + 1 / each)
end

-- What holds for all streamers of a platform now, by its counts (followed, live, learned) and the sums of all pulls, as
-- text: how often who is live is asked, and the budget that is left to the others.
local function pace(terms, counts, totals)
  local all, live = math.max(1, counts.followed), counts.live
  local capacity = ((terms.capacity or 0) > 0 and terms.capacity or terms.rate) * terms.batch
  local of_live = between(LIVE_SOONEST, live / (capacity * LIVE_SHARE), LIVE_LATEST)
  local idle = math.max(1, all - live)
  local spare = beside_confirming(terms, math.max(capacity - live / of_live, capacity * IDLE_SHARE), idle)
  if terms.listed then spare = FLOOR * math.min(spare, idle / terms.fastest) end -- the list shows most of them
  if terms.source ~= 'check' and (terms.shown_for or 0) > 0 then of_live = terms.shown_for end
  local now = {terms = terms, idle = idle, spare = spare, live = of_live, uniform = idle / spare}
  if terms.mode == 'learned' and now.uniform > terms.fastest and counts.learned > 0 and totals ~= '' then
    now.learned, now.totals = counts.learned, cjson.decode(totals)
  end
  return now
end

local function latest(now)
  return now.uniform <= now.terms.slowest and now.terms.slowest or now.uniform / FLOOR
end

local function interval(now, pulls, hour)
  if not pulls then return between(now.terms.fastest, now.uniform, latest(now)) end
  local mean = now.totals[hour + 1] / now.learned
  local pull = PULL[pulls:byte(hour + 1)]
  local rate = now.spare / now.idle * (FLOOR + (1 - FLOOR) * pull / mean)
  return between(now.terms.fastest, 1 / rate, latest(now))
end

-- Returns when one interval from `at` on is over, at the pace of each hour that it passes through.
local function due_by(now, pulls, at)
  local share = 1
  while true do
    local left = HOUR - at % HOUR
    local whole = interval(now, pulls, math.floor(at / HOUR) % WEEK_HOURS)
    if left >= share * whole then return at + share * whole end
    share, at = share - left / whole, at + left
  end
end
