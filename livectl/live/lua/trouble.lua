-- Adds each trouble to the outbox once: ARGV are now and [[name, seconds it has to last, change], ...].
-- Returns how many it added.
-- A trouble that is not named any more is over, and is added again when it comes back.
local now, named, told = tonumber(ARGV[1]), {}, 0
for _, one in ipairs(cjson.decode(ARGV[2])) do
  local name, lasting, change = one[1], one[2], one[3]
  named[name] = true
  local since = call('HGET', K.troubles, name)
  if not since then
    since = now
    call('HSET', K.troubles, name, now)
  end
  if since ~= 'told' and now - tonumber(since) >= lasting then
    call('XADD', K.outbox, '*', 'change', change, 'page', '{}')
    call('HSET', K.troubles, name, 'told')
    told = told + 1
  end
end
for _, name in ipairs(call('HKEYS', K.troubles)) do
  if not named[name] then call('HDEL', K.troubles, name) end
end
return told
