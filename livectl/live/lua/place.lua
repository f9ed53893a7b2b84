-- Compares the places of streamers with what was last read of them: ARGV are now, whether to mend, ids.
-- Returns the ids that were out of place: followed and neither live nor among the others as they should be, or never due.
local now, mend = tonumber(ARGV[1]), ARGV[2] == '1'
local wrong, ids = {}, {}
for at = 3, #ARGV do ids[#ids + 1] = ARGV[at] end

local function mend_place(id, hot, is_live)
  if is_live then
    call('ZADD', K.live, hot.started, id)
    call('ZREM', K.others, id)
  else
    call('ZREM', K.live, id)
    call('ZREM', K.ending, id)
    call('ZADD', K.others, place(hot), id)
  end
end

if #ids == 0 then return wrong end
local follows = call('HMGET', K.follows, unpack(ids))
for at, raw in ipairs(call('HMGET', K.now, unpack(ids))) do
  local id, hot = ids[at], raw and reading(raw) or {}
  local live, other = call('ZSCORE', K.live, id), call('ZSCORE', K.others, id)
  local is_live = hot.state == 'live'
  local misplaced = is_live and (not live or other) or not is_live and (live or tonumber(other or 'nan') ~= place(hot))
  local never_due = not call('ZSCORE', K.due, id) and not call('ZSCORE', K.claimed, id)
  if follows[at] and (misplaced or never_due) then
    wrong[#wrong + 1] = id
    if mend and misplaced then mend_place(id, hot, is_live) end
    if mend and never_due then call('ZADD', K.due, now, id) end
  end
end
return wrong
