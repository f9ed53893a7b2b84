-- Takes changes out of the outboxes of cells into the one of all: ARGV are, by cell, the number after which it was read, as
-- JSON; then cell, number, change and page of each change that was there, those of a cell in their order.
-- What was taken before is left out. Returns how many were taken; -1 where a cell has to be read from further back: then
-- none is.
local taken, count = {}, 0
for cell, from in pairs(cjson.decode(ARGV[1])) do
  taken[cell] = call('HGET', K.taken, cell) or '0-0'
  if after(from, taken[cell]) then return -1 end
end
for at = 2, #ARGV, 4 do
  local cell, number = ARGV[at], ARGV[at + 1]
  if after(number, taken[cell]) then
    call('XADD', K.outbox, '*', 'change', ARGV[at + 2], 'page', ARGV[at + 3])
    taken[cell], count = number, count + 1
  end
end
for cell, number in pairs(taken) do call('HSET', K.taken, cell, number) end
return count
