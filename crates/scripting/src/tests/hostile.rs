//! Scripts that want out, or want everything.

use super::*;

#[test]
fn there_is_no_way_out() {
    for name in [
        "dofile", "loadfile", "print", "require", "module", "io", "debug", "package", "getfenv",
        "setfenv", "newproxy",
    ] {
        let got = run(&format!("return {name}"));
        assert!(got.contains("nonexistent global variable"), "{name}: {got}");
    }
    let clock = run("local n = 0 for k in pairs(os) do n = n + 1 end return {n, type(os.clock())}");
    assert_eq!(clock, "*2 :1 $6 number");
}

#[test]
fn protected_tables_stay_as_they_are() {
    let refused =
        "-ERR user_script:1: Attempt to modify a readonly table script: SHA, on @user_script:1.";
    let bare = "-ERR Attempt to modify a readonly table script: SHA, on @user_script:1.";
    check(&[
        ("foo = 1", refused),
        ("redis.a = 1", refused),
        ("redis.call = 1", refused),
        ("server.call = 1", refused),
        ("string.rep = 1", refused),
        ("KEYS = 1", refused),
        ("_G.redis = 1", refused),
        ("getmetatable(_G).__index = nil", refused),
        ("getmetatable('').__index = nil", refused),
        ("getmetatable('').foo = nil", refused),
        ("rawset(_G, 'a', 1)", bare),
        ("rawset(redis, 'a', 1)", bare),
        ("setmetatable(_G, {})", bare),
        ("setmetatable(redis, {})", bare),
        ("setmetatable(getmetatable(''), {})", bare),
        ("table.insert(redis, 1)", bare),
        ("table.sort(redis)", bare),
        ("local g = _G g.x = 1", refused),
        ("for k, v in pairs(_G) do if k == 'cjson' then v.x = 1 end end", refused),
        ("return rawget(_G, 'nothing')", "$-1"),
        ("return tostring(getmetatable(redis))", "$3 nil"),
        ("return getmetatable(getmetatable(_G)) == nil and 1 or 2", ":1"),
        ("return next(redis) ~= nil and 1 or 0", ":1"),
    ]);
}

#[test]
fn compiled_code_is_not_run() {
    let got = run("return select(2, loadstring(string.dump(function() return 1 end)))");
    assert!(got.contains("unexpected symbol near 'char(27)'"), "{got}");
    let got = run("return select(2, loadstring('\\27Lua', 'x'))");
    assert!(got.contains("unexpected symbol near 'char(27)'"), "{got}");
    let got = run("local d = string.dump(function() return 1 end) local n = 0 \
                   return select(2, load(function() n = n + 1 if n == 1 then return d end end))");
    assert!(got.contains("unexpected symbol near 'char(27)'"), "{got}");
}

fn killed(source: &str) {
    let mut engine = engine();
    let mut host = Notes { kill_at: 20, ..Notes::default() };
    let got = run_on(&mut engine, &mut host, source);
    assert!(got.contains("Script killed by user with SCRIPT KILL..."), "{source}: {got}");
    assert!(host.ticks < 1000, "{source}: {}", host.ticks);
    assert_eq!(run_on(&mut engine, &mut Notes::default(), "return 7"), ":7");
}

#[test]
fn a_kill_reaches_every_loop() {
    killed("while true do end");
    killed("while true do pcall(function() while true do end end) end");
    killed("local function f() while true do end end while true do pcall(pcall, f) end");
    killed("while true do xpcall(function() while true do end end, function() end) end");
    killed("while true do xpcall(function() error('x') end, function() while true do end end) end");
    killed(
        "while true do local c = coroutine.create(function() while true do end end) coroutine.resume(c) end",
    );
    killed("local f = coroutine.wrap(function() while true do end end) while true do pcall(f) end");
    killed(
        "local s = string.rep('a', 30000) while true do pcall(string.find, s, 'a-a-a-a-a-a-a-a-a-a-b') end",
    );
    killed("local s = string.rep('a', 30000) return s:gsub('a-a-a-a-a-a-a-a-b', '')");
    killed("local s = string.rep('a', 30000) for w in s:gmatch('a-a-a-a-a-a-a-a-b') do end");
    killed(
        "local t = setmetatable({}, {__index = function(t, k) while true do end end}) while true do pcall(function() return t.x end) end",
    );
    killed(
        "local t = {} for i = 1, 100 do t[i] = i end table.sort(t, function(a, b) while true do end end)",
    );
    killed("while true do string.gsub('abc', '.', function() while true do end end) end");
    killed(
        "while true do pcall(loadstring, 'while true do end') pcall(loadstring('while true do end')) end",
    );
}

#[test]
fn greed_ends_with_an_error() {
    let mut engine = engine();
    for source in [
        "local function f() return f() + 1 end return f()",
        "local t = {} while true do t = {t} if #t > 9 then break end local s = string.rep('x', 1e9) end",
        "return string.rep('x', 1e10)",
        "local s = 'x' while true do s = s .. s end",
        "local t, x = {}, string.rep('x', 1e5) for i = 1, 1e9 do t[i] = x .. i end",
        "return unpack({}, 1, 1e8)",
        "return unpack({}, -2147483648, 2147483647)",
        "return {unpack({}, 0, 2147483647)}",
        "return string.find(string.rep('a', 10000), string.rep('a?', 100000))",
        "return string.format('%99999d', 1)",
        "local t = {} for i = 1, 300 do t = {t} end return loadstring(string.rep('(', 10000))() ",
        "return ('x'):rep(-1) .. nil",
        "error(setmetatable({}, {__tostring = function() error('x') end}))",
        "local t = {} t.t = t return cjson.encode(t)",
        "cjson.decode_max_depth(1e9) return cjson.decode(string.rep('[', 1e6))",
        "cjson.encode_max_depth(1e9) local t = {} for i = 1, 1e5 do t = {t} end return cjson.encode(t)",
        "return cmsgpack.unpack(string.rep('\\145', 1e6))",
        "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
        "return cmsgpack.unpack('\\198\\255\\255\\255\\255')",
        "return struct.pack('c999999999', 'x')",
        "return struct.unpack(string.rep('b', 100000), string.rep('x', 100000))",
        "return struct.unpack('c0', 'x')",
        "return struct.unpack('!64i8xd', '1')",
        "return table.concat({}, 'x', 1, 2147483647)",
        "coroutine.yield()",
        "coroutine.wrap(function() error({err = 'x'}) end)()",
    ] {
        let got = run_on(&mut engine, &mut Notes::default(), source);
        assert!(got.starts_with('-') || got.starts_with("$-1"), "{source}: {got:.200}");
        assert_eq!(run_on(&mut engine, &mut Notes::default(), "return 7"), ":7", "{source}");
    }
}

#[test]
fn protected_calls_nest_until_they_fail() {
    assert_eq!(run("local function f() return pcall(f) end return f()"), ":1");
}

#[test]
fn replacing_takes_time_in_proportion() {
    let source = "local s = string.rep('a', 400000) local r = s:gsub('.', function(c) return 'b' end) return #r";
    let mut host = Notes::default();
    assert_eq!(run_on(&mut engine(), &mut host, source), ":400000");
}

#[test]
fn deep_results_are_cut() {
    let got = run("local t = {} for i = 1, 5000 do t = {t} end return t");
    assert!(got.contains("reached lua stack limit"));
}
