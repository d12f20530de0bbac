//! Who may do what: users, their rules, and whether a request keeps to them.
//!
//! Everything here is a pure function of its input. Which connection belongs to which user, what is
//! done to connections when rules change, and where files lie is the business of `node` and of the
//! program around it. A [`User`] is a value: it is changed as a copy and put in place as a whole, so
//! a change is either all there or not at all.
//!
//! Commands are known by their numbers in the registry of the node; what this room needs to know of
//! them is a [`Catalog`].
//!
//! Source: redis 7.2 `acl.c`. Rules are kept and shown in the order in which they were given, as
//! since 7.2; 7.0 showed the shortest list that it could find for the same rights.

mod catalog;
mod error;
mod file;
mod log;
mod selector;
#[cfg(test)]
mod tests;
mod user;

pub use catalog::{CATEGORIES, Catalog, CatalogEntry, category_name};
pub use error::RuleError;
pub use file::{Complaint, merge_selectors, parse_file, parse_user_line, show_users};
pub use log::{Context, Entry, Incident, Log, Reason};
pub use selector::{Channel, KeyPattern, Selector, channels_of};
pub use user::{Denied, User};

/// True if a name can't be a user's: blanks would part it in a file, and NUL would end it.
/// Source: redis 7.0 `acl.c:ACLStringHasSpaces`.
pub fn has_spaces(name: &[u8]) -> bool {
    name.iter().any(|&byte| byte == 0 || is_space(byte))
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
