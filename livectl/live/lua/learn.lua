-- Saves poll weights: ARGV[1] is [[id, packed weights], ...].
local rows, ids, followed = cjson.decode(ARGV[1]), {}, {}
for at, row in ipairs(rows) do ids[at] = row[1] end
for at, text in ipairs(call('HMGET', K.follows, unpack(ids))) do
  if text then followed[#followed + 1] = rows[at] end
end
if #followed > 0 then set_pulls(followed) end
call('SREM', K.unlearned, unpack(ids))
