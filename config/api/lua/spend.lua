-- Counts one request in each counter, or in none if one of them is at its limit.
-- KEYS: the counters. ARGV: the length of the window in ms, then the limit of each counter.
-- Returns for each counter its value and the ms until it ends; then 1 if the request is refused, else 0.
local told = {}
local refused = false
for index, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[index + 1]) then refused = true end
end
for index, key in ipairs(KEYS) do
  if not refused and redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, ARGV[1]) end
  told[2 * index - 1] = tonumber(redis.call('GET', key) or '0')
  told[2 * index] = redis.call('PTTL', key)
end
told[#told + 1] = refused and 1 or 0
return told
