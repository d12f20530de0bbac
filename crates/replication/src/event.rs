//! What both machines tell the operator, and how connections are named to them.

/// How loud a log line is; Redis's four levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `.`
    Debug,
    /// `-`
    Verbose,
    /// `*`
    Notice,
    /// `#`
    Warning,
}

/// One line for the log, in Redis's words where operators and tutorials know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// The text, without time stamp and line end. May hold bytes that a peer chose, made printable.
    pub text: String,
}

impl LogLine {
    /// A line at level notice.
    pub fn notice(text: impl Into<String>) -> LogLine {
        LogLine { level: LogLevel::Notice, text: text.into() }
    }

    /// A line at level warning.
    pub fn warning(text: impl Into<String>) -> LogLine {
        LogLine { level: LogLevel::Warning, text: text.into() }
    }
}

/// A connection as the driver numbers them; Redis's client id does well. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A peer's bytes as text for the log: printable ASCII stays, everything else becomes `?`.
/// A peer must not be able to forge a log line.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 512;
    bytes
        .iter()
        .take(SHOWN_MAX)
        .map(|&b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '?' })
        .collect()
}

/// `ip:port`, with brackets around an address that holds colons.
pub(crate) fn format_addr(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_forge_log_lines() {
        assert_eq!(printable(b"ERR a\r\n1:M # b\xff"), "ERR a??1:M # b?");
        assert_eq!(printable(&[b'a'; 10_000]).len(), 512);
    }

    #[test]
    fn ipv6_gets_brackets() {
        assert_eq!(format_addr("::1", 6379), "[::1]:6379");
        assert_eq!(format_addr("10.0.0.1", 6379), "10.0.0.1:6379");
    }
}
