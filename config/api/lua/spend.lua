-- Counts one request in each counter, or in none if one of them is at its limit.
-- KEYS: the counters. ARGV: for each counter the length of its window in ms, its limit, and the number of earlier
-- requests that are counted now, in either case.
-- Returns for each counter its value and the ms until it ends; then 1 if the request is refused, else 0.
local told = {}
local refused = false
for index, key in ipairs(KEYS) do
  local value = tonumber(redis.call('GET', key) or '0') + tonumber(ARGV[3 * index])
  if value >= tonumber(ARGV[3 * index - 1]) then refused = true end
end
for index, key in ipairs(KEYS) do
  local more = tonumber(ARGV[3 * index]) + (refused and 0 or 1)
  if more > 0 and redis.call('INCRBY', key, more) == more then redis.call('PEXPIRE', key, ARGV[3 * index - 2]) end
  told[2 * index - 1] = tonumber(redis.call('GET', key) or '0')
  told[2 * index] = redis.call('PTTL', key)
end
told[#told + 1] = refused and 1 or 0
return told
