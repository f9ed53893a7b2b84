-- ARGV from 6: owner, id of the job that has ended, seconds of a lease, of a lease of a message, a tag, how long the
-- prefix of lists is, what stands before their priority, queues. Where the first who is called waits with the broker for
-- one of these, it has the slot at once, and the worker its message: replies its id, list and message, or three times
-- nothing; then those who are to be called, as pump.lua does.
redis.call('ZREM', KEYS[1], ARGV[7] .. ' ' .. ARGV[6])
drop(ARGV[7])
local woken = pump()
local reply = {'', '', ''}
local function queue_of(list)
  local queue = string.sub(list, ARGV[11] + 1)
  return string.sub(queue, 1, (string.find(queue, ARGV[12], 1, true) or 0) - 1)
end
local queue = woken[2] and queue_of(woken[2])
for i = 13, #ARGV do
  if queue == ARGV[i] and reply[1] == '' then
    local list, text = take_over(woken[1], ARGV[10], ARGV[9], queue)
    if list then
      begin(woken[1], ARGV[6], ARGV[8])
      reply = {woken[1], list, text}
      table.remove(woken, 1)
      table.remove(woken, 1)
    end
    break
  end
end
for _, word in ipairs(woken) do reply[#reply + 1] = word end
settle()
return reply
