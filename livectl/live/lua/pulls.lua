-- Saves poll weights as they were elsewhere: ARGV[1] is [[id, packed weights], ...], without weights for who goes.
set_pulls(cjson.decode(ARGV[1]))
