-- Changes a key for a process that moves the store: ARGV are its number, and a command with the words that follow the key.
-- HSETNX takes many fields. Without a command the place is closed to lower numbers, and that is all. Returns 0, and
-- changes nothing, where it is closed to this one.
if not may_move(ARGV[1]) then return 0 end
if ARGV[2] == 'HSETNX' then
  for at = 3, #ARGV, 2 do call('HSETNX', K.rows, ARGV[at], ARGV[at + 1]) end
elseif ARGV[2] then
  call(ARGV[2], K.rows, unpack(ARGV, 3))
end
return 1
