//! What can be wrong with a rule.

/// Why a rule was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// No such command, subcommand or category.
    Unknown,
    /// Not a rule at all.
    Syntax,
    /// A key pattern beside the one that matches everything.
    KeysBehindAll,
    /// A channel pattern beside the one that matches everything.
    ChannelsBehindAll,
    /// A password to be removed is not there.
    NoSuchPassword,
    /// Not a SHA-256 in 64 lower-case hexadecimal digits.
    BadHash,
    /// `+command|subcommand|argument`.
    FirstArgOfSubcommand,
    /// A selector without its end.
    Unmatched,
}

impl RuleError {
    /// Redis's words for it. Source: redis 7.0 `acl.c:ACLSetUserStringError`.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysBehindAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
                 Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsBehindAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
                 Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::FirstArgOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
            RuleError::Unmatched => "Unmatched parenthesis in selector definition.",
        }
    }
}

impl std::fmt::Display for RuleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for RuleError {}
