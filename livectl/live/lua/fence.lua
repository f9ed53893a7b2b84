-- Whether a process may still move what is at this place: not once one with a higher number has been here.
local function may_move(number)
  local known = call('GET', K.fence)
  if known and tonumber(known) > tonumber(number) then return false end
  if known ~= number then call('SET', K.fence, number) end
  return true
end
