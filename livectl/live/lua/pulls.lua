-- Moves poll weights: ARGV are the number of the process that moves, [[id, packed weights], ...], without weights for who
-- goes, and whether those that are known already are replaced. Returns 0 as move.lua does.
if not may_move(ARGV[1]) then return 0 end
local rows = cjson.decode(ARGV[2])
if ARGV[3] == '0' then
  local ids, new = {}, {}
  for at, row in ipairs(rows) do ids[at] = row[1] end
  for at, known in ipairs(call('HMGET', K.pull, unpack(ids))) do
    if not known then new[#new + 1] = rows[at] end
  end
  rows = new
end
if #rows > 0 then set_pulls(rows) end
return 1
