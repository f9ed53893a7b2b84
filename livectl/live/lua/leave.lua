-- Gives up what a process holds: ARGV is its token. Whoever lost it to another leaves it alone.
if redis.call('GET', K.holder) == ARGV[1] then redis.call('DEL', K.holder) end
