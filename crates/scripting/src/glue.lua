-- The parts of the sandbox that have to be Lua: whatever calls a script's function lets its errors
-- pass unchanged. Names ending in 0 are the originals.
local pcall0, xpcall0, resume0, error0, type0, gsub0, matches_of, visible, sort0, backing, concat0,
  loadstring, write_error, select0, tostring0, type_error = ...

-- pcall: an error table is seen as its text. An end that must not be held up goes on.
local function after_pcall(ok, e, ...)
  if ok then return true, e, ... end
  if type0(e) == 'userdata' then e = visible(e, true) end
  if type0(e) == 'table' then
    local text = e.err
    local kind = type0(text)
    if kind == 'string' or kind == 'number' then return false, text end
  end
  return false, e
end

local function pcall(...)
  if select0('#', ...) == 0 then return false end
  return after_pcall(pcall0(...))
end

local function after_xpcall(ok, e, ...)
  if not ok and type0(e) == 'userdata' then visible(e, true) end
  return ok, e, ...
end

local function xpcall(f, ...)
  if select0('#', ...) == 0 then error0(type_error('xpcall', 2), 2) end
  local handler = ...
  return after_xpcall(xpcall0(f, function(e)
    if type0(e) == 'userdata' then
      local seen, final = visible(e)
      if final then return e end
      e = seen
    end
    return handler(e)
  end))
end

local function after_resume(ok, e, ...)
  if not ok and type0(e) == 'userdata' then return false, visible(e, true) end
  return ok, e, ...
end

local function resume(...)
  return after_resume(resume0(...))
end

local function gsub(s, p, r, n)
  if type0(r) ~= 'function' then return gsub0(s, p, r, n) end
  local next_match = matches_of(s, p)
  if type0(s) == 'number' then s = tostring0(s) end
  if type0(p) == 'number' then p = tostring0(p) end
  local at, count, out, size = 1, 0, {}, 0
  local length = #s
  local most = n or length + 1
  local function apply(start, stop, first, ...)
    if start == nil then return nil end
    count = count + 1
    local v = r(first, ...)
    local kind = type0(v)
    if not v then
      v = s:sub(start, stop)
    elseif kind ~= 'string' and kind ~= 'number' then
      error0('invalid replacement value (a ' .. kind .. ')', 3)
    end
    out[size + 1] = s:sub(at, start - 1)
    out[size + 2] = v
    size = size + 2
    if stop >= start then
      at = stop + 1
    else
      out[size + 1] = s:sub(start, start)
      size = size + 1
      at = start + 1
    end
    return true
  end
  local anchored = p:sub(1, 1) == '^'
  while count < most and at <= length + 1 do
    if not apply(next_match(at)) then break end
    if anchored then break end
  end
  out[size + 1] = s:sub(at)
  return concat0(out), count
end

local function sort(t, f)
  if backing[t] then write_error() end
  return sort0(t, f)
end

local function load(f, name)
  local parts, n = {}, 0
  while true do
    local piece = f()
    if piece == nil or piece == '' then break end
    if type0(piece) ~= 'string' then error0('reader function must return a string', 2) end
    n = n + 1
    parts[n] = piece
  end
  return loadstring(concat0(parts), name or '=(load)')
end

local function run(f, handler, keys, argv)
  return xpcall0(function() return f(keys, argv) end, handler)
end

-- How a script is run: with tables of keys and arguments; with one key and a few arguments, as most scripts
-- are called. What is always the same need not be handed over each time.
local function bind(f, handler, globals)
  return function(keys, argv)
    globals.KEYS, globals.ARGV = keys, argv
    return xpcall0(f, handler)
  end, function(key, ...)
    globals.KEYS, globals.ARGV = {key}, {...}
    return xpcall0(f, handler)
  end
end

return pcall, xpcall, resume, gsub, sort, load, run, bind
