-- Adds cells to those that are in use: ARGV are platforms, each with the shards that it has as well.
for at = 1, #ARGV, 2 do use(ARGV[at], ARGV[at + 1]) end
