-- Notes that an alert is about to be sent: ARGV are target, token, now, lease in seconds, the key of the alert, its
-- first and last number, how many alerts in how many seconds (0: no limit).
-- Returns go, told, lost, or the seconds to wait.
local name, token, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most, window = tonumber(ARGV[8]), tonumber(ARGV[9])
if not holds(name, token) then return 'lost' end
if call('ZSCORE', key('told', name), ARGV[5]) then return 'told' end
if most > 0 then
  local oldest = call('LINDEX', key('pace', name), most - 1)
  if oldest and tonumber(oldest) > now - window then return tostring(tonumber(oldest) + window - now) end
  call('LPUSH', key('pace', name), now)
  call('LTRIM', key('pace', name), 0, most - 1)
end
-- From here on the alert may have arrived: it is repeated with the same changes and key until it is settled.
call('HSET', key('target', name), 'held_until', now + tonumber(ARGV[4]), 'begun', ARGV[6], 'through', ARGV[7])
return 'go'
