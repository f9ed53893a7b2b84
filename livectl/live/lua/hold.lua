-- Notes that an alert is about to be sent: ARGV are token, now, lease in seconds, the key of the alert, its first and last
-- number, how many alerts in how many seconds (0: no limit).
-- Returns go, told, lost, or the seconds to wait.
local token, now = ARGV[1], tonumber(ARGV[2])
local most, window = tonumber(ARGV[7]), tonumber(ARGV[8])
if not holds(token) then return 'lost' end
if call('ZSCORE', K.told, ARGV[4]) then return 'told' end
if most > 0 then
  local oldest = call('LINDEX', K.pace, most - 1)
  if oldest and tonumber(oldest) > now - window then return tostring(tonumber(oldest) + window - now) end
  call('LPUSH', K.pace, now)
  call('LTRIM', K.pace, 0, most - 1)
end
-- From here on the alert may have arrived: it is repeated with the same changes and key until it is settled.
call('HSET', K.state, 'held_until', now + tonumber(ARGV[3]), 'begun', ARGV[5], 'through', ARGV[6])
return 'go'
