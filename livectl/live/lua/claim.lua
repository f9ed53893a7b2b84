-- Claims the streamers of a platform who are due: ARGV are now, the lease in seconds, its limits. Returns their ids.
local now, lease = tonumber(ARGV[1]), tonumber(ARGV[2])
local PACE = {'mode', 'fastest', 'slowest', 'rate', 'batch', 'listed'} -- the limits that due times depend on
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
  for _ = 1, math.ceil(MOST / CHUNK) do
    local lost = call('ZRANGEBYSCORE', key('claimed', platform), '-inf', now, 'LIMIT', 0, CHUNK)
    if #lost == 0 then return end
    local dues = {}
    for _, id in ipairs(lost) do dues[#dues + 1], dues[#dues + 2] = now, id end
    call('ZADD', key('due', platform), unpack(dues))
    call('ZREM', key('claimed', platform), unpack(lost))
  end
end

-- Due times were reckoned by the settings of their day. Where others ask more often, all who wait are due so much sooner,
-- and within the longest interval of the new settings: from the next who is due on, a piece at each claim. Whoever was
-- moved is due before the end of their piece, and so in no other.
local function start_repace(platform, terms)
  local name, list = key('platform', platform), {}
  for at, field in ipairs(PACE) do list[at] = terms[field] end
  local text, before = cjson.encode(list), call('HGET', name, 'pace')
  if before == text then return end
  call('HSET', name, 'pace', text)
  if not before then return end
  local old_terms = {}
  for at, value in ipairs(cjson.decode(before)) do old_terms[PACE[at]] = value end
  local current, old = pace(terms, platform), pace(old_terms, platform)
  local share = math.min(1, interval(current) / interval(old))
  if share == 1 and latest(current) >= latest(old) then return end
  call('HSET', name, 'repace', cjson.encode({now, share, latest(current), string.format('%.17g', now)}))
end

local function repace(platform, terms)
  start_repace(platform, terms)
  local name, due = key('platform', platform), key('due', platform)
  local text = call('HGET', name, 'repace')
  if not text then return end
  local from, share, longest, reached = unpack(cjson.decode(text))
  local waiting = call('ZRANGEBYSCORE', due, '(' .. reached, '+inf', 'WITHSCORES', 'LIMIT', 0, CHUNK)
  if #waiting == 2 * CHUNK then -- those who are due at the same time as the last belong to this piece, too
    local last = waiting[#waiting]
    for _, id in ipairs(call('ZRANGEBYSCORE', due, last, last)) do
      waiting[#waiting + 1], waiting[#waiting + 2] = id, last
    end
  end
  local changes = {}
  for at = 1, #waiting, 2 do
    local rest = math.min((waiting[at + 1] - from) * share, longest)
    changes[#changes + 1], changes[#changes + 2] = from + rest, waiting[at]
    if #changes == 2 * CHUNK or at + 1 == #waiting then
      call('ZADD', due, unpack(changes))
      changes = {}
    end
  end
  if #waiting < 2 * CHUNK then return call('HDEL', name, 'repace') end
  call('HSET', name, 'repace', cjson.encode({from, share, longest, waiting[#waiting]}))
end

-- While a list stands in for asking, no more are asked than the budget bears: who is live, whom the list has shown, and
-- the first of the others. The rest is put off, as if they had been asked, so that nobody waits behind them.
local function put_off(platform, terms, most)
  local due, wanted, changes = key('due', platform), {}, {}
  local waiting = call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, CHUNK)
  if #waiting <= most then return end
  for at, id in ipairs(waiting) do
    wanted[at] = call('ZSCORE', key('live', platform), id) or call('SISMEMBER', key('shown', platform), id) == 1
    if wanted[at] then most = most - 1 end
  end
  local current = pace(terms, platform)
  for at, id in ipairs(waiting) do
    if not wanted[at] then
      if most <= 0 then changes[#changes + 1], changes[#changes + 2] = next_due(current, id, now), id end
      most = most - 1
    end
  end
  if #changes > 0 then call('ZADD', due, unpack(changes)) end
end

local function take(platform, terms)
  repace(platform, terms)
  give_back(platform)
  local tokens = refill(platform, terms, now)
  local requests = allowed(platform, terms, tokens)
  if requests < 1 then return {} end
  local due = key('due', platform)
  local most = math.min(requests * terms.batch, MOST)
  if terms.listed then put_off(platform, terms, most) end
  local waiting = math.min(call('ZCOUNT', due, '-inf', now), most)
  if waiting == 0 then return {} end
  local spent = math.ceil(waiting / terms.batch)
  local ids = call('ZRANGE', due, 0, math.min(spent * terms.batch, MOST) - 1) -- fills the last batch with the next due
  for first = 1, #ids, CHUNK do
    local some, leases = {}, {}
    for at = first, math.min(first + CHUNK - 1, #ids) do
      some[#some + 1] = ids[at]
      leases[#leases + 1], leases[#leases + 2] = now + lease, ids[at]
    end
    call('ZREM', due, unpack(some))
    call('ZADD', key('claimed', platform), unpack(leases))
  end
  if call('EXISTS', key('shown', platform)) == 1 then
    for first = 1, #ids, CHUNK do
      call('SREM', key('shown', platform), unpack(ids, first, math.min(first + CHUNK - 1, #ids)))
    end
  end
  spend(platform, tokens - spent, now)
  if call('HEXISTS', key('platform', platform), 'step') == 1 then
    call('HSET', key('platform', platform), 'probe', now)
  end
  return ids
end

local terms = cjson.decode(ARGV[3])
return take(terms.platform, terms)
