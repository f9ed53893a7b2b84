-- Shared by the scripts of cells: how what is known is packed. Times are seconds since the epoch.
-- What was last read of a streamer is JSON. Nearly all have no trouble: of them a letter for the state and when they were
-- seen stand before the rest, and of who is live how many watch, or -1, and when that is noted again; so that seeing them
-- again rewrites those alone.
local LETTER = {offline = 'o', replay = 'r', live = 'l'}
local STATE_OF = {o = 'offline', r = 'replay', l = 'live'}
local SEEN_FORMAT, SEEN_END, WATCHED_FORMAT, VIEWERS_END, WATCHED_END = '%014.3f', 15, '%09d%010d', 24, 34
local MOST_VIEWERS = 999999999

local function watched(viewers, count_at)
  return string.format(WATCHED_FORMAT, viewers and math.min(viewers, MOST_VIEWERS) or -1, count_at or 0)
end

local function next_count(raw)
  return tonumber(raw:sub(VIEWERS_END + 1, WATCHED_END))
end

local function reading(raw)
  local state = STATE_OF[raw:sub(1, 1)]
  if not state then return cjson.decode(raw) end
  local hot = cjson.decode(raw:sub((state == 'live' and WATCHED_END or SEEN_END) + 1))
  hot.state, hot.seen = state, tonumber(raw:sub(2, SEEN_END))
  if state == 'live' then
    local viewers = tonumber(raw:sub(SEEN_END + 1, VIEWERS_END))
    hot.viewers, hot.count_at = viewers >= 0 and viewers or nil, next_count(raw)
  end
  return hot
end

local function packed(hot)
  local letter = LETTER[hot.state]
  if not letter or hot.trouble or hot.problem or hot.asked or hot.ending then return cjson.encode(hot) end
  local head = letter .. string.format(SEEN_FORMAT, hot.seen)
  if hot.state == 'live' then head = head .. watched(hot.viewers, hot.count_at) end
  hot.state, hot.seen, hot.viewers, hot.count_at = nil, nil, nil, nil
  return head .. cjson.encode(hot)
end

-- Where somebody who is not live stands among the others: by their last end, the latest first; then those who were read
-- and never live, then those who were not read yet.
local function place(hot)
  if hot.ended then return -hot.ended end
  return hot.state and 0 or 1
end

-- Sixty-four digits in the order of their bytes, so that numbers of the same width compare as text.
local DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~'

local PAIR = setmetatable({}, {__index = function(known, number)
  local low = number % 64
  local high = (number - low) / 64
  known[number] = DIGITS:sub(high + 1, high + 1) .. DIGITS:sub(low + 1, low + 1)
  return known[number]
end})

-- Two digits, or four.
local function digits(number, width)
  number = math.max(0, math.min(math.floor(number), 64 ^ width - 1))
  if width == 2 then return PAIR[number] end
  local low = number % 4096
  return PAIR[(number - low) / 4096] .. PAIR[low]
end

local VALUE = setmetatable({}, {__index = function(known, byte)
  known[byte] = DIGITS:find(string.char(byte), 1, true) - 1
  return known[byte]
end})

local function number_of(text)
  local number = 0
  for at = 1, #text do number = number * 64 + VALUE[text:byte(at)] end
  return number
end
