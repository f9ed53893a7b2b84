-- Sends one run in the database of the broker: its commands (verb, key, value) stand in ARGV from `first` on.
-- Returns 'sent' or the server's error.
local function send(store_database, broker_database, first, count)
  local outcome = 'sent'
  if store_database ~= broker_database then redis.call('SELECT', broker_database) end
  for at = first, first + 3 * (count - 1), 3 do
    local reply = redis.pcall(ARGV[at], ARGV[at + 1], ARGV[at + 2])
    if type(reply) == 'table' and reply.err then
      outcome = reply.err
      break
    end
  end
  if store_database ~= broker_database then redis.call('SELECT', store_database) end
  return outcome
end

