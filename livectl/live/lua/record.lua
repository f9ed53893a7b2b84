-- Records observations of a platform: ARGV are platform, limits, observations, requests beyond those that were claimed.
-- An observation is [id, state, at, session, started, viewers, page, problem, retry_at]. Returns the changes.
local MISSING, MISSING_FOR = 3, 3600 -- so often, over so many seconds, before "no such streamer" is believed
local ASK_AGAIN = 30 -- seconds until a streamer whom the answer left out is checked again
local SURE = {live = true, offline = true, replay = true}
local GONE = {not_found = true, banned = true}

local platform, terms = ARGV[1], cjson.decode(ARGV[2])
local sightings, extra = cjson.decode(ARGV[3]), tonumber(ARGV[4])
local told, now = {}, pace(terms, platform)

local function read(sighting)
  local seen = {
    id = sighting[1], state = sighting[2], at = sighting[3], session = given(sighting[4]),
    started = given(sighting[5]), viewers = given(sighting[6]), page = sighting[7], problem = given(sighting[8]),
  }
  -- The stream is closed to us, but the answer proves that there is one.
  if seen.state == 'restricted' and seen.session then seen.state = 'live' end
  return seen
end

local function sure(seen, hot)
  local due
  local settled = hot.state == seen.state and seen.state ~= 'live'
  local before = not settled and call('HGET', key('page', platform), seen.id) or '{}'
  local page = (seen.state == 'live' or before == '{}') and seen.page ~= '' and seen.page or before
  if seen.state == 'live' and hot.state == 'live' then
    go_on(told, platform, seen, hot, page, before, terms.merge)
  elseif seen.state == 'live' then
    appear(told, platform, seen, hot, page, terms.merge)
  elseif hot.state == 'live' then
    due = vanish(told, platform, seen, hot, before, terms.merge)
  elseif not settled then
    if not hot.state then call('ZADD', key('others', platform), 0, seen.id) end
    hot.state, hot.since = seen.state, seen.at
  end
  if seen.state == 'live' then note_viewers(platform, seen, hot) end
  hot.seen, hot.viewers = seen.at, seen.state == 'live' and seen.viewers or nil
  hot.trouble, hot.troubled, hot.asked, hot.missing, hot.announced = nil, nil, nil, nil, nil
  hot.problem = seen.problem
  if page ~= before and not settled then call('HSET', key('page', platform), seen.id, page) end
  if due then return due end
  return hot.state == 'live' and seen.at + now.live or next_due(now, seen.id, seen.at)
end

local function unsure(seen, hot)
  local state = seen.state
  hot.asked = seen.at
  if GONE[state] then
    hot.missing = (hot.missing or 0) + 1
    hot.missed = hot.missing == 1 and seen.at or hot.missed
    local confirmed = hot.missing >= MISSING and seen.at - hot.missed >= MISSING_FOR
    if not confirmed then state = 'unknown' end
  end
  if hot.trouble ~= state then hot.trouble, hot.troubled = state, seen.at end
  hot.problem = seen.problem
  if state == 'upcoming' then hot.announced = seen.started end
  if seen.state == 'unknown' then return seen.at + ASK_AGAIN end
  return hot.state == 'live' and seen.at + now.live or next_due(now, seen.id, seen.at)
end

-- What the whole batch writes at its end, in one call for each key: values and due times by id.
local names, values, dues, done = {}, {}, {}, {}

local function record(seen, raw)
  local hot = raw and cjson.decode(raw) or {first = seen.at}
  if seen.at <= math.max(hot.seen or 0, hot.asked or 0) then return end
  local due = SURE[seen.state] and sure(seen, hot) or unsure(seen, hot)
  names[#names + 1] = seen.id
  values[#values + 1], values[#values + 2] = seen.id, cjson.encode(hot)
  dues[#dues + 1], dues[#dues + 2] = due, seen.id
end

answer(platform, terms, sightings, extra)
local ids = {}
for at, sighting in ipairs(sightings) do ids[at] = sighting[1] end
local followed = call('HMGET', key('follows', platform), unpack(ids))
local states = call('HMGET', key('now', platform), unpack(ids))
for at, sighting in ipairs(sightings) do
  if followed[at] and not done[sighting[1]] then
    record(read(sighting), states[at])
    done[sighting[1]] = true
  end
end
if #names > 0 then
  call('HSET', key('now', platform), unpack(values))
  call('ZREM', key('claimed', platform), unpack(names))
  call('ZADD', key('due', platform), unpack(dues))
end
return told
