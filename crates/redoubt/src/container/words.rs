//! The words after `redoubt container`: the container's command.

/// What a container's command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A data node or a sentinel, with these arguments.
    Node {
        /// Whether it is a sentinel.
        sentinel: bool,
        /// Arguments as of redis-server or redis-sentinel.
        args: Vec<Vec<u8>>,
    },
    /// Another program of this binary, by its name as a link or subcommand.
    Own {
        /// Its subcommand.
        name: &'static str,
        /// Its arguments.
        args: Vec<Vec<u8>>,
    },
    /// Something else that the image has, a shell for instance.
    Other(Vec<Vec<u8>>),
}

/// Understands the command. `sentinel_by_environment` decides about a command that names no program:
/// none at all, options only, or a configuration file.
pub fn plan(words: &[Vec<u8>], sentinel_by_environment: bool) -> Plan {
    let Some((first, rest)) = words.split_first() else {
        return Plan::Node { sentinel: sentinel_by_environment, args: Vec::new() };
    };
    let name = first.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let args = rest.to_vec();
    match name {
        b"redis-server" | b"redoubt-server" | b"server" => Plan::Node { sentinel: false, args },
        b"redis-sentinel" | b"redoubt-sentinel" | b"sentinel" => {
            Plan::Node { sentinel: true, args }
        }
        b"redis-cli" | b"cli" => Plan::Own { name: "cli", args },
        b"redis-benchmark" | b"benchmark" => Plan::Own { name: "benchmark", args },
        b"variables" => Plan::Own { name: "variables", args },
        b"healthcheck" => Plan::Own { name: "healthcheck", args },
        b"redoubt" => plan(rest, sentinel_by_environment),
        _ if first.starts_with(b"-") || name.ends_with(b".conf") => {
            Plan::Node { sentinel: sentinel_by_environment, args: words.to_vec() }
        }
        _ => Plan::Other(words.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, plan};

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn commands_of_compose_files() {
        for (command, by_environment, sentinel, args) in [
            ("redis-server --slaveof redis 6379", false, false, "--slaveof redis 6379"),
            ("redis-server /etc/redis.conf", true, false, "/etc/redis.conf"),
            ("redis-sentinel /etc/sentinel.conf", false, true, "/etc/sentinel.conf"),
            ("/usr/local/bin/redis-sentinel /a", false, true, "/a"),
            ("redoubt server --port 1", true, false, "--port 1"),
            ("redoubt", true, true, ""),
            ("", false, false, ""),
            ("", true, true, ""),
            ("--appendonly yes", false, false, "--appendonly yes"),
            ("/etc/redis/my.conf --port 1", false, false, "/etc/redis/my.conf --port 1"),
        ] {
            let expected = Plan::Node { sentinel, args: words(args) };
            assert_eq!(plan(&words(command), by_environment), expected, "{command}");
        }
    }

    #[test]
    fn other_programs() {
        let own = Plan::Own { name: "cli", args: words("-p 1 ping") };
        assert_eq!(plan(&words("redis-cli -p 1 ping"), true), own);
        assert_eq!(plan(&words("redoubt cli -p 1 ping"), true), own);
        assert_eq!(plan(&words("sh -c x"), true), Plan::Other(words("sh -c x")));
    }
}
