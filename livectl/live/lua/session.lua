-- Begins, continues and ends the sessions of a streamer. `hot` is what is known; `seen` is the new observation; `told` has
-- the changes, and what is known of the platform's other cells.
local FRESH = 900 -- seconds: a streamer first seen later into a session causes no alert
local LOOK_AGAIN, TOO_SOON = 120, 60 -- seconds from the first "offline" to the check that confirms it
local REMEMBERED_KEYS = 4 -- session keys remembered, so that a session that comes back is known again
local CROWD, EVERYBODY = 5, 0.8 -- of so many live streamers at least, this share gone at once means a broken parser
local LOG_LONGEST, LOG_ENTRY = 500, 6 -- sessions, and characters of each: four for start, two for length, in minutes
local LOG_EPOCH = 1577836800 -- 2020-01-01: four characters are enough until 2051
local LOG_DAYS = 400
local RECENT = 8 -- sessions kept with their titles
local SHORT = 120 -- bytes of such a title
local COUNTS, FIRST_STEP, COUNT, NO_COUNT = 60, 2, 4, '----' -- viewers of a session: so often, minutes apart, characters
local LONGEST_STEP = 2048 -- minutes: two digits hold no more

-- Cuts a text, never in the middle of a character.
local function shortened(text)
  if #text <= SHORT then return text end
  local stop = SHORT
  while stop > 0 and text:byte(stop + 1) >= 128 and text:byte(stop + 1) < 192 do stop = stop - 1 end
  return text:sub(1, stop)
end

local function tell(told, kind, platform, seen, hot, page, more)
  local change = {
    kind = kind, platform = platform, id = seen.id, session = hot.session, at = seen.at,
    started_at = hot.started, viewers = seen.viewers,
  }
  for name, value in pairs(more or {}) do change[name] = value end
  local text = cjson.encode(change)
  told.changes[#told.changes + 1] = {call('XADD', K.outbox, '*', 'change', text, 'page', page), text, page}
end

local function knows(hot, session)
  for _, one in ipairs(hot.keys or {}) do
    if one == session then return true end
  end
  return false
end

local function remember(hot, session)
  if not session or knows(hot, session) then return end
  hot.keys = hot.keys or {}
  table.insert(hot.keys, session)
  if #hot.keys > REMEMBERED_KEYS then table.remove(hot.keys, 1) end
end

local function minutes(at)
  return digits((at - LOG_EPOCH) / 60, 4)
end

-- Notes how many watch, at most sixty times a session: when they are sixty, every second one goes, and steps double.
-- The text is the minute of the first (four digits), the minutes from one to the next (two), and each count.
-- Returns the text with another count, or nothing where it has that minute, and from when on the next one is noted.
local function counted(text, at, viewers)
  local now = math.floor((at - LOG_EPOCH) / 60)
  text = text or minutes(at) .. digits(FIRST_STEP, 2)
  local first, step, counts = number_of(text:sub(1, 4)), number_of(text:sub(5, 6)), text:sub(7)
  while math.floor((now - first) / step) >= COUNTS do
    if step >= LONGEST_STEP then return end
    counts, step = counts:gsub('(....)....', '%1'), step * 2
  end
  local number = math.floor((now - first) / step)
  local count_at = LOG_EPOCH + (first + (number + 1) * step) * 60
  if number < #counts / COUNT then return nil, count_at end
  counts = counts .. NO_COUNT:rep(number - #counts / COUNT) .. digits(viewers, COUNT)
  return text:sub(1, 4) .. digits(step, 2) .. counts, count_at
end

local function note_viewers(seen, hot)
  if not seen.viewers or seen.at < (hot.count_at or 0) then return end
  local text, count_at = counted(call('HGET', K.viewers, seen.id), seen.at, seen.viewers)
  hot.count_at = count_at or hot.count_at
  if text then call('HSET', K.viewers, seen.id, text) end
end

local function enter_log(id, hot, page)
  local name, recent = K.log, K.recent
  local log = (call('HGET', name, id) or '') .. minutes(hot.started) .. digits((hot.ended - hot.started) / 60, 2)
  local oldest = math.floor((hot.ended - LOG_DAYS * 86400 - LOG_EPOCH) / 60)
  log = log:sub(-LOG_LONGEST * LOG_ENTRY)
  while number_of(log:sub(1, 4)) < oldest do log = log:sub(LOG_ENTRY + 1) end -- text has the order of the server's locale
  call('HSET', name, id, log)
  local shown = cjson.decode(page)
  local sessions = cjson.decode(call('HGET', recent, id) or '[]')
  local title, category = shortened(shown.title or ''), shortened(shown.category or '')
  table.insert(sessions, {hot.started, hot.ended, title, category, hot.session})
  if #sessions > RECENT then table.remove(sessions, 1) end
  call('HSET', recent, id, cjson.encode(sessions))
end

local function leave_log(id)
  local name, recent = K.log, K.recent
  local log = call('HGET', name, id)
  if log and #log > LOG_ENTRY then
    call('HSET', name, id, log:sub(1, -LOG_ENTRY - 1))
  else
    call('HDEL', name, id)
  end
  local sessions = cjson.decode(call('HGET', recent, id) or '[]')
  table.remove(sessions)
  if #sessions > 0 then
    call('HSET', recent, id, cjson.encode(sessions))
  else
    call('HDEL', recent, id)
  end
end

local function begin(told, platform, seen, hot, page, quiet)
  hot.state, hot.session, hot.ended = 'live', seen.session or string.format('at:%d', seen.at), nil
  hot.started = seen.started or seen.at
  hot.since, hot.count_at, hot.resumed = hot.started, nil, nil
  call('HDEL', K.viewers, seen.id)
  remember(hot, hot.session)
  call('ZADD', K.live, hot.started, seen.id)
  call('ZREM', K.others, seen.id)
  call('SADD', K.unlearned, seen.id)
  local earlier = hot.first and hot.started < hot.first -- than anybody looked
  tell(told, 'began', platform, seen, hot, page, {quiet = quiet or nil, earlier = earlier or nil})
end

local function resume(seen, hot)
  hot.state, hot.ended, hot.since, hot.resumed = 'live', nil, hot.started, seen.at
  remember(hot, seen.session)
  leave_log(seen.id)
  call('ZADD', K.live, hot.started, seen.id)
  call('ZREM', K.others, seen.id)
end

local function finish(told, platform, seen, hot, page, at, state)
  hot.ended, hot.ending, hot.lived, hot.viewers, hot.count_at = at, nil, nil, nil, nil
  hot.state, hot.since = state, at
  call('ZREM', K.live, seen.id)
  call('ZREM', K.ending, seen.id)
  call('ZADD', K.others, place(hot), seen.id)
  enter_log(seen.id, hot, page)
  tell(told, 'ended', platform, seen, hot, page, {ended_at = at})
end

-- A streamer who was not live is live.
local function appear(told, platform, seen, hot, page, merge)
  local start = seen.started or seen.at
  local known = seen.session and knows(hot, seen.session)
  if hot.ended and (known or start - hot.ended <= merge) then return resume(seen, hot) end
  local first = not hot.state
  begin(told, platform, seen, hot, page, first and (not seen.started or seen.at - seen.started > FRESH))
end

-- Returns when a session ended. After a long while without a check nobody knows: then it is when it was last seen.
local function left(hot, merge)
  if not hot.ending then return hot.seen end
  return hot.ending - hot.lived > merge and hot.lived or hot.ending
end

-- A live streamer is live still: in the same session, or in the next one that began unseen.
local function go_on(told, platform, seen, hot, page, before, merge)
  local last = left(hot, merge)
  if hot.ending then
    hot.ending, hot.lived, hot.resumed = nil, nil, seen.at
    call('ZREM', K.ending, seen.id)
  end
  if seen.session and not knows(hot, seen.session) then
    if (seen.started or seen.at) - last > merge then
      finish(told, platform, seen, hot, before, last, 'offline')
      return begin(told, platform, seen, hot, page, false)
    end
    remember(hot, seen.session)
    hot.resumed = seen.at
  end
  if page == before then return end
  local was, is = cjson.decode(before), cjson.decode(page)
  for _, news in ipairs({{'title', 'retitled'}, {'category', 'recategorised'}}) do
    local name, kind = news[1], news[2]
    if was[name] and is[name] and was[name] ~= is[name] then
      tell(told, kind, platform, seen, hot, page, {before = was[name]})
    end
  end
end

-- A live streamer was offline twice. That is believed, unless nearly all left at once and none was read as live since.
local function believed(told, hot)
  local live = told.others[2] + call('ZCARD', K.live)
  if live < CROWD then return true end
  if told.others[3] + call('ZCARD', K.ending) < EVERYBODY * live then return true end
  return told.live_read > hot.ending
end

-- A live streamer is offline, or shows a replay. Returns when to check again if it is too early to end the session.
local function vanish(told, platform, seen, hot, page, merge)
  if not hot.ending then
    hot.ending, hot.lived = seen.at, hot.seen
    call('ZADD', K.ending, seen.at, seen.id)
    return seen.at + LOOK_AGAIN
  end
  if seen.at - hot.ending < TOO_SOON then return hot.ending + LOOK_AGAIN end
  if not believed(told, hot) then
    told.all_gone = told.all_gone or seen.at
    return seen.at + LOOK_AGAIN
  end
  finish(told, platform, seen, hot, page, left(hot, merge), seen.state)
  return nil
end
