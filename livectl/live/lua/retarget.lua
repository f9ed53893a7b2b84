-- Takes over at a target that it is new, mended or gone: ARGV are the number of this step, which of these, and where a new
-- one begins. A step that was done, or that a later one has overtaken, changes nothing.
-- Returns where the target stood.
local number, what = ARGV[1], ARGV[2]
local known = stand()
if known.step and not after(number, known.step) then return '' end

-- What it took stays known for a while: another machine may tell it still.
local function forget()
  call('DEL', K.state, K.pace, K.lanes, K.notes)
  call('EXPIRE', K.told, REMEMBERED)
end

if what == 'gone' then
  forget()
  -- Whoever has not heard of that yet goes on from there, and tells nothing from before the target was new.
  call('HSET', K.state, 'step', number)
  if known.cursor then call('HSET', K.state, 'cursor', known.cursor) end
  call('EXPIRE', K.state, REMEMBERED)
elseif what == 'new' then
  forget()
  call('PERSIST', K.told)
  call('HSET', K.state, 'cursor', ARGV[3], 'step', number)
else -- it may be mended: it is tried at once
  call('HDEL', K.state, 'tries', 'retry_at', 'failing_since')
  for id, text in pairs(fields(K.lanes)) do
    local lane = cjson.decode(text)
    lane.retry_at = nil
    call('HSET', K.lanes, id, cjson.encode(lane))
  end
  call('HSET', K.state, 'step', number)
end
return known.cursor or ''
