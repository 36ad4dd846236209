-- What scripts see of the standard library where that differs from Lua's own: what LuaJIT has, and nothing that could work for ever
-- within one instruction, or catch that the script is ended. What it needs of Lua itself it keeps for itself.
local native = ...

local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local error, rawget, rawset, select, type = error, rawget, rawset, select, type
local raw_pairs, raw_pcall, raw_setmetatable, raw_xpcall = pairs, pcall, setmetatable, xpcall
local insert, sort = table.insert, table.sort

-- How many coroutines of the script's own are running, one in the other.
local own = 0

-- The function of a script, for one request.
local function run(f, handle)
  own = 0
  f(handle)
end

local function settled(ok, ...)
  if not ok then
    return false, native.failure(...)
  end
  return true, ...
end

function pcall(...)
  return settled(raw_pcall(...))
end

function xpcall(f, handler, ...)
  local function handle(failure)
    return handler(native.failure(failure))
  end
  return settled(raw_xpcall(f, handle, ...))
end

local function left(ok, ...)
  own = own - 1
  if not ok then
    return false, native.failure(...)
  end
  return true, ...
end

function coroutine.resume(co, ...)
  if type(co) ~= "thread" then
    error("bad argument #1 to 'resume' (coroutine expected)", 2)
  end
  own = own + 1
  return left(resume(co, ...))
end

local function unwrapped(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

function coroutine.wrap(f)
  local co, again = create(f), coroutine.resume
  return function(...)
    return unwrapped(again(co, ...))
  end
end

-- A table has no finalizer, as with LuaJIT: it would run when nothing watches it.
function setmetatable(table, meta)
  if type(meta) == "table" then
    local finalizer = rawget(meta, "__gc")
    if finalizer ~= nil then
      rawset(meta, "__gc", nil)
      raw_setmetatable(table, meta)
      rawset(meta, "__gc", finalizer)
      return table
    end
  end
  return raw_setmetatable(table, meta)
end

-- Waits for what has begun.
local function wait(self)
  if own > 0 then
    native.forget(self)
    error("the script can only wait in its own coroutine, and not in another that it has made", 3)
  end
  yield()
  -- What ran meanwhile for others may have been ended with its coroutines running.
  own = 0
end

local handle = native.handle

function handle.body(self, ...)
  if native.begin_body(self, ...) then
    wait(self)
  end
  return native.body(self, ...)
end

function handle.bodyChunks(self)
  native.begin_chunks(self)
  return function()
    if native.begin_chunk(self) then
      wait(self)
    end
    return native.chunk(self)
  end
end

function handle.trailers(self)
  if native.begin_trailers(self) then
    wait(self)
  end
  return native.trailers(self)
end

function handle.httpCall(self, ...)
  if native.begin_call(self, ...) then
    wait(self)
    return native.answer(self)
  end
end

function handle.respond(self, ...)
  native.respond(self, ...)
  wait(self)
end

function pairs(value)
  if type(value) == "userdata" then
    local list, at = native.entries(value), -1
    return function()
      at = at + 2
      local key = list[at]
      if key == nil then
        native.finish(value)
        return nil
      end
      return key, list[at + 1]
    end
  end
  return raw_pairs(value)
end

function table.insert(list, ...)
  if select("#", ...) ~= 2 then
    return insert(list, ...)
  end
  local at, value = ...
  local last = #list + 1
  if at > last then
    last = at
  end
  for i = last, at + 1, -1 do
    list[i] = list[i - 1]
  end
  list[at] = value
end

function table.remove(list, at)
  local last = #list
  at = at or last
  if at < 1 or at > last then
    return nil
  end
  local value = list[at]
  for i = at, last - 1 do
    list[i] = list[i + 1]
  end
  list[last] = nil
  return value
end

function table.sort(list, less)
  sort(list, less or function(a, b) return a < b end)
end

function load(chunk, name, mode, ...)
  if type(chunk) == "function" then
    local pieces = {}
    for piece in chunk do
      if piece == "" then
        break
      end
      pieces[#pieces + 1] = piece
    end
    chunk = table.concat(pieces)
  end
  return native.load(chunk, name, ...)
end

loadstring = load
unpack = table.unpack

function require(name)
  error("there is no module '" .. tostring(name) .. "': scripts load nothing but themselves", 2)
end

return run
