-- Notes which targets there are: ARGV are the place whose settings name them, [[name, fingerprint, start], ...], and
-- names that are gone. Returns what is to be done at targets, this and what was left of before, as [number, name, what,
-- start] rows: what is new, mended or gone, as retarget.lua reads it.
-- A new target begins at its start, or else at the end of the outbox. Where no target was ever noted nobody can tell
-- which are new: they begin as take.lua says.
local place, wanted, gone = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3])
local MARK = '\n' -- a field that says that targets are noted, and no name
local noted, named = fields(K.targets), {}
local last = call('XREVRANGE', K.outbox, '+', '-', 'COUNT', 1)[1]

local function leave_to_do(name, what, start)
  call('XADD', K.retargeting, '*', 'name', name, 'what', what, 'start', start)
end

local function drop(name)
  if named[name] or not noted[name] then return end
  leave_to_do(name, 'gone', '')
  call('HDEL', K.targets, name)
  noted[name] = nil
end

for _, target in ipairs(wanted) do
  local name, fingerprint, start = target[1], target[2], given(target[3])
  local known = noted[name]
  named[name] = true
  if not known and noted[MARK] then
    leave_to_do(name, 'new', start or last and last[1] or '0-0')
  elseif known and known:match('\n(.*)$') ~= fingerprint then
    leave_to_do(name, 'mended', '')
  end
  call('HSET', K.targets, name, place .. '\n' .. fingerprint)
end
for _, name in ipairs(gone) do drop(name) end
for name, value in pairs(noted) do
  if value:match('^(.*)\n') == place then drop(name) end
end
call('HSET', K.targets, MARK, '')
local rows = {}
for at, entry in ipairs(call('XRANGE', K.retargeting, '-', '+')) do
  rows[at] = {entry[1], entry[2][2], entry[2][4], entry[2][6]}
end
return rows
