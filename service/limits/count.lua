-- Counts what keys and end users use up. One call looks at every limit of a request, so that either all of them let it
-- in or none has counted it. Redis' own clock decides: gateways need not agree on the time.
--
-- KEYS      one for each limit.
-- ARGV      verb; the request's id; what it counts for (`admit`: requests, `settle`: tokens); how long it may take and
--           how long a minute is, in microseconds; then kind and limit of each key.
-- `admit`   answers {is short, used, microseconds until it has room, microseconds until it is unused} for each limit.
-- `settle`  adds the tokens and gives the request's places back.
--
-- A minute is a list of "time before after": how much was counted before an entry and with it. What the list holds is
-- the difference of its ends, and an entry leaves it exactly one window after it came. A day is a hash. Places are a
-- sorted set of request ids by the time when they fall free by themselves, should their gateway have died.

local verb, id, amount, longest, MINUTE = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local DAY = 86400 * 1000000
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function exact(number) -- tostring() would round a time
  return string.format('%.0f', number)
end

local function entry(key, place)
  local found = redis.call('LINDEX', key, place)
  if not found then return nil end
  local time, before, after = string.match(found, '(%d+) (%d+) (%d+)')
  return {time = tonumber(time), before = tonumber(before), after = tonumber(after)}
end

local minute = {}

function minute.used(key)
  local last = entry(key, -1)
  if not last then return 0 end
  if last.time + MINUTE <= now then
    redis.call('DEL', key)
    return 0
  end
  local first = entry(key, 0)
  while first.time + MINUTE <= now do
    redis.call('LPOP', key)
    first = entry(key, 0)
  end
  return last.after - first.before
end

function minute.until_room(key, excess)
  local low, high, start = 0, redis.call('LLEN', key) - 1, entry(key, 0)
  while low < high do -- the first entry with which enough will have left
    local middle = math.floor((low + high) / 2)
    if entry(key, middle).after - start.before >= excess then high = middle else low = middle + 1 end
  end
  return entry(key, low).time + MINUTE - now
end

function minute.until_unused(key)
  local last = entry(key, -1)
  return last and last.time + MINUTE - now or 0
end

function minute.add(key, counted)
  if counted == 0 then return end
  local last = entry(key, -1)
  local before = last and last.after or 0
  redis.call('RPUSH', key, exact(now) .. ' ' .. exact(before) .. ' ' .. exact(before + counted))
  redis.call('PEXPIRE', key, exact(math.ceil(MINUTE / 1000) + 1))
end

local day = {}
local today = math.floor(now / DAY)

function day.used(key)
  if tonumber(redis.call('HGET', key, 'day')) ~= today then return 0 end
  return tonumber(redis.call('HGET', key, 'used'))
end

function day.until_room()
  return (today + 1) * DAY - now
end

day.until_unused = day.until_room

function day.add(key, counted)
  redis.call('HSET', key, 'day', exact(today), 'used', exact(day.used(key) + counted))
  redis.call('PEXPIRE', key, exact(math.ceil(day.until_room() / 1000)))
end

local places = {}

function places.used(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', exact(now))
  return redis.call('ZCARD', key)
end

function places.until_room() -- nobody knows: whoever is under way may end at once
  return 0
end

places.until_unused = places.until_room

function places.take(key)
  redis.call('ZADD', key, exact(now + longest), id)
  redis.call('PEXPIRE', key, exact(math.ceil(longest / 1000)))
end

local METERS = {requests = minute, tokens = minute, budget = day, places = places}

if verb == 'settle' then
  for place, key in ipairs(KEYS) do
    local kind = ARGV[4 + 2 * place]
    if kind == 'places' then redis.call('ZREM', key, id) end
    if kind == 'tokens' or kind == 'budget' then METERS[kind].add(key, amount) end
  end
  return {}
end

local answer, is_short = {}, false
for place, key in ipairs(KEYS) do
  local kind, limit = ARGV[4 + 2 * place], tonumber(ARGV[5 + 2 * place])
  local meter, cost = METERS[kind], kind == 'requests' and amount or 1
  local used = meter.used(key)
  local excess = used + cost - limit
  local wait = excess > 0 and math.max(meter.until_room(key, excess), 1) or 0
  is_short = is_short or excess > 0
  answer[place] = {excess > 0 and 1 or 0, used, wait, 0}
end
for place, key in ipairs(KEYS) do
  local kind = ARGV[4 + 2 * place]
  if not is_short then
    if kind == 'requests' then minute.add(key, amount) end
    if kind == 'places' then places.take(key) end
  end
  answer[place][4] = METERS[kind].until_unused(key)
end
return answer
