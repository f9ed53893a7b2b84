-- Computes when a streamer is checked again. tests/support/polling_model.py computes the same; a test compares the two.
-- A pull is a poll weight: how often a streamer is checked in an hour of the week, compared with the others.
local HOUR, WEEK_HOURS = 3600, 168
local FLOOR = 0.3 -- of the budget, shared alike: nobody waits longer than 1 / 0.3 of the uniform interval
local LIVE_SOONEST, LIVE_LATEST = 60, 120
local LIVE_SHARE = 0.2 -- of the budget: above it, live streamers are checked less often, down to LIVE_LATEST
local IDLE_SHARE = 0.5 -- of the budget is left to the others, however many are live

local LOWEST, STEP = 0.003, 0.13 -- the pull of the lowest digit, and the logarithm between two digits
local PULL = {}
for level = 1, #DIGITS do PULL[DIGITS:byte(level)] = LOWEST * math.exp(STEP * (level - 1)) end

local function between(low, value, high)
  return math.max(low, math.min(value, high))
end

-- Reads what holds for all streamers of a platform now: how many are live, and the budget that is left to the others.
local function pace(terms, platform)
  local all = math.max(1, call('HLEN', key('follows', platform)))
  local live = call('ZCARD', key('live', platform))
  local capacity = terms.rate * terms.batch
  local of_live = between(LIVE_SOONEST, live / (capacity * LIVE_SHARE), LIVE_LATEST)
  local idle = math.max(1, all - live)
  local spare = math.max(capacity - live / of_live, capacity * IDLE_SHARE)
  if terms.listed then spare = FLOOR * math.min(spare, idle / terms.fastest) end -- the list shows most of them
  if terms.source ~= 'check' and (terms.shown_for or 0) > 0 then of_live = terms.shown_for end
  local now = {terms = terms, all = all, idle = idle, spare = spare, live = of_live, uniform = idle / spare}
  if terms.mode == 'learned' and now.uniform > terms.fastest then
    now.pulls = key('pull', platform)
    now.learned = call('HLEN', now.pulls)
    now.totals = cjson.decode(call('GET', key('pulls', platform)) or '[]')
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

local function next_due(now, id, at)
  return due_by(now, now.pulls and call('HGET', now.pulls, id), at)
end

-- The same for many at once: those who are asked again within the hour are asked alike where their pull is the same.
local function dues_of(now, ids, at)
  local dues = {}
  if not now.pulls then
    local due = due_by(now, nil, at)
    for number = 1, #ids do dues[number] = due end
    return dues
  end
  local hour, same, hour_ends = math.floor(at / HOUR) % WEEK_HOURS + 1, {}, at - at % HOUR + HOUR
  for number, pulls in ipairs(call('HMGET', now.pulls, unpack(ids))) do
    local level = pulls and pulls:byte(hour) or 0
    local due = same[level]
    if not due then
      due = due_by(now, pulls, at)
      if due <= hour_ends or not pulls then same[level] = due end
    end
    dues[number] = due
  end
  return dues
end
