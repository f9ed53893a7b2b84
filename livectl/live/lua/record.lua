-- Records observations of streamers of one cell: ARGV are limits, what is known of the other cells of its platform as
-- [followed, live, ending, learned, when somebody was last read as live], the sums of all pulls, the plain ones as
-- [state, at, ids] rows and the others as rows, both packed, and for each plain row the pages of its ids as an array, or
-- nothing.
-- Plain is "offline" or "replay" without any problem; any other is [id, state, at, session, started, viewers, page,
-- problem, retry_at]. Each id comes once. Returns the changes, since when all seem to have gone at once, and the counts of
-- the cell.
local MISSING, MISSING_FOR = 3, 3600 -- so often, over so many seconds, before "no such streamer" is believed
local ASK_AGAIN = 30 -- seconds until a streamer whom the answer left out is checked again
-- Seconds after a look before somebody is asked because a list shows them; and after one that found a recording.
local LISTED_AGAIN, LISTED_REPLAY = 60, 900
local HINT_AGAIN = 900 -- seconds after which a list that may show recordings is not enough, and who is live is asked
local SURE = {live = true, offline = true, replay = true}
local GONE = {not_found = true, banned = true}
local RAW = 10 -- behind the fields of a row: what is known of its streamer

local terms, others = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
local plain, sightings = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
local platform, told = terms.platform, {changes = {}, others = others, live_read = others[5]}
local now = pace(terms, platform_counts(others), ARGV[3])

local function read(sighting)
  local seen = {
    id = sighting[1], state = sighting[2], at = sighting[3], session = given(sighting[4]),
    started = given(sighting[5]), viewers = given(sighting[6]), page = sighting[7], problem = given(sighting[8]),
  }
  -- The stream is closed to us, but the answer proves that there is one.
  if seen.state == 'restricted' and seen.session then seen.state = 'live' end
  return seen
end

-- When somebody who is live is asked next.
local function next_look(seen)
  local due = seen.at + now.live
  if terms.source ~= 'hint' then return due end
  local before = tonumber(call('ZSCORE', K.due, seen.id) or due)
  if before <= seen.at then return before end
  local spread = tonumber(redis.sha1hex(seen.id):sub(1, 4), 16)
  return math.min(due, seen.at + HINT_AGAIN - (seen.at + spread) % HINT_AGAIN)
end

local function sure(seen, hot)
  local due
  local settled = hot.state == seen.state and seen.state ~= 'live'
  local before = not settled and call('HGET', K.page, seen.id) or '{}'
  local page = (seen.state == 'live' or before == '{}') and seen.page ~= '' and seen.page or before
  if seen.state == 'live' and hot.state == 'live' then
    go_on(told, platform, seen, hot, page, before, terms.merge)
  elseif seen.state == 'live' then
    appear(told, platform, seen, hot, page, terms.merge)
  elseif hot.state == 'live' then
    due = vanish(told, platform, seen, hot, before, terms.merge)
  elseif not settled then
    if not hot.state then call('ZADD', K.others, 0, seen.id) end
    hot.state, hot.since = seen.state, seen.at
  end
  if seen.state == 'live' then note_viewers(seen, hot) end
  hot.seen, hot.viewers = seen.at, seen.state == 'live' and seen.viewers or nil
  hot.trouble, hot.troubled, hot.asked, hot.missing, hot.announced = nil, nil, nil, nil, nil
  hot.problem = seen.problem
  if page ~= before and not settled then call('HSET', K.page, seen.id, page) end
  if due then return due end
  return hot.state == 'live' and next_look(seen) or next_due(now, seen.id, seen.at)
end

-- Whether a list is not believed: it may show a recording, or a broadcast that has ended since.
local function doubtful(seen, hot)
  if terms.source == 'check' or seen.state ~= 'live' or hot.state == 'live' then return false end
  if terms.source == 'hint' then return true end
  return hot.ended and (seen.session and knows(hot, seen.session) or (seen.started or seen.at) <= hot.ended)
end

-- Makes somebody due whom a list shows, unless they are being asked or were a moment ago.
local function look(seen, hot)
  local due = tonumber(call('ZSCORE', K.due, seen.id) or nil)
  local again = hot.state == 'replay' and LISTED_REPLAY or LISTED_AGAIN
  if not due or is_lapse(due) or seen.at - math.max(hot.seen or 0, hot.asked or 0) < again then return end
  call('SADD', K.shown, seen.id)
  if due > seen.at then call('ZADD', K.due, seen.at, seen.id) end
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
local count, values, dues = 0, {}, {}

local function note(id, value, due)
  local at = 2 * count + 1
  count, values[at], values[at + 1], dues[at], dues[at + 1] = count + 1, id, value, due, id
end

local function is_being_asked(id)
  local due = call('ZSCORE', K.due, id)
  return due and is_lapse(tonumber(due))
end

local function record(seen, raw)
  local hot = raw and reading(raw) or {first = seen.at}
  if seen.at <= math.max(hot.seen or 0, hot.asked or 0) then return end
  -- A check has seen nobody, or is on its way: it knows better than a hint.
  if terms.source == 'hint' and (hot.ending or is_being_asked(seen.id)) then return end
  if doubtful(seen, hot) then return look(seen, hot) end
  local due = SURE[seen.state] and sure(seen, hot) or unsure(seen, hot)
  note(seen.id, packed(hot), due)
end

local function ids_of(rows)
  local ids = {}
  for at, row in ipairs(rows) do ids[at] = row[1] end
  return ids
end

-- Whether somebody was live without trouble and is live in the same session. Their page may have changed.
local function goes_on(row)
  if not row[RAW] or row[RAW]:byte() ~= LETTER.live:byte() then return false end
  if row[2] ~= 'live' or row[8] ~= '' or terms.source == 'hint' then return false end
  return row[4] == '' or row[RAW]:find('"session":' .. cjson.encode(row[4]), WATCHED_END, true)
end

-- Notes how many watch these. Returns from when on that is noted again, by id.
local function count_viewers(rows)
  local due, next_counts, changed = {}, {}, {}
  for _, row in ipairs(rows) do
    if given(row[6]) and row[3] >= next_count(row[RAW]) then due[#due + 1] = row end
  end
  if #due == 0 then return next_counts end
  for at, known in ipairs(call('HMGET', K.viewers, unpack(ids_of(due)))) do
    local row, text = due[at], nil
    text, next_counts[row[1]] = counted(known, row[3], row[6])
    if text then changed[#changed + 1], changed[#changed + 2] = row[1], text end
  end
  if #changed > 0 then call('HSET', K.viewers, unpack(changed)) end
  return next_counts
end

-- Of those who go on with the same page, nothing but when and by how many they were seen is new. Returns the others.
local function record_going_on(rows)
  if #rows == 0 then return rows end
  local same, others = {}, {}
  for at, page in ipairs(call('HMGET', K.page, unpack(ids_of(rows)))) do
    local row = rows[at]
    local list = (row[7] == '' or row[7] == (page or '{}')) and same or others
    if row[3] > tonumber(row[RAW]:sub(2, SEEN_END)) then list[#list + 1] = row end
  end
  local next_counts, at, head, due = count_viewers(same), nil, nil, nil
  for _, row in ipairs(same) do
    if row[3] ~= at then
      at, head = row[3], LETTER.live .. string.format(SEEN_FORMAT, row[3])
      due = string.format(SCORE_FORMAT, at + now.live)
    end
    local watching = watched(given(row[6]), next_counts[row[1]] or next_count(row[RAW]))
    note(row[1], head .. watching .. row[RAW]:sub(WATCHED_END + 1), due)
  end
  return others
end

-- Those who are followed are recorded as rows.
local function record_rows(rows)
  if #rows == 0 then return end
  local ids, going_on, others = ids_of(rows), {}, {}
  local followed = call('HMGET', K.follows, unpack(ids))
  for at, raw in ipairs(call('HMGET', K.now, unpack(ids))) do
    local row = rows[at]
    row[RAW] = raw
    local list = goes_on(row) and going_on or others
    if followed[at] then list[#list + 1] = row end
  end
  for _, row in ipairs(others) do record(read(row), row[RAW]) end
  for _, row in ipairs(record_going_on(going_on)) do record(read(row), row[RAW]) end
end

local byte, sub = string.byte, string.sub

-- Whoever is where they were is noted without a look at the rest of what is known. Returns the others, as rows.
local function record_plain(group, pages_text)
  local state, at, ids = group[1], group[2], group[3]
  local head = LETTER[state] .. string.format(SEEN_FORMAT, at)
  local letter = byte(head)
  local states, next_dues, rest, pages = call('HMGET', K.now, unpack(ids)), dues_of(now, ids, at), {}, nil
  for number = 1, #ids do
    local id, raw = ids[number], states[number]
    if raw and byte(raw) == letter then
      if sub(raw, 1, SEEN_END) < head then note(id, head .. sub(raw, SEEN_END + 1), next_dues[number]) end
    else
      pages = pages or pages_text and cjson.decode(pages_text) or {}
      rest[#rest + 1] = {id, state, at, '', '', '', pages[number] or ''}
    end
  end
  return rest
end

-- Who is followed is among those who are due, at another time so far. Where anybody is not, of all only those are noted who
-- are followed.
local function write()
  if count == 0 then return end
  if call('ZADD', K.due, 'XX', 'CH', unpack(dues)) < count then
    local all_values, all_dues, names = values, dues, {}
    for at = 1, count do names[at] = dues[2 * at] end
    count, values, dues = 0, {}, {}
    for at, follow in ipairs(call('HMGET', K.follows, unpack(names))) do
      if follow then note(names[at], all_values[2 * at], all_dues[2 * at - 1]) end
    end
    if count == 0 then return end
    call('ZADD', K.due, unpack(dues))
  end
  call('HSET', K.now, unpack(values))
end

local rest = {}
for at, group in ipairs(plain) do
  local pages_text = given(ARGV[5 + at])
  for _, row in ipairs(record_plain(group, pages_text)) do rest[#rest + 1] = row end
end
record_rows(rest)
record_rows(sightings)
write()
return {
  told.changes, told.all_gone and string.format('%.17g', told.all_gone) or '', call('HLEN', K.follows),
  call('ZCARD', K.live), call('ZCARD', K.ending), call('HLEN', K.pull),
}
