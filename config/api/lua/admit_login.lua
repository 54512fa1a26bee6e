-- Decides whether an attempt to log in is admitted, and counts it. A client from a known origin is admitted if one of
-- its origins has room, any other client if the account has room; the attempt is counted in all.
-- KEYS: the slots, the failures of the address, those of the account, then those of each known origin.
-- ARGV: the limit of the address, the limit of the others, the window in ms, the number of slots, the lease of a slot
-- in ms, the name of the slot.
-- Returns {refusal, milliseconds to wait}. Refusal 0: admitted, the slot is taken; 1: too many failures; 2: no slot.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function failures(key)
  return tonumber(redis.call('GET', key) or '0')
end
if failures(KEYS[2]) >= tonumber(ARGV[1]) then
  return {1, redis.call('PTTL', KEYS[2])}
end
local wait = -1
for index = math.min(4, #KEYS), #KEYS do
  if failures(KEYS[index]) < tonumber(ARGV[2]) then
    wait = -1
    break
  end
  local left = redis.call('PTTL', KEYS[index])
  wait = wait < 0 and left or math.min(wait, left)
end
if wait >= 0 then
  return {1, wait}
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
  return {2, 50}
end
redis.call('ZADD', KEYS[1], now + ARGV[5], ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
for index = 2, #KEYS do
  if redis.call('INCR', KEYS[index]) == 1 then
    redis.call('PEXPIRE', KEYS[index], ARGV[3])
  end
end
return {0, 0}
