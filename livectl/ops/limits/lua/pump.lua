-- Replies ids and lists, in turn, of those who are to be called, and last the seconds until somebody has to look again.
local woken = pump()
woken[#woken + 1] = settle()
return woken
