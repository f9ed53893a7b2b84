-- Shared by every script: names of keys, values that may be missing. Times are seconds since the epoch.
local call = redis.call

local function key(kind, platform)
  return 'livectl:' .. kind .. ':' .. platform
end

local function given(value)
  if value == cjson.null or value == '' then return nil end
  return value
end

-- Where somebody who is not live stands among the others: by their last end, the latest first; then those who were read
-- and never live, then those who were not read yet.
local function place(hot)
  if hot.ended then return -hot.ended end
  return hot.state and 0 or 1
end

local function fields(name)
  local flat, named = call('HGETALL', name), {}
  for at = 1, #flat, 2 do named[flat[at]] = flat[at + 1] end
  return named
end

-- Sixty-four digits in the order of their bytes, so that numbers of the same width compare as text.
local DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~'

local function digits(number, width)
  local text = ''
  number = math.max(0, math.min(math.floor(number), 64 ^ width - 1))
  for _ = 1, width do
    local digit = number % 64
    text = DIGITS:sub(digit + 1, digit + 1) .. text
    number = (number - digit) / 64
  end
  return text
end

local function number_of(text)
  local number = 0
  for at = 1, #text do number = number * 64 + DIGITS:find(text:sub(at, at), 1, true) - 1 end
  return number
end
