-- The store's database, the broker's, then each run: itself, its fence, how many commands, (verb, key, value) each.
-- Answers 'sent', 'taken', or what the server said against it. KEYS are pending.
local here, there = ARGV[2], ARGV[3]
local answer, i = {}, 4

local function send(first, count)
  for at = first, first + 3 * (count - 1), 3 do
    local said = redis.pcall(ARGV[at], ARGV[at + 1], ARGV[at + 2])
    if type(said) == 'table' and said.err then return said.err end
  end
  return 'sent'
end

while i <= #ARGV do
  local run, fence, count = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local told = 'taken'
  if tonumber(redis.call('ZSCORE', KEYS[1], run) or nil) == fence then
    if here ~= there then redis.call('SELECT', there) end
    told = send(i + 3, count)
    if here ~= there then redis.call('SELECT', here) end
    -- Only now: a message that was refused must not be forgotten.
    if told == 'sent' then redis.call('ZREM', KEYS[1], run) end
  end
  i = i + 3 + 3 * count
  answer[#answer + 1] = told
end
return {now, answer}
