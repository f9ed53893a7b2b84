-- Keeps the health of a platform by its answers: its budget, its circuit, the wait it asks for, a broken parser.
local STEPS = {300, 600, 1200, 1800} -- seconds that a circuit stays open, at the first block, the second and so on
local WAIT = 60 -- seconds after a rate limit that names no time
local PROBE = 60 -- seconds after which a probe without an answer is sent again
local PATIENCE = 10 -- seconds without any answer, before one request at a time is enough to see whether there is one
local WINDOW, ENOUGH = 100, 20 -- the last answers that judge a parser: at most, and at least
local BURST = 10 -- seconds of budget that are saved up at most

local function refill(terms, at)
  local saved = call('HMGET', K.health, 'tokens', 'refilled')
  local most = math.max(1, terms.rate * BURST)
  local tokens = tonumber(saved[1] or most)
  local refilled = tonumber(saved[2] or at)
  return math.min(most, tokens + math.max(0, at - refilled) * terms.rate)
end

local function spend(tokens, at)
  call('HSET', K.health, 'tokens', tokens, 'refilled', at)
end

local function block(name, at)
  local open = call('HMGET', name, 'step', 'open_until')
  local step = tonumber(open[1] or 0)
  if step > 0 and at < tonumber(open[2]) then return end -- the request was sent before the circuit opened
  step = math.min(step + 1, #STEPS)
  call('HSET', name, 'step', step, 'open_until', at + STEPS[step])
  call('HSETNX', name, 'blocked', at)
  call('HDEL', name, 'probe')
end

local function close(name, at)
  local open = call('HGET', name, 'open_until')
  if open and at >= tonumber(open) then call('HDEL', name, 'step', 'open_until', 'blocked', 'probe') end
end

-- Judges the parser by the last answers, a mark each: x for one that it could not read.
local function judge(name, marks, at)
  marks = ((call('HGET', name, 'marks') or '') .. marks):sub(-WINDOW)
  call('HSET', name, 'marks', marks)
  local _, broken = marks:gsub('x', 'x')
  if #marks >= ENOUGH and broken > #marks / 2 then
    call('HSETNX', name, 'parser_broken', at)
  else
    call('HDEL', name, 'parser_broken')
  end
end

-- Takes the answers of a batch into account: [state, when, how many, whether live, when to try again] rows.
local function answer(terms, answers, extra)
  local name, counts, marks, last = K.health, {}, {}, 0
  local wait, read_at, live_at, total = 0, 0, 0, 0
  for _, one in ipairs(answers) do
    local state, at, count, live, retry_at = one[1], one[2], one[3], one[4], given(one[5])
    counts[state] = (counts[state] or 0) + count
    total = total + count
    last = math.max(last, at)
    if state == 'rate_limited' then wait = math.max(wait, retry_at or at + WAIT) end
    wait = math.max(wait, retry_at or 0)
    if live or state == 'offline' or state == 'replay' then read_at = math.max(read_at, at) end
    if live then live_at = math.max(live_at, at) end
    if state ~= 'network' and state ~= 'blocked' and state ~= 'rate_limited' and state ~= 'auth' then
      marks[#marks + 1] = (state == 'parse_error' and 'x' or '.'):rep(math.min(count, WINDOW))
    end
  end
  if read_at > 0 then
    close(name, read_at)
    call('HSET', name, 'read', math.max(read_at, tonumber(call('HGET', name, 'read') or 0)))
  end
  if live_at > tonumber(call('HGET', name, 'live_read') or 0) then
    call('HSET', name, 'live_read', live_at)
    call('HDEL', name, 'all_gone')
  end
  if counts.network == total then
    call('HSETNX', name, 'unreached', last)
    local probe = call('HMGET', name, 'step', 'probe')
    if not probe[1] and probe[2] and last >= tonumber(probe[2]) then call('HDEL', name, 'probe') end -- not one before it
  elseif total > 0 then
    call('HDEL', name, 'unreached')
  end
  if counts.blocked then block(name, last) end
  if counts.auth then call('HSET', name, 'auth', terms.keys, 'auth_since', last) end
  if wait > tonumber(call('HGET', name, 'wait_until') or 0) then call('HSET', name, 'wait_until', wait) end
  if #marks > 0 then judge(name, table.concat(marks), last) end
  for state, count in pairs(counts) do call('HINCRBY', name, 'count:' .. state, count) end
  if extra ~= 0 then spend(refill(terms, last) - extra, last) end
end
