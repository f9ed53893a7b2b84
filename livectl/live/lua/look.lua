-- Looks at a cell: ARGV are now, and whether a list shows most of its platform. Returns its counts (followed, live,
-- ending, learned), how many wait, how many of them are due, since when the first is, how many are claimed and how many
-- of these have lapsed; and how many of those who are due should be asked though there is a list.
local now, wanted = ARGV[1], 0
if ARGV[2] == '1' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.due, '-inf', now, 'LIMIT', 0, 2000)) do
    if redis.call('ZSCORE', K.live, id) or redis.call('SISMEMBER', K.shown, id) == 1 then wanted = wanted + 1 end
  end
end
return {
  redis.call('HLEN', K.follows), redis.call('ZCARD', K.live), redis.call('ZCARD', K.ending), redis.call('HLEN', K.pull),
  redis.call('ZCARD', K.due), redis.call('ZCOUNT', K.due, '-inf', now),
  redis.call('ZRANGE', K.due, 0, 0, 'WITHSCORES')[2] or '', redis.call('ZCARD', K.claimed),
  redis.call('ZCOUNT', K.claimed, '-inf', now), wanted,
}
