-- Saves poll weights: ARGV are platform and [[id, packed weights], ...]. Returns how many are unlearned still.
local platform, rows, ids, followed = ARGV[1], cjson.decode(ARGV[2]), {}, {}
for at, row in ipairs(rows) do ids[at] = row[1] end
if #ids > 0 then
  for at, text in ipairs(call('HMGET', key('follows', platform), unpack(ids))) do
    if text then followed[#followed + 1] = rows[at] end
  end
  if #followed > 0 then set_pulls(platform, followed) end
  call('SREM', key('unlearned', platform), unpack(ids))
end
return call('SCARD', key('unlearned', platform))
