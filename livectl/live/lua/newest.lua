-- Reads the first of a cell, as the store sorts them: ARGV[1] says how many. Returns how many are followed, live and not
-- live; who is live, the latest start first; the others by their last end; and who is asked next: each with their score.
local count = ARGV[1] - 1
return {
  call('HLEN', K.follows), call('ZCARD', K.live), call('ZCARD', K.others),
  call('ZREVRANGE', K.live, 0, count, 'WITHSCORES'), call('ZRANGE', K.others, 0, count, 'WITHSCORES'),
  first_waiting('-inf', 1),
}
