-- Shared by the scripts of cells: how what is known is packed. Times are seconds since the epoch.
-- What was last read of a streamer is JSON. Nearly all are offline and have no trouble: of them a letter for the state and
-- when they were seen stand before the rest, so that seeing them again rewrites those alone.
local QUIET = {offline = 'o', replay = 'r'}
local STATE_OF = {o = 'offline', r = 'replay'}
local SEEN_FORMAT, REST_AT = '%014.3f', 16

local function reading(raw)
  local state = STATE_OF[raw:sub(1, 1)]
  if not state then return cjson.decode(raw) end
  local hot = cjson.decode(raw:sub(REST_AT))
  hot.state, hot.seen = state, tonumber(raw:sub(2, REST_AT - 1))
  return hot
end

local function packed(hot)
  local letter = QUIET[hot.state]
  if not letter or hot.trouble or hot.problem or hot.asked then return cjson.encode(hot) end
  local seen = string.format(SEEN_FORMAT, hot.seen)
  hot.state, hot.seen = nil, nil
  return letter .. seen .. cjson.encode(hot)
end

-- Where somebody who is not live stands among the others: by their last end, the latest first; then those who were read
-- and never live, then those who were not read yet.
local function place(hot)
  if hot.ended then return -hot.ended end
  return hot.state and 0 or 1
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
