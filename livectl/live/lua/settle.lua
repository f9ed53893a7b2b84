-- Records the outcome of an alert: ARGV are target, token, now, outcome, the alert's last number, its key, the target's
-- answer, when to try again, the id and text of a dead letter, the id of a lane and what it is from now on, empty
-- where it has ended; and notes, as [[platform/id, session, kind, note], ...]. Outcomes are sent, passed, failed, aside,
-- dead.
-- Returns 0 if this worker has lost the target.

-- Of each streamer the notes of one session are kept, the last one that was noted.
local function take_notes(name, rows)
  local kept = {}
  for _, row in ipairs(rows) do
    local field, session, kind, note = row[1], row[2], row[3], row[4]
    local one = kept[field] or cjson.decode(call('HGET', key('notes', name), field) or '{}')
    if one.session ~= session then one = {session = session, notes = {}} end
    one.notes[kind] = note
    kept[field] = one
  end
  for field, one in pairs(kept) do call('HSET', key('notes', name), field, cjson.encode(one)) end
end

local name, token, now, outcome = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local target, known = key('target', name), stand(name)
if known.token ~= token then return 0 end
if ARGV[11] ~= '' then
  if ARGV[12] == '' then call('HDEL', key('lanes', name), ARGV[11])
  else call('HSET', key('lanes', name), ARGV[11], ARGV[12]) end
end
if ARGV[13] and ARGV[13] ~= '' then take_notes(name, cjson.decode(ARGV[13])) end
if outcome == 'failed' then
  call('HINCRBY', target, 'tries', 1)
  call('HINCRBY', target, 'failures', 1)
  call('HSETNX', target, 'failing_since', now)
  call('HSET', target, 'retry_at', ARGV[8], 'problem', ARGV[7])
  return 1
end
if after(ARGV[5], known.cursor) then call('HSET', target, 'cursor', ARGV[5]) end
call('HDEL', target, 'begun', 'through', 'tries', 'failing_since', 'retry_at')
if outcome == 'aside' then
  call('HINCRBY', target, 'failures', 1)
  call('HSET', target, 'problem', ARGV[7])
  if ARGV[8] ~= '' then call('HSET', target, 'retry_at', ARGV[8]) end
end
if outcome == 'sent' then
  remember_told(name, ARGV[6], now)
  call('HINCRBY', target, 'sent', 1)
  call('HSET', target, 'sent_at', now, 'last_told', ARGV[5])
  call('HDEL', target, 'problem', 'lost_since')
elseif outcome == 'dead' then
  remember_told(name, ARGV[6], now)
  call('HINCRBY', target, 'dead', 1)
  call('HSETNX', target, 'lost_since', known.failing_since or now)
  call('HSET', target, 'problem', ARGV[7])
  call('HSET', 'livectl:dead', ARGV[9], ARGV[10])
end
return 1
