-- Reads where a target stands. Its hash holds cursor, lease and failures; `told` holds the keys of the alerts it took.
local REMEMBERED = 30 * 86400 -- seconds that the key of an alert is kept

local function stand(name)
  return fields(key('target', name))
end

-- Whether this worker still has the target. A worker that lost it changes nothing.
local function holds(name, token)
  return call('HGET', key('target', name), 'token') == token
end

local function after(one, other)
  local function parts(number)
    local time, count = number:match('^(%d+)-?(%d*)$')
    return tonumber(time), tonumber(count ~= '' and count or 0)
  end
  local time, count = parts(one)
  local other_time, other_count = parts(other)
  return time > other_time or time == other_time and count > other_count
end

local function remember_told(name, told, now)
  call('ZADD', key('told', name), now, told)
  call('ZREMRANGEBYSCORE', key('told', name), '-inf', now - REMEMBERED)
end
