-- Reads what is new: ARGV are the number of a change, and how many changes at most. Returns the changes after that number,
-- as [number, change, page], and the names of the targets.
local changes = {}
for at, entry in ipairs(call('XRANGE', K.outbox, '(' .. ARGV[1], '+', 'COUNT', ARGV[2])) do
  local row = {entry[1], '{}', '{}'}
  for field = 1, #entry[2], 2 do
    if entry[2][field] == 'change' then row[2] = entry[2][field + 1] end
    if entry[2][field] == 'page' then row[3] = entry[2][field + 1] end
  end
  changes[at] = row
end
return {changes, call('HKEYS', K.targets)}
