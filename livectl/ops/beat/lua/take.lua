-- (run, fence) each: those still claimed under that fence get a new one, the present. KEYS are pending.
local answer = {}

for i = 2, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or nil) == tonumber(ARGV[i + 1]) then
    redis.call('ZADD', KEYS[1], now, ARGV[i])
    answer[#answer + 1] = (i - 2) / 2
  end
end
return {now, answer}
