-- Notes how a platform's list of who is live stands: ARGV are the token of who reads it, the note, and whether they are done
-- with it for now. Returns 0 where it is another's to read by now: then nothing is noted.
if redis.call('GET', K.reading) ~= ARGV[1] then return 0 end
redis.call('SET', K.listing, ARGV[2])
if ARGV[3] == '1' then redis.call('DEL', K.reading) end
return 1
