-- Takes the answers of a batch into account: ARGV are limits, requests beyond those that were claimed, the answers as
-- [state, when, how many, whether live, when to try again] rows. Returns when somebody was last read as live, and what is
-- known of the cells.
answer(cjson.decode(ARGV[1]), cjson.decode(ARGV[3]), tonumber(ARGV[2]))
return {call('HGET', K.health, 'live_read') or '0', call('HGETALL', K.standing)}
