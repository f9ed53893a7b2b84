-- Saves a streamer's pull in each hour of the week, and the sums that make shares of the pulls.
local function set_pull(platform, id, pulls)
  local name = key('pull', platform)
  local old = call('HGET', name, id)
  if old == (pulls or false) then return end
  local totals = cjson.decode(call('GET', key('pulls', platform)) or '[]')
  for hour = 1, WEEK_HOURS do
    local gone = old and PULL[old:byte(hour)] or 0
    local come = pulls and PULL[pulls:byte(hour)] or 0
    totals[hour] = (totals[hour] or 0) + come - gone
  end
  call('SET', key('pulls', platform), cjson.encode(totals))
  if pulls then call('HSET', name, id, pulls) else call('HDEL', name, id) end
end
