-- What a cell knows of its whole platform: it counts its own, and is told of all others [followed, live, ending, learned].
local function platform_counts(others)
  return {
    followed = others[1] + call('HLEN', K.follows), live = others[2] + call('ZCARD', K.live),
    learned = others[4] + call('HLEN', K.pull),
  }
end

local function next_due(now, id, at)
  return due_by(now, now.totals and call('HGET', K.pull, id), at)
end

-- The same for many at once, as text: those who are asked again within the hour are asked alike where their pull is the
-- same.
local function dues_of(now, ids, at)
  local dues = {}
  if not now.totals then
    local due = string.format(SCORE_FORMAT, due_by(now, nil, at))
    for number = 1, #ids do dues[number] = due end
    return dues
  end
  local hour, same, hour_ends = math.floor(at / HOUR) % WEEK_HOURS + 1, {}, at - at % HOUR + HOUR
  for number, pulls in ipairs(call('HMGET', K.pull, unpack(ids))) do
    local level = pulls and pulls:byte(hour) or 0
    local due = same[level]
    if not due then
      local number = due_by(now, pulls, at)
      due = string.format(SCORE_FORMAT, number)
      if number <= hour_ends or not pulls then same[level] = due end
    end
    dues[number] = due
  end
  return dues
end
