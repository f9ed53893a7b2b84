-- How soon a streamer is asked again. tests/support/polling_model.py computes the same; a test compares the two.
local HOUR, WEEK_HOURS = 3600, 168
local FLOOR = 0.3 -- of the budget, shared alike, whatever was learned: nobody waits more than 1 / 0.3 of uniform
local LIVE_SOONEST, LIVE_LATEST = 60, 120
local LIVE_SHARE = 0.2 -- of the budget, above which those who are live are asked less often, down to the latest
local IDLE_SHARE = 0.5 -- of the budget, which the others may count on however many are live

local LOWEST, STEP = 0.003, 0.13 -- the pull of level 0, and the logarithm between two levels
local PULL = {}
for level = 1, #DIGITS do PULL[DIGITS:byte(level)] = LOWEST * math.exp(STEP * (level - 1)) end

local function between(low, value, high)
  return math.max(low, math.min(value, high))
end

-- What holds for everybody of a platform at this moment: streamers a second, how many wait, how many are live.
local function pace(terms, platform)
  local all = math.max(1, call('HLEN', key('follows', platform)))
  local live = call('ZCARD', key('live', platform))
  local capacity = terms.rate * terms.batch
  local of_live = between(LIVE_SOONEST, live / (capacity * LIVE_SHARE), LIVE_LATEST)
  local idle = math.max(1, all - live)
  local spare = math.max(capacity - live / of_live, capacity * IDLE_SHARE)
  local now = {terms = terms, all = all, idle = idle, spare = spare, live = of_live, uniform = idle / spare}
  if terms.mode == 'learned' and now.uniform > terms.fastest then
    now.pulls = key('pull', platform)
    now.learned = call('HLEN', now.pulls)
    now.totals = cjson.decode(call('GET', key('pulls', platform)) or '[]')
  end
  return now
end

local function interval(now, pulls, hour)
  local latest = now.uniform <= now.terms.slowest and now.terms.slowest or now.uniform / FLOOR
  if not pulls then return between(now.terms.fastest, now.uniform, latest) end
  local mean = now.totals[hour + 1] / now.learned
  local pull = PULL[pulls:byte(hour + 1)]
  local rate = now.spare / now.idle * (FLOOR + (1 - FLOOR) * pull / mean)
  return between(now.terms.fastest, 1 / rate, latest)
end

-- One interval from `at` on, spent at the rate of each hour it passes through.
local function next_due(now, id, at)
  local pulls = now.pulls and call('HGET', now.pulls, id)
  local share = 1
  while true do
    local left = HOUR - at % HOUR
    local whole = interval(now, pulls, math.floor(at / HOUR) % WEEK_HOURS)
    if left >= share * whole then return at + share * whole end
    share, at = share - left / whole, at + left
  end
end
