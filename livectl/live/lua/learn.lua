-- Saves poll weights: ARGV are platform and [[id, packed weights], ...]. Returns how many are unlearned still.
for _, one in ipairs(cjson.decode(ARGV[2])) do
  if call('HEXISTS', key('follows', ARGV[1]), one[1]) == 1 then set_pull(ARGV[1], one[1], one[2]) end
  call('SREM', key('unlearned', ARGV[1]), one[1])
end
return call('SCARD', key('unlearned', ARGV[1]))
