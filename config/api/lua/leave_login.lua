-- Frees the slot of an attempt to log in; takes the count back if the attempt succeeded.
-- KEYS: as in admit_login.lua. ARGV: the name of the slot, 1 if the count is taken back.
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[2] == '1' then
  for index = 2, #KEYS do
    if tonumber(redis.call('GET', KEYS[index]) or '0') > 0 then
      redis.call('DECR', KEYS[index])
    end
  end
end
return 0
