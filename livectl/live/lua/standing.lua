-- Reads how a target fares, at a glance: [sent, number of the change that was told last, whether it takes alerts ill,
-- answer].
local known = call('HMGET', K.state, 'sent', 'last_told', 'failing_since', 'problem', 'lost_since')
local ill = known[3] or known[5] or (call('HLEN', K.lanes) > 0 and 'lanes')
return {known[1] or '0', known[2] or '', ill or '', known[4] or ''}
