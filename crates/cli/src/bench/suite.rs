//! The list of tests, with redis-benchmark's names.

use super::options::Options;

/// One test: the name of its result and the command it repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// What the result is called.
    pub title: String,
    /// The bytes of one request; each `__rand_int__` is replaced where `-r` is given.
    pub request: Vec<u8>,
}

fn command(title: &str, words: &[&[u8]]) -> Test {
    let mut request = Vec::new();
    resp::encode_command(&mut request, words);
    Test { title: title.into(), request }
}

/// The tests that the options ask for, in order; an arbitrary command is a test too.
pub fn tests(options: &Options) -> Result<Vec<Test>, String> {
    if !options.command.is_empty() {
        let words: Vec<&[u8]> = options.command.iter().map(Vec::as_slice).collect();
        let shown = words.len() - usize::from(options.stdin);
        let title = String::from_utf8_lossy(&words[..shown].join(&b' ')).into_owned();
        return Ok(vec![command(&title, &words)]);
    }
    let wanted = |names: &[&str]| {
        options.tests.as_ref().is_none_or(|list| list.iter().any(|t| names.contains(&t.as_str())))
    };
    let data = vec![b'x'; options.data_size];
    let data = data.as_slice();
    let mut tests = Vec::new();
    if wanted(&["ping_inline", "ping"]) {
        tests.push(Test { title: "PING_INLINE".into(), request: b"PING\r\n".to_vec() });
    }
    if wanted(&["ping_mbulk", "ping"]) {
        tests.push(command("PING_MBULK", &[b"PING"]));
    }
    let key: &[u8] = b"key:__rand_int__";
    let element: &[u8] = b"element:__rand_int__";
    let simple: [(&str, Vec<&[u8]>); 12] = [
        ("set", vec![b"SET", key, data]),
        ("get", vec![b"GET", key]),
        ("incr", vec![b"INCR", b"counter:__rand_int__"]),
        ("lpush", vec![b"LPUSH", b"mylist", data]),
        ("rpush", vec![b"RPUSH", b"mylist", data]),
        ("lpop", vec![b"LPOP", b"mylist"]),
        ("rpop", vec![b"RPOP", b"mylist"]),
        ("sadd", vec![b"SADD", b"myset", element]),
        ("hset", vec![b"HSET", b"myhash", element, data]),
        ("spop", vec![b"SPOP", b"myset"]),
        ("zadd", vec![b"ZADD", b"myzset", b"0", element]),
        ("zpopmin", vec![b"ZPOPMIN", b"myzset"]),
    ];
    for (name, mut words) in simple {
        if wanted(&[name]) {
            if name == "zadd" && options.keyspace.is_some() {
                words[2] = b"__rand_int__";
            }
            tests.push(command(&name.to_uppercase(), &words));
        }
    }
    let ranges = ["lrange_100", "lrange_300", "lrange_500", "lrange_600"];
    if wanted(&["lrange"]) || ranges.iter().any(|name| wanted(&[name])) {
        let title = "LPUSH (needed to benchmark LRANGE)";
        tests.push(command(title, &[b"LPUSH", b"mylist", data]));
    }
    for (name, count) in ranges.into_iter().zip([100, 300, 500, 600]) {
        if wanted(&[name, "lrange"]) {
            let last = (count - 1).to_string();
            let title = format!("LRANGE_{count} (first {count} elements)");
            tests.push(command(&title, &[b"LRANGE", b"mylist", b"0", last.as_bytes()]));
        }
    }
    if wanted(&["mset"]) {
        let mut words: Vec<&[u8]> = vec![b"MSET"];
        for _ in 0..10 {
            words.extend([key, data]);
        }
        tests.push(command("MSET (10 keys)", &words));
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_a_part_of_it() {
        let all = tests(&Options::default()).unwrap();
        assert_eq!((all.len(), all[0].title.as_str()), (20, "PING_INLINE"));
        assert_eq!(all[19].title, "MSET (10 keys)");
        let part =
            Options { tests: Some(vec!["ping".into(), "lrange_300".into()]), ..Options::default() };
        let titles: Vec<_> = tests(&part).unwrap().into_iter().map(|test| test.title).collect();
        let lists = ["LPUSH (needed to benchmark LRANGE)", "LRANGE_300 (first 300 elements)"];
        assert_eq!(titles, [&["PING_INLINE", "PING_MBULK"][..], &lists].concat());
    }

    #[test]
    fn a_command_is_its_title() {
        let command = vec![b"set".to_vec(), b"k".to_vec(), b"v".to_vec()];
        let mut options = Options { command, ..Options::default() };
        assert_eq!(tests(&options).unwrap()[0].title, "set k v");
        options.stdin = true;
        assert_eq!(tests(&options).unwrap()[0].title, "set k");
    }
}
