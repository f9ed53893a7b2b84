-- Looks at a cell: ARGV are now, and whether a list shows most of its platform. Returns its counts (followed, live,
-- ending, learned), how many wait, how many of them are due, since when the first is, how many are being asked, and how
-- many an older livectl was asking; and how many of those who are due should be asked though there is a list.
local now, asked, wanted = ARGV[1], 0, 0
if ARGV[2] == '1' then
  for _, id in ipairs(call('ZRANGEBYSCORE', K.due, '-inf', now, 'LIMIT', 0, 2000)) do
    if call('ZSCORE', K.live, id) or call('SISMEMBER', K.shown, id) == 1 then wanted = wanted + 1 end
  end
end
for _, lapse in ipairs(call('ZRANGEBYSCORE', K.leases, '(' .. now, '+inf')) do
  asked = asked + call('ZCOUNT', K.due, lapse, lapse)
end
local due = call('ZCOUNT', K.due, '-inf', now)
local first = due > 0 and call('ZRANGE', K.due, 0, 0, 'WITHSCORES') or first_waiting('-inf', 1)
return {
  call('HLEN', K.follows), call('ZCARD', K.live), call('ZCARD', K.ending), call('HLEN', K.pull),
  call('ZCARD', K.due) - asked, due, first[2] or '', asked, call('ZCARD', K.claimed), wanted,
}
