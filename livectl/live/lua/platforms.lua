-- Adds cells to those that a platform has in use: shards as text.
local function use(platform, shards)
  local used, is_used = {}, {}
  for shard in ((call('HGET', K.platforms, platform) or '') .. ' ' .. shards):gmatch('%d+') do
    if not is_used[shard] then is_used[shard], used[#used + 1] = true, tonumber(shard) end
  end
  table.sort(used)
  call('HSET', K.platforms, platform, table.concat(used, ' '))
end
