-- Lets those of these who are being asked be due again later: ARGV are when, and ids. As JSON, since to write and to read
-- thousands of arguments takes longer than the whole call.
local ids, asked = cjson.decode(ARGV[2]), {}
for at, due in ipairs(#ids > 0 and call('ZMSCORE', K.due, unpack(ids)) or {}) do
  if due and is_lapse(tonumber(due)) then asked[#asked + 1] = ids[at] end
end
if #asked > 0 then claim_until(tonumber(ARGV[1]), asked) end
