-- Shared by the scripts of targets and of the outbox: values that may be missing, and the order of changes.
local call = redis.call

local function given(value)
  if value == cjson.null or value == '' then return nil end
  return value
end

local function fields(name)
  local flat, named = call('HGETALL', name), {}
  for at = 1, #flat, 2 do named[flat[at]] = flat[at + 1] end
  return named
end

-- Whether a change comes behind another one: their numbers are a time, and a count within it.
local function after(one, other)
  local function parts(number)
    local time, count = number:match('^(%d+)-?(%d*)$')
    return tonumber(time), tonumber(count ~= '' and count or 0)
  end
  local time, count = parts(one)
  local other_time, other_count = parts(other)
  return time > other_time or time == other_time and count > other_count
end
