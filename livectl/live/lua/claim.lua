-- Claims the streamers who are due: ARGV are now, the lease in seconds, the limits of each platform.
-- Returns [platform, ids] pairs.
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local PACE = {'mode', 'fastest', 'slowest', 'rate', 'batch'} -- the limits that due times depend on
local CHUNK = 2000 -- arguments: Lua's stack holds some 8,000
local MOST = 5000 -- ids of a platform in one call, so that no call holds up the store

-- Returns how many requests may be sent now: none while the platform is left alone, one while it is probed.
local function allowed(platform, terms, tokens)
  local name = key('platform', platform)
  local health = fields(name)
  if health.auth == terms.keys then return 0 end
  if health.auth then call('HDEL', name, 'auth', 'auth_since') end
  if now < tonumber(health.wait_until or 0) then return 0 end
  if not health.step then return math.floor(tokens) end
  if now < tonumber(health.open_until) or now < tonumber(health.probe or 0) + PROBE then return 0 end
  return math.min(1, math.floor(tokens))
end

-- Makes due again what was claimed and not recorded within its lease.
local function give_back(platform)
  local lost = call('ZRANGEBYSCORE', key('claimed', platform), '-inf', now)
  for _, id in ipairs(lost) do
    call('ZADD', key('due', platform), now, id)
    call('ZREM', key('claimed', platform), id)
  end
end

-- Due times were reckoned by the settings of their day. Where others ask more often, all who wait are due so much sooner,
-- and within the longest interval of the new settings.
local function repace(platform, terms)
  local name, list = key('platform', platform), {}
  for at, field in ipairs(PACE) do list[at] = terms[field] end
  local text, before = cjson.encode(list), call('HGET', name, 'pace')
  if before == text then return end
  call('HSET', name, 'pace', text)
  if not before then return end
  local old_terms = {}
  for at, value in ipairs(cjson.decode(before)) do old_terms[PACE[at]] = value end
  local current = pace(terms, platform)
  local share = math.min(1, interval(current) / interval(pace(old_terms, platform)))
  local due, changes = key('due', platform), {}
  local waiting = call('ZRANGEBYSCORE', due, now, '+inf', 'WITHSCORES')
  for at = 1, #waiting, 2 do
    local rest = math.min((waiting[at + 1] - now) * share, latest(current))
    changes[#changes + 1], changes[#changes + 2] = now + rest, waiting[at]
    if #changes == CHUNK or at + 1 == #waiting then
      call('ZADD', due, unpack(changes))
      changes = {}
    end
  end
end

local function take(platform, terms)
  repace(platform, terms)
  give_back(platform)
  local tokens = refill(platform, terms, now)
  local requests = allowed(platform, terms, tokens)
  if requests < 1 then return {} end
  local due = key('due', platform)
  local most = math.min(requests * terms.batch, MOST)
  local waiting = math.min(call('ZCOUNT', due, '-inf', now), most)
  if waiting == 0 then return {} end
  local spent = math.ceil(waiting / terms.batch)
  local ids = call('ZRANGE', due, 0, math.min(spent * terms.batch, MOST) - 1) -- fills the last batch with the next due
  for _, id in ipairs(ids) do
    call('ZREM', due, id)
    call('ZADD', key('claimed', platform), now + lease, id)
  end
  spend(platform, tokens - spent, now)
  if call('HEXISTS', key('platform', platform), 'step') == 1 then
    call('HSET', key('platform', platform), 'probe', now)
  end
  return ids
end

local claimed = {}
for _, terms in ipairs(cjson.decode(ARGV[3])) do
  local ids = take(terms.platform, terms)
  if #ids > 0 then claimed[#claimed + 1] = {terms.platform, ids} end
end
return claimed
