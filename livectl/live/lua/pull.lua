-- Saves the pulls of streamers in each hour of the week, and the sums over the cell that make shares of them: [id, pulls] rows, without
-- pulls for who has none any more.
local function set_pulls(rows)
  local name, sums, ids = K.pull, {}, {}
  for at, row in ipairs(rows) do ids[at] = row[1] end
  local before, come, gone = call('HMGET', name, unpack(ids)), {}, {}
  for hour = 1, WEEK_HOURS do sums[hour] = 0 end
  for at, row in ipairs(rows) do
    local old, new = before[at], row[2]
    if old ~= (new or false) then
      for hour = 1, WEEK_HOURS do
        sums[hour] = sums[hour] + (new and PULL[new:byte(hour)] or 0) - (old and PULL[old:byte(hour)] or 0)
      end
      if new then come[#come + 1], come[#come + 2] = row[1], new else gone[#gone + 1] = row[1] end
    end
  end
  if #come + #gone == 0 then return end
  local totals = cjson.decode(call('GET', K.pulls) or '[]')
  for hour = 1, WEEK_HOURS do totals[hour] = (totals[hour] or 0) + sums[hour] end
  call('SET', K.pulls, cjson.encode(totals))
  if #come > 0 then call('HSET', name, unpack(come)) end
  if #gone > 0 then call('HDEL', name, unpack(gone)) end
end
