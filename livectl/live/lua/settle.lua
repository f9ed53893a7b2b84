-- Records the outcome of an alert: ARGV are token, now, outcome, the alert's last number, its key, the target's answer,
-- when to try again, the id of a lane and what it is from now on, empty where it has ended; and notes, as
-- [[platform/id, session, kind, note], ...]. Outcomes are sent, passed, failed, aside, dead.
-- Returns 0 if this worker has lost the target. It may be repeated by whoever did not hear the answer.

-- Of each streamer the notes of one session are kept, the last one that was noted.
local function take_notes(rows)
  local kept = {}
  for _, row in ipairs(rows) do
    local field, session, kind, note = row[1], row[2], row[3], row[4]
    local one = kept[field] or cjson.decode(call('HGET', K.notes, field) or '{}')
    if one.session ~= session then one = {session = session, notes = {}} end
    one.notes[kind] = note
    kept[field] = one
  end
  for field, one in pairs(kept) do call('HSET', K.notes, field, cjson.encode(one)) end
end

local token, now, outcome, number, alert = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local answer, retry_at, lane, lane_text = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local known = stand()
if known.token ~= token then return 0 end
if lane ~= '' then
  if lane_text == '' then call('HDEL', K.lanes, lane) else call('HSET', K.lanes, lane, lane_text) end
end
if ARGV[10] ~= '' then take_notes(cjson.decode(ARGV[10])) end
if outcome == 'failed' then
  call('HINCRBY', K.state, 'tries', 1)
  call('HINCRBY', K.state, 'failures', 1)
  call('HSETNX', K.state, 'failing_since', now)
  call('HSET', K.state, 'retry_at', retry_at, 'problem', answer)
  return 1
end
if after(number, known.cursor) then call('HSET', K.state, 'cursor', number) end
call('HDEL', K.state, 'begun', 'through', 'tries', 'failing_since', 'retry_at')
if outcome == 'aside' then
  call('HINCRBY', K.state, 'failures', 1)
  call('HSET', K.state, 'problem', answer)
  if retry_at ~= '' then call('HSET', K.state, 'retry_at', retry_at) end
end
local is_new = (outcome == 'sent' or outcome == 'dead') and not call('ZSCORE', K.told, alert)
if is_new then
  call('ZADD', K.told, now, alert)
  call('ZREMRANGEBYSCORE', K.told, '-inf', now - REMEMBERED)
  call('HINCRBY', K.state, outcome, 1)
end
if outcome == 'sent' then
  call('HSET', K.state, 'sent_at', now, 'last_told', number)
  call('HDEL', K.state, 'problem', 'lost_since')
elseif outcome == 'dead' then
  call('HSETNX', K.state, 'lost_since', known.failing_since or now)
  call('HSET', K.state, 'problem', answer)
end
return 1
