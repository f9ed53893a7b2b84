-- Reads the health of every platform: ARGV[1] is now. Returns [platform, followed, live, due, claimed, when the first of
-- those who are due became it, fields] rows.
local rows = {}
for _, platform in ipairs(call('SMEMBERS', 'livectl:platforms')) do
  rows[#rows + 1] = {
    platform, call('HLEN', key('follows', platform)), call('ZCARD', key('live', platform)),
    call('ZCOUNT', key('due', platform), '-inf', ARGV[1]), call('ZCARD', key('claimed', platform)),
    call('ZRANGE', key('due', platform), 0, 0, 'WITHSCORES')[2] or '', call('HGETALL', key('platform', platform)),
  }
end
return rows
