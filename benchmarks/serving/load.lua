-- Sends the images of a folder in turn and counts answers: right label, wrong label, 503, anything else.
-- The image's number travels as X-Request-ID, which every contestant gives back, and finds the expected label.
local images, expected, total = {}, {}, 0
local sent = 0

function init(args)
  for line in io.lines(args[1] .. "/expected.txt") do
    local name, label = line:match("^(%S+)\t(.*)$")
    local file = io.open(args[1] .. "/" .. name, "rb")
    images[total], expected[total] = file:read("*a"), label
    file:close()
    total = total + 1
  end
  right, wrong, busy, bad, other = 0, 0, 0, 0, 0
end

function request()
  local number = sent % total
  sent = sent + 1
  local headers = {["Content-Type"] = "image/jpeg", ["X-Request-ID"] = tostring(number)}
  return wrk.format("POST", "/predict", headers, images[number])
end

function response(status, headers, body)
  local number = tonumber(headers["X-Request-ID"] or headers["x-request-id"])
  local label = expected[number]
  if status == 503 then busy = busy + 1
  elseif label == "(bad)" then
    if status >= 400 and status < 500 then bad = bad + 1 else other = other + 1 end
  elseif status ~= 200 then other = other + 1
  elseif body:find('"label":%s*"' .. label .. '"') then right = right + 1
  else wrong = wrong + 1 end
end

local threads = {}
function setup(thread) table.insert(threads, thread) end

function done(summary, latency, requests)
  local counts = {}
  for _, name in ipairs({"right", "wrong", "busy", "bad", "other"}) do
    local sum = 0
    for _, thread in ipairs(threads) do sum = sum + thread:get(name) end
    table.insert(counts, string.format('"%s": %d', name, sum))
  end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('\nRESULT {"seconds": %.3f, "p50": %.3f, "p99": %.3f, "errors": %d, %s}\n',
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, errors,
    table.concat(counts, ", ")))
end
