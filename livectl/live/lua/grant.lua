-- Grants a portion of a platform's budget: ARGV are limits, now, how many are due, how many are followed, live and
-- learned; then cells and their counts, which are noted. Returns how many may be claimed, the requests that were taken
-- for them, and how due times change by new settings, as text, or nothing.
local terms, now, waiting = cjson.decode(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local counts = {followed = tonumber(ARGV[4]), live = tonumber(ARGV[5]), learned = tonumber(ARGV[6])}
local PACE = {'mode', 'fastest', 'slowest', 'rate', 'batch', 'listed', 'capacity'} -- the limits that due times depend on
local MOST = 5000 -- ids in one portion, so that no call holds up the store

-- Returns how many requests may be sent now, and whether these are a probe: none while the platform is left alone, or
-- another probe is out; one while it refuses or does not answer, so that one that hangs keeps one job from others at most.
local function allowed(tokens)
  local health = fields(K.health)
  if health.auth == terms.keys then return 0, false end
  if health.auth then call('HDEL', K.health, 'auth', 'auth_since') end
  if now < tonumber(health.wait_until or 0) then return 0, false end
  local silent = health.unreached and now >= tonumber(health.unreached) + PATIENCE
  if not health.step and not silent then return math.floor(tokens), false end
  if now < tonumber(health.open_until or 0) or now < tonumber(health.probe or 0) + PROBE then return 0, true end
  return math.min(1, math.floor(tokens)), true
end

-- Due times were reckoned by the settings of their day. Where others ask more often, all who wait are due so much sooner,
-- and within the longest interval of the new settings.
local function start_repace()
  local list = {}
  for at, field in ipairs(PACE) do list[at] = terms[field] end
  local text, before = cjson.encode(list), call('HGET', K.health, 'pace')
  if before == text then return end
  call('HSET', K.health, 'pace', text)
  if not before then return end
  local old_terms = {}
  for at, value in ipairs(cjson.decode(before)) do old_terms[PACE[at]] = value end
  local totals = call('HGET', K.standing, 'totals') or ''
  local current, old = pace(terms, counts, totals), pace(old_terms, counts, totals)
  local share = math.min(1, interval(current) / interval(old))
  if share == 1 and latest(current) >= latest(old) then return end
  call('HSET', K.health, 'repace', cjson.encode({now, share, latest(current)}))
end

-- Nearly always all is as it was noted before. Whoever stood still while cells moved may have noted one that is no more.
local function note_cells()
  local cells = {}
  for at = 7, #ARGV, 2 do cells[#cells + 1] = ARGV[at] end
  if #cells == 0 then return end
  if call('HLEN', K.standing) > #cells + 1 then
    local totals = call('HGET', K.standing, 'totals') or ''
    call('DEL', K.standing)
    call('HSET', K.standing, 'totals', totals)
  end
  for at, known in ipairs(call('HMGET', K.standing, unpack(cells))) do
    if known ~= ARGV[6 + 2 * at] then return call('HSET', K.standing, unpack(ARGV, 7)) end
  end
end

note_cells()
start_repace()
local repace = call('HGET', K.health, 'repace') or ''
local tokens = refill(terms, now)
local requests, is_probe = allowed(tokens)
local totals = terms.listed and call('HGET', K.standing, 'totals') or ''
if requests < 1 or waiting == 0 then return {0, 0, repace, totals} end
local spent = math.ceil(math.min(waiting, requests * terms.batch, MOST) / terms.batch)
spend(tokens - spent, now)
if is_probe then call('HSET', K.health, 'probe', now) end
return {math.min(spent * terms.batch, MOST), spent, repace, totals}
