-- Makes those of these due at a time who wait until later, and are not being asked: ARGV are when, ids.
local time, changes = tonumber(ARGV[1]), {}
for at, text in ipairs(call('ZMSCORE', K.due, unpack(ARGV, 2))) do
  local due = text and tonumber(text)
  if due and due > time and not is_lapse(due) then changes[#changes + 1], changes[#changes + 2] = ARGV[1], ARGV[at + 1] end
end
if #changes > 0 then call('ZADD', K.due, unpack(changes)) end
