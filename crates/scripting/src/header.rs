//! The first line of a script or library: `#!lua name=value …`.
//! Source: redis 7.0 `eval.c:evalExtractShebangFlags`, `functions.c:functionExtractLibMetaData`.

/// What a script says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `no-writes`
    pub no_writes: bool,
    /// `allow-oom`
    pub allow_oom: bool,
    /// `allow-stale`
    pub allow_stale: bool,
    /// `no-cluster`
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`
    pub allow_cross_slot_keys: bool,
    /// A script without such a line: judged by its commands, as in old versions.
    pub compat: bool,
}

impl Flags {
    /// Sets a flag by its name. False if there is no such flag.
    pub fn set(&mut self, name: &[u8]) -> bool {
        match name {
            b"no-writes" => self.no_writes = true,
            b"allow-oom" => self.allow_oom = true,
            b"allow-stale" => self.allow_stale = true,
            b"no-cluster" => self.no_cluster = true,
            b"allow-cross-slot-keys" => self.allow_cross_slot_keys = true,
            _ => return false,
        }
        true
    }

    /// The names of those that are set.
    pub fn names(&self) -> Vec<&'static str> {
        [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect()
    }
}

/// Flags of a script, and its source without the first line (its end stays, so that lines count
/// right). The error is a reply without its `-`.
pub fn script(body: &[u8]) -> Result<(Flags, &[u8]), Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok((Flags { compat: true, ..Flags::default() }, body));
    }
    let Some(end) = body.iter().position(|&b| b == b'\n') else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let Ok(words) = resp::split_args(&body[..end]) else {
        return Err(b"ERR Invalid engine in script shebang".to_vec());
    };
    let engine = words.first().map(Vec::as_slice).unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = Flags::default();
    for word in &words[1..] {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", &word[..]].concat());
        };
        for name in list.split(|&b| b == b',').filter(|_| !list.is_empty()) {
            if !flags.set(name) {
                return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
            }
        }
    }
    Ok((flags, &body[end..]))
}

/// True for a name of a library or function.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// What is wrong with a name that is none.
pub const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// The name of a library, and its source without the first line.
pub fn library(code: &[u8]) -> Result<(String, &[u8]), Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Err(b"ERR Missing library metadata".to_vec());
    }
    let Some(end) = code.iter().position(|&b| b == b'\n') else {
        return Err(b"ERR Invalid library metadata".to_vec());
    };
    let Ok(words) = resp::split_args(&code[..end]) else {
        return Err(b"ERR Invalid library metadata".to_vec());
    };
    let engine = words.first().map_or(&b""[..], |word| word.get(2..).unwrap_or_default());
    let mut name: Option<&[u8]> = None;
    for word in &words[1.min(words.len())..] {
        let Some(value) = word.strip_prefix(b"name=") else {
            return Err([b"ERR Invalid metadata value given: ", &word[..]].concat());
        };
        if name.is_some() {
            let text = b"ERR Invalid metadata value, name argument was given multiple times";
            return Err(text.to_vec());
        }
        name = Some(value);
    }
    let Some(name) = name else { return Err(b"ERR Library name was not given".to_vec()) };
    if !is_name(name) {
        return Err([b"ERR ", BAD_NAME.as_bytes()].concat());
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"ERR Engine '", engine, b"' not found"].concat());
    }
    Ok((String::from_utf8_lossy(name).into_owned(), &code[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_script() {
        let (flags, rest) = script(b"#!lua flags=no-writes,allow-oom\nreturn 1").unwrap();
        assert_eq!(flags.names(), ["no-writes", "allow-oom"]);
        assert_eq!(rest, b"\nreturn 1");
        assert!(script(b"return 1").unwrap().0.compat);
        for (body, error) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!foo\n", "ERR Unexpected engine in script shebang: #!foo"),
            ("#!lua name=x\n", "ERR Unknown lua shebang option: name=x"),
            ("#!lua flags=foo\n", "ERR Unexpected flag in script shebang: foo"),
        ] {
            assert_eq!(script(body.as_bytes()).unwrap_err(), error.as_bytes());
        }
    }

    #[test]
    fn the_name_of_a_library() {
        assert_eq!(library(b"#!lua name=a_1\nx").unwrap(), ("a_1".to_string(), &b"\nx"[..]));
        for (code, error) in [
            ("x", "ERR Missing library metadata"),
            ("#!lua name=a b", "ERR Invalid library metadata"),
            ("#!lua\nx", "ERR Library name was not given"),
            ("#!foo name=a\nx", "ERR Engine 'foo' not found"),
            ("#!lua name=a foo=b\nx", "ERR Invalid metadata value given: foo=b"),
            (
                "#!lua name=a name=b\nx",
                "ERR Invalid metadata value, name argument was given multiple times",
            ),
        ] {
            assert_eq!(library(code.as_bytes()).unwrap_err(), error.as_bytes());
        }
    }
}
