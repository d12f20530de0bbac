//! Users in files: those of `aclfile`, a line each, and the `user` lines of a configuration file.

use crate::user::{is_name, line};
use crate::{Catalog, RuleError, User};
use std::collections::BTreeMap;

/// Brings selectors that were parted at their blanks together again. An error is the place of the
/// parenthesis that is never closed. Source: redis 7.0 `acl.c:ACLMergeSelectorArguments`.
pub fn merge_selectors<'a>(
    words: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Vec<u8>>, usize> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (at, word) in words.into_iter().enumerate() {
        let closes = word.last() == Some(&b')');
        match &mut open {
            None if word.first() == Some(&b'(') && !closes => open = Some((at, word.to_vec())),
            None => merged.push(word.to_vec()),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if closes {
                    merged.extend(open.take().map(|(_, selector)| selector));
                }
            }
        }
    }
    open.map_or(Ok(merged), |(at, _)| Err(at))
}

/// What is wrong with a `user` line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The rule.
    pub rule: Vec<u8>,
    /// Its place among the rules, selectors counted as one.
    pub at: usize,
    /// What is wrong with it.
    pub error: RuleError,
}

/// The user that these rules make, beginning with one who may nothing.
pub fn parse_user_line(
    rules: &[Vec<u8>],
    all_channels: bool,
    catalog: &Catalog,
) -> Result<User, Complaint> {
    let merged = merge_selectors(rules.iter().map(Vec::as_slice)).map_err(|at| Complaint {
        rule: rules.get(at).cloned().unwrap_or_default(),
        at,
        error: RuleError::Unmatched,
    })?;
    let mut user = User::new(all_channels);
    for (at, rule) in merged.iter().enumerate() {
        user.apply(rule, catalog).map_err(|error| Complaint { rule: rule.clone(), at, error })?;
    }
    Ok(user)
}

/// Reads an ACL file: all users, or everything that is wrong with it. `path` is for the complaints.
/// Rules are parted at single blanks; there are no quotes and no comments.
/// Source: redis 7.0 `acl.c:ACLLoadFromFile`.
pub fn parse_file(
    text: &[u8],
    path: &str,
    all_channels: bool,
    catalog: &Catalog,
) -> Result<BTreeMap<Vec<u8>, User>, String> {
    let mut users = BTreeMap::new();
    let mut errors = String::new();
    for (index, row) in text.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let row = trim(row);
        if row.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = row.split(|&byte| byte == b' ').collect();
        if words.len() < 2 || words[0] != b"user" {
            errors.push_str(&format!(
                "{path}:{number} should start with user keyword followed by the username. "
            ));
            continue;
        }
        let name = words[1];
        let shown = String::from_utf8_lossy(name);
        if !is_name(name) {
            errors.push_str(&format!(
                "'{path}:{number}: username '{shown}' contains invalid characters. "
            ));
            continue;
        }
        if users.contains_key(name) {
            errors.push_str(&format!("WARNING: Duplicate user '{shown}' found on line {number}. "));
            continue;
        }
        let user = parse_rules(&words[2..], path, number, all_channels, catalog, &mut errors);
        users.insert(name.to_vec(), user);
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.push_str(
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    );
    Err(errors)
}

fn parse_rules(
    rules: &[&[u8]],
    path: &str,
    number: usize,
    all_channels: bool,
    catalog: &Catalog,
    errors: &mut String,
) -> User {
    let mut user = User::new(all_channels);
    let Ok(merged) = merge_selectors(rules.iter().copied()) else {
        errors.push_str(&format!("{path}:{number}: {}", RuleError::Unmatched));
        return user;
    };
    let mut told = false;
    for rule in merged {
        match user.apply(&rule, catalog) {
            Ok(()) => {}
            // Names of commands and categories are no secrets.
            Err(RuleError::Unknown) => errors.push_str(&format!(
                "{path}:{number}: Error in applying operation '{}': {}. ",
                String::from_utf8_lossy(&rule),
                RuleError::Unknown
            )),
            Err(error) if !told => {
                told = true;
                errors.push_str(&format!("{path}:{number}: {error}. "));
            }
            Err(_) => {}
        }
    }
    user
}

fn trim(row: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = row.iter().position(|byte| !is_blank(byte)).unwrap_or(row.len());
    let end = row.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &row[start..end]
}

/// The lines of an ACL file with these users; ACL LIST shows the same.
pub fn show_users<'a>(users: impl IntoIterator<Item = (&'a [u8], &'a User)>) -> Vec<Vec<u8>> {
    users.into_iter().map(|(name, user)| line(name, user)).collect()
}
