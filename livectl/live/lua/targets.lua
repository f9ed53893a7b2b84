-- Notes which targets there are: ARGV are the place whose settings name them, [[name, fingerprint, start], ...], and
-- names that are gone. Returns ['new' or 'gone', name, cursor] rows.
-- A new target begins at its start, or else at the end of the outbox. Where no target was ever noted nobody can tell
-- which are new: they begin as take.lua says.
local place, wanted, gone = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3])
local MARK = '\n' -- a field that says that targets are noted, and no name
local noted, named, rows = fields('livectl:targets'), {}, {}
local last = call('XREVRANGE', 'livectl:outbox', '+', '-', 'COUNT', 1)[1]

-- What it took stays known for a while: another machine may tell it still.
local function forget(name)
  call('DEL', key('target', name), key('pace', name), key('lanes', name), key('notes', name))
  call('EXPIRE', key('told', name), REMEMBERED)
  call('HDEL', 'livectl:targets', name)
end

local function drop(name)
  if named[name] or not noted[name] then return end
  rows[#rows + 1] = {'gone', name, call('HGET', key('target', name), 'cursor') or ''}
  forget(name)
  noted[name] = nil
end

for _, target in ipairs(wanted) do
  local name, fingerprint, start = target[1], target[2], given(target[3])
  local known = noted[name]
  named[name] = true
  if not known and noted[MARK] then
    forget(name)
    call('PERSIST', key('told', name))
    call('HSET', key('target', name), 'cursor', start or last and last[1] or '0-0')
    rows[#rows + 1] = {'new', name, ''}
  elseif known and known:match('\n(.*)$') ~= fingerprint then -- it may be mended: it is tried at once
    call('HDEL', key('target', name), 'tries', 'retry_at', 'failing_since')
    for id, text in pairs(fields(key('lanes', name))) do
      local lane = cjson.decode(text)
      lane.retry_at = nil
      call('HSET', key('lanes', name), id, cjson.encode(lane))
    end
  end
  call('HSET', 'livectl:targets', name, place .. '\n' .. fingerprint)
end
for _, name in ipairs(gone) do drop(name) end
for name, value in pairs(noted) do
  if value:match('^(.*)\n') == place then drop(name) end
end
call('HSET', 'livectl:targets', MARK, '')
return rows
