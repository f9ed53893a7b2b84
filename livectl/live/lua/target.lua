-- Reads where a target stands: its cursor, its lease and its failures.
local REMEMBERED = 30 * 86400 -- seconds that the key of an alert is kept

local function stand()
  return fields(K.state)
end

-- Whether this worker still has the target. A worker that lost it changes nothing.
local function holds(token)
  return call('HGET', K.state, 'token') == token
end
