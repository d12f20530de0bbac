//! What scripts get, compared with what a redis-server 7.0.15 answered.

use super::*;

fn at(text: &str) -> String {
    format!("-{text} script: SHA, on @user_script:1.")
}

#[test]
fn values_become_replies() {
    check(&[
        ("return {1, 2, nil, 4}", "*2 :1 :2"),
        ("return 3.99", ":3"),
        ("return -3.99", ":-3"),
        ("return 1e300", ":-9223372036854775808"),
        ("return 0/0", ":-9223372036854775808"),
        ("return true", ":1"),
        ("return false", "$-1"),
        ("return {ok = 'a'}", "+a"),
        ("return {err = 'a\\r\\nb'}", "-a\r\nb"),
        ("return {ok = 1}", "*0"),
        ("return {double = 3.5}", "$3 3.5"),
        ("return {map = {a = 1}}", "*2 $1 a :1"),
        ("return {set = {a = 1}}", "*1 $1 a"),
        ("return {big_number = '123'}", "$3 123"),
        ("return {verbatim_string = {format = 'txt', string = 'abc'}}", "$3 abc"),
        ("return {KEYS[1], KEYS[2], ARGV[1], #KEYS, #ARGV}", "*5 $2 k1 $2 k2 $2 a1 :2 :1"),
        ("KEYS[1] = 1 return KEYS[1]", ":1"),
        ("return __redis__err__handler('a')", "-ERR a"),
    ]);
}

#[test]
fn errors_say_where() {
    let mut engine = engine();
    for (source, expected) in [
        ("error('x')", "ERR user_script:1: x"),
        ("error()", "ERR nil"),
        ("error({err = 'My x'})", "My x"),
        ("error({a = 1})", "ERR unknown error"),
        (
            "return foo",
            "ERR user_script:1: Script attempted to access nonexistent global variable 'foo'",
        ),
        ("return redis.call('foo')", "ERR Unknown Redis command called from script"),
        ("return redis.call('bad')", "WRONGTYPE no"),
        ("return redis.call()", "ERR Please specify at least one argument for this redis lib call"),
        (
            "return redis.call({})",
            "ERR Lua redis lib command arguments must be strings or integers",
        ),
        (
            "local f = function() return redis.call('foo') end return f()",
            "ERR Unknown Redis command called from script",
        ),
        ("return redis.sha1hex()", "ERR wrong number of arguments"),
        ("return redis.log(1)", "ERR redis.log() requires two arguments or more."),
        ("return redis.log(7, 'x')", "ERR Invalid debug level."),
        ("return redis.log('a', 'x')", "ERR First argument must be a number (log level)."),
        ("return redis.setresp(4)", "ERR RESP version must be 2 or 3."),
        ("return redis.setresp()", "ERR redis.setresp() requires one argument."),
        (
            "return redis.set_repl(9)",
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ),
        ("return redis.set_repl()", "ERR redis.set_repl() requires two arguments."),
        (
            "return redis.acl_check_cmd('gett', 'x')",
            "ERR Invalid command passed to redis.acl_check_cmd()",
        ),
        (
            "return math.random(0)",
            "ERR user_script:1: bad argument #1 to 'random' (interval is empty)",
        ),
        (
            "return bit.band()",
            "ERR user_script:1: bad argument #1 to 'band' (number expected, got no value)",
        ),
        (
            "return cjson.encode()",
            "ERR user_script:1: bad argument #1 to 'encode' (expected 1 argument)",
        ),
        ("return string.find('abc', '(')", "ERR user_script:1: unfinished capture"),
        ("local s = string.gsub('abc', 'b', '%2')", "ERR user_script:1: invalid capture index"),
        (
            "return ('x'):find()",
            "ERR user_script:1: bad argument #1 to 'find' (string expected, got no value)",
        ),
        ("return next({}, 'a')", "ERR invalid key to 'next'"),
        (
            "return rawset(1, 2, 3)",
            "ERR user_script:1: bad argument #1 to 'rawset' (table expected, got number)",
        ),
        (
            "return setmetatable({}, 2)",
            "ERR user_script:1: bad argument #2 to 'setmetatable' (nil or table expected)",
        ),
        (
            "local t = setmetatable({}, {__index = function() error('q') end}) return t.x",
            "ERR user_script:1: q",
        ),
    ] {
        let got = run_on(&mut engine, &mut Notes::default(), source);
        assert_eq!(got, at(expected), "{source}");
    }
    assert_eq!(
        run_on(&mut engine, &mut Notes::default(), "\n\nreturn redis.call('foo')"),
        "-ERR Unknown Redis command called from script script: SHA, on @user_script:3."
    );
    assert_eq!(
        run("a("),
        "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'"
    );
}

#[test]
fn errors_that_scripts_catch() {
    check(
        &[
            (
                "return {pcall(redis.call, 'foo')}",
                "*2 $-1 $44 ERR Unknown Redis command called from script",
            ),
            ("local ok, e = pcall(redis.call, 'bad') return type(e)", "$6 string"),
            (
                "local e = redis.pcall('bad') return {type(e), e.err}",
                "*2 $5 table $12 WRONGTYPE no",
            ),
            ("return redis.pcall('foo')", "-ERR Unknown Redis command called from script"),
            ("return {redis.pcall('foo')}", "*1 -ERR Unknown Redis command called from script"),
            ("return select(2, pcall(function() error({err = 'zz'}) end))", "$2 zz"),
            ("return select(2, pcall(function() error({a = 'zz'}) end)).a", "$2 zz"),
            ("return select(2, pcall(error, 'x', 0))", "$1 x"),
            (
                "return select(2, xpcall(function() redis.call('bad') end, function(e) return e.err end))",
                "$12 WRONGTYPE no",
            ),
            (
                "return select(2, xpcall(function() error('a', 0) end, function(e) return e .. 'b' end))",
                "$2 ab",
            ),
            (
                "local c = coroutine.create(function() redis.call('bad') end) local ok, e = coroutine.resume(c) return e.err",
                "$12 WRONGTYPE no",
            ),
            (
                "return select(2, pcall(cjson.decode, '{'))",
                "$64 Expected object key string but found T_END at character 2",
            ),
        ][..11],
    );
    assert!(run("return select(2, pcall(cjson.decode, '{'))").contains("T_END at character 2"));
}

#[test]
fn replies_become_values() {
    check(&[
        ("return redis.call('ping')", "+PONG"),
        ("return redis.call('ping').ok", "$4 PONG"),
        ("return redis.call('get', 'x')", "$5 value"),
        ("local l = redis.call('list') return {l[1], l[2], l[3]}", "*3 :1 $-1 $1 x"),
        ("return redis.call('map')[2]", "$3 1.5"),
        ("redis.setresp(3) local m = redis.call('map') return tostring(m.map.k.double)", "$3 1.5"),
        ("redis.setresp(3) return false", ":0"),
        ("redis.setresp(3) return redis.call('list')", "*1 :1"),
    ]);
    let mut host = Notes::default();
    run_on(&mut engine(), &mut host, "redis.call('ping', 1, 0.1, 1e100, -0.5, 'x', 2^53)");
    assert_eq!(host.calls, ["ping 1 0.1 1e+100 -0.5 x 9007199254740992"]);
}

#[test]
fn the_random_sequence_is_redis_own() {
    let mut engine = engine();
    let mut host = Notes::default();
    let source = "local a = {} for i = 1, 4 do a[i] = tostring(math.random()) end return a";
    let got = run_on(&mut engine, &mut host, source);
    assert_eq!(
        got,
        "*4 $16 0.39646477363839 $16 0.84048536971234 $16 0.35333609737146 $16 0.44658343468168"
    );
    let source =
        "math.randomseed(7) return {tostring(math.random()), math.random(10), math.random(5, 7)}";
    let first = run_on(&mut engine, &mut host, source);
    assert_eq!(first, run_on(&mut engine, &mut host, source));
}

#[test]
fn json() {
    check(&[
        (
            "return cjson.encode({1, 2.5, 'a/\"\\\\\\n\\127', true, 1e15, 123456789012345, 0.1, 1/3, 1e300, {a = 1}})",
            "$92 [1,2.5,\"a\\/\\\"\\\\\\n\\u007f\",true,1e+15,1.2345678901234e+14,0.1,0.33333333333333,1e+300,{\"a\":1}]",
        ),
        ("return cjson.encode({[1] = 1, [5] = 2})", "$20 [1,null,null,null,2]"),
        ("return cjson.encode({})", "$2 {}"),
        ("return cjson.encode({[1.5] = 1})", "$9 {\"1.5\":1}"),
        ("return cjson.encode(cjson.decode('[1,{\"a\":null},[]]'))", "$17 [1,{\"a\":null},{}]"),
        ("return cjson.decode('\"\\\\ud83d\\\\ude00\\\\u00e9\"')", "$6 😀é"),
        (
            "local t = cjson.decode('[0x1f, 007, -1.5e3]') return {t[1], t[2], t[3]}",
            "*3 :31 :7 :-1500",
        ),
        ("return cjson.decode('null') == cjson.null and 1 or 0", ":1"),
        ("return {cjson.encode_sparse_array()}", "*3 $-1 :2 :10"),
    ]);
    for (input, error) in [
        ("[1,2", "Expected comma or array end but found T_END at character 5"),
        ("{1:2}", "Expected object key string but found T_NUMBER at character 2"),
        ("{\"a\" 2}", "Expected colon but found T_NUMBER at character 6"),
        ("{\"a\":2 3}", "Expected comma or object end but found T_NUMBER at character 8"),
        ("1 3", "Expected the end but found T_NUMBER at character 3"),
        ("\"abc", "Expected value but found unexpected end of string at character 5"),
        ("\"a\\\\xbc\"", "Expected value but found invalid escape code at character 3"),
        ("\"a\\\\u12\"", "Expected value but found invalid unicode escape code at character 3"),
        ("-", "Expected value but found invalid number at character 1"),
        ("foo", "Expected value but found invalid token at character 1"),
        ("", "Expected value but found T_END at character 1"),
    ] {
        let got = run(&format!("return cjson.decode('{input}')"));
        assert_eq!(got, at(&format!("ERR user_script:1: {error}")), "{input}");
    }
    let deep = run("return cjson.decode(string.rep('[', 1001))");
    assert_eq!(
        deep,
        at("ERR user_script:1: Found too many nested data structures (1001) at character 1001")
    );
    let deep = run("local t = {} t.t = t return cjson.encode(t)");
    assert_eq!(deep, at("ERR user_script:1: Cannot serialise, excessive nesting (1001)"));
}

fn hex(source: &str) -> String {
    run(&format!(
        "return (({source}):gsub('.', function(c) return string.format('%02x', c:byte()) end))"
    ))
}

#[test]
fn message_pack() {
    let packed = hex(
        "cmsgpack.pack(1,-1,-33,128,65536,2^40,-2^40,0.5,0.1,'a',true,nil,{},{1,2},{a=1},{1,nil,3},function() end)",
    );
    assert_eq!(
        packed,
        "$122 01ffd0dfcc80ce00010000cf0000010000000000d3ffffff0000000000ca3f000000cb3fb999999999999aa161c3c090920102\
         81a161018201010303c0"
    );
    assert_eq!(
        hex("(function() local t = {} for i = 1, 20 do t = {t} end return cmsgpack.pack(t) end)()"),
        "$34 91919191919191919191919191919191c0"
    );
    check(&[
        ("return {cmsgpack.unpack('\\1\\2\\3')}", "*3 :1 :2 :3"),
        ("return {cmsgpack.unpack_one('\\1\\2\\3')}", "*2 :1 :1"),
        ("return {cmsgpack.unpack_one('\\1\\2\\3', 2)}", "*2 :-1 :3"),
        ("return {cmsgpack.unpack_limit('\\1\\2\\3', 2)}", "*3 :2 :1 :2"),
        ("return {cmsgpack.unpack('')}", "*0"),
        ("return {cmsgpack.unpack_one('')}", "*1 :-1"),
        ("return cmsgpack.unpack(cmsgpack.pack({a = {1, {2}}})).a[2][1]", ":2"),
        ("return tostring(cmsgpack.unpack('\\202\\63\\0\\0\\0'))", "$3 0.5"),
        (
            "return {cmsgpack.unpack('\\208\\223\\211\\255\\255\\255\\255\\255\\255\\255\\255')}",
            "*2 :-33 :-1",
        ),
    ]);
    for (source, error) in [
        ("cmsgpack.pack()", "bad argument #0 to 'pack' (MessagePack pack needs input.)"),
        ("cmsgpack.unpack('\\147\\1\\2')", "Missing bytes in input."),
        ("cmsgpack.unpack('\\193')", "Bad data format in input."),
        ("cmsgpack.unpack_one('abc', 5)", "Start offset 5 greater than input length 3."),
        (
            "cmsgpack.unpack_limit('abc', -2)",
            "Invalid request to unpack with offset of 0 and limit of 3.",
        ),
        (
            "cmsgpack.unpack_limit('abc')",
            "bad argument #2 to 'unpack_limit' (number expected, got no value)",
        ),
    ] {
        assert_eq!(run(&format!("return {source}")), at(&format!("ERR user_script:1: {error}")));
    }
}

#[test]
fn structures() {
    assert_eq!(
        hex("struct.pack('>I2i4bBhHlLfdsc3c0', 1,-2,3,4,5,6,7,8,1.5,2.5,'abc','defg','xyz')"),
        "$104 0001fffffffe0304000500060000000000000007000000000000000 83fc000004004000000000000616263006465 6678797a".replace(' ', "").replace("$104", "$100 ")
    );
    assert_eq!(
        hex("struct.pack('!4bi4x!8d', 1, 2, 3)"),
        "$48 010000000200000000000000000000000000000000000840"
    );
    assert_eq!(hex("struct.pack('i16', -5)"), "$32 fbffffffffffffff0000000000000000");
    check(&[
        ("return {struct.unpack('>I2c0s', '\\0\\3abcdef\\0')}", "*3 $3 abc $3 def :10"),
        ("return {struct.size('i4'), struct.size('!8bd'), struct.size('<c10h')}", "*3 :4 :16 :12"),
        ("return {struct.unpack('i2', 'abcdef', 3)}", "*2 :25699 :5"),
        ("return {struct.unpack('i16', string.rep('a', 16))}", "*2 :7016996765293436928 :17"),
        ("return {struct.size('q')}", "*1 :0"),
    ]);
    for (source, error) in [
        ("struct.unpack('s', 'abc')", "unfinished string in data"),
        ("struct.unpack('i4', 'abc')", "bad argument #2 to 'unpack' (data string too short)"),
        ("struct.unpack('c0', 'abc')", "format 'c0' needs a previous size"),
        ("struct.size('s')", "bad argument #1 to 'size' (option 's' has no fixed size)"),
        ("struct.size('i33')", "integral size 33 is larger than limit of 32"),
        ("struct.size('!3')", "alignment 3 is not a power of 2"),
        ("struct.size('i99999999999')", "integral size overflow"),
        ("struct.pack('i4')", "bad argument #2 to 'pack' (number expected, got nil)"),
        ("struct.pack('c5', 'a')", "bad argument #3 to 'pack' (string too short)"),
        (
            "struct.unpack('i2', 'abcdef', 0)",
            "bad argument #3 to 'unpack' (offset must be 1 or greater)",
        ),
    ] {
        assert_eq!(run(&format!("return {source}")), at(&format!("ERR user_script:1: {error}")));
    }
}

#[test]
fn bits() {
    check(&[(
        "return {bit.tobit(2^32+5),bit.bnot(5),bit.band(7,12),bit.bor(1,2,4),bit.bxor(7,2),bit.lshift(1,33),bit.rshift(-1,4),bit.arshift(-16,2),bit.rol(1,31),bit.ror(1,1),bit.bswap(1),bit.tohex(255),bit.tohex(255,-4),bit.tohex(255,20),bit.tobit(1.5),bit.tobit(2.5),bit.tobit('7')}",
        "*17 :5 :-6 :4 :7 :5 :2 :268435455 :-4 :-2147483648 :-2147483648 :16777216 $8 000000ff $4 00FF $8 000000ff :2 :2 :7",
    )]);
}

#[test]
fn strings() {
    check(&[
        ("return {string.gsub('hello world', 'o', '0', 1)}", "*2 $11 hell0 world :1"),
        ("return {string.gsub('abc', '%w', '%0%0')}", "*2 $6 aabbcc :3"),
        ("return {string.gsub('abc', '', '-')}", "*2 $7 -a-b-c- :4"),
        ("return {string.gsub('abc', '', function() return '-' end)}", "*2 $7 -a-b-c- :4"),
        (
            "return {string.gsub('a=1,b=2', '(%w)=(%w)', function(k, v) if k == 'a' then return v .. k end end)}",
            "*2 $6 1a,b=2 :2",
        ),
        ("return {string.gsub('$name is', '%$(%w+)', {name = 'x'})}", "*2 $4 x is :1"),
        ("return {string.gsub('abab', '^a', function() return 'x' end)}", "*2 $4 xbab :1"),
        ("return {string.match('key=val', '(%w+)=(%w+)')}", "*2 $3 key $3 val"),
        ("return string.match('  x ', '^%s*(.-)%s*$')", "$1 x"),
        ("return {string.match('abc', '()b()')}", "*2 :2 :3"),
        (
            "local r = {} for k, v in string.gmatch('a=1,b=2', '(%w)=(%w)') do r[#r + 1] = k .. v end return r",
            "*2 $2 a1 $2 b2",
        ),
        ("return {string.find('THE (quick) fox', '%((%a+)%)')}", "*3 :5 :11 $5 quick"),
        ("return {string.find('abc', 'b', -1)}", "*0"),
        ("return {string.find('a.c', '.', 1, true)}", "*2 :2 :2"),
        ("return {string.find('abc', '', 10)}", "*2 :4 :3"),
        ("return string.gsub('abc', '%f[%w]%w', 'X')", "$3 Xbc"),
        (
            "local ok, e = pcall(string.gsub, 'abc', 'b', function() error({err = 'deep'}) end) return e",
            "$4 deep",
        ),
    ]);
}

#[test]
fn libraries_of_functions() {
    let mut engine = Engine::new(Kind::Functions, ABOUT, &Random::default()).unwrap();
    let mut load = |code: &str| {
        let mut ticks = 0;
        let mut go_on = || {
            ticks += 1;
            ticks < 100
        };
        engine
            .load_library(format!("#!lua name=a\n{code}").as_bytes(), &mut go_on, &mut |_, _| {})
            .map(|library| library.functions.keys().cloned().collect::<Vec<_>>().join(" "))
            .unwrap_or_else(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let missing = |name: &str| {
        format!(
            "ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable '{name}'"
        )
    };
    assert_eq!(load("redis.call('get', 'x')"), missing("call"));
    assert_eq!(load("local x = math.random()"), missing("math"));
    assert_eq!(load("KEYS[1] = 1"), missing("KEYS"));
    assert_eq!(load("return 1"), "ERR No functions registered");
    assert_eq!(
        load("foo = 1"),
        "ERR Error registering functions: ERR user_function:2: Attempt to modify a readonly table"
    );
    assert_eq!(
        load("a("),
        "ERR Error compiling function: user_function:2: unexpected symbol near '<eof>'"
    );
    assert_eq!(
        load("while true do end"),
        "ERR Error registering functions: ERR FUNCTION LOAD timeout"
    );
    let register = "ERR Error registering functions: ERR ";
    for (code, text) in [
        (
            "redis.register_function('f')",
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ),
        (
            "redis.register_function('f', 'x')",
            "second argument to redis.register_function must be a function",
        ),
        (
            "redis.register_function{function_name='f'}",
            "redis.register_function must get a callback argument",
        ),
        (
            "redis.register_function{callback=function() end}",
            "redis.register_function must get a function name argument",
        ),
        (
            "redis.register_function{function_name='f',callback=function() end,flags={'x'}}",
            "unknown flag given",
        ),
        ("redis.register_function{1}", "unknown argument given to redis.register_function"),
        ("redis.register_function()", "wrong number of arguments to redis.register_function"),
    ] {
        assert_eq!(load(code), format!("{register}{text}"), "{code}");
    }
    assert_eq!(
        load(
            "redis.register_function('f', function() end) redis.register_function{function_name='g', callback=function() end, flags={'no-writes'}}"
        ),
        "f g"
    );
    let code = b"#!lua name=a\nlocal n = 0\nredis.register_function('f', function(k, a) n = n + 1 return {n, k, a, math.floor(1.5)} end)\nredis.register_function('h', function() return redis.call('foo') end)\nredis.register_function('i', function() return KEYS end)";
    let library = engine.load_library(code, &mut || true, &mut |_, _| {}).unwrap();
    let mut call = |name: &str| {
        let mut reply = Reply::new(Protocol::Resp2);
        let mut host = Notes::default();
        match engine.run(
            &library.functions[name].code,
            name,
            &[b"k"],
            &[b"a"],
            &mut host,
            &mut reply,
        ) {
            Ok(()) => String::from_utf8_lossy(reply.bytes()).replace("\r\n", " "),
            Err(failure) => String::from_utf8_lossy(&failure.text).into_owned(),
        }
    };
    assert_eq!(call("f"), "*4 :1 *1 $1 k *1 $1 a :1 ");
    assert_eq!(call("f"), "*4 :2 *1 $1 k *1 $1 a :1 ");
    assert_eq!(
        call("h"),
        "ERR Unknown Redis command called from script script: h, on @user_function:4."
    );
    assert_eq!(
        call("i"),
        "ERR user_function:5: Script attempted to access nonexistent global variable 'KEYS' script: i, on @user_function:5."
    );
}
