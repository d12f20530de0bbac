//! When two replies count as equal: byte for byte, or up to what Redis leaves open (order of unordered collections, clocks).

use crate::wire::{Value, render};

/// A rule of comparison; the notation is explained in `tests/diff-grammar.txt`.
#[derive(Clone, Debug)]
pub enum Compare {
    /// Byte for byte.
    Exact,
    /// The elements of the reply in any order.
    Sorted,
    /// Field and value pairs in any order (a map, or a flat array in RESP2).
    Pairs,
    /// SCAN's and SSCAN's reply.
    Scan,
    /// HSCAN's and ZSCAN's reply.
    ScanPairs,
    /// Numbers that depend on the clock, this far apart at most.
    Within(i64),
    /// Only the kind of reply; errors byte for byte.
    Kind,
    /// COMMAND INFO.
    CommandInfo,
    /// Users: without what 7.2 shows otherwise than 7.0 (the order of command rules, and
    /// `sanitize-payload`); what the rules mean is compared by ACL DRYRUN.
    Users,
    /// ACL LOG: without times, numbers of entries and lines of clients.
    AclLog,
    /// Facts about groups of streams: without times, and without consumers that own nothing (when
    /// such are made is different in 7.0 and 7.2).
    Stream,
    /// EXEC: rule and words of each queued command.
    Exec(Vec<(Compare, Vec<Vec<u8>>)>),
}

impl Compare {
    /// A rule by its name in the grammar.
    pub fn parse(name: &str) -> Option<Compare> {
        Some(match name {
            "exact" => Compare::Exact,
            "sorted" => Compare::Sorted,
            "pairs" => Compare::Pairs,
            "scan" => Compare::Scan,
            "scanpairs" => Compare::ScanPairs,
            "ttl" => Compare::Within(2),
            "ttlms" => Compare::Within(2000),
            "kind" => Compare::Kind,
            "cmdinfo" => Compare::CommandInfo,
            "users" => Compare::Users,
            "acllog" => Compare::AclLog,
            "stream" => Compare::Stream,
            _ => return None,
        })
    }

    /// True when `a` and `b` are equal by this rule.
    pub fn equal(&self, a: &Value, b: &Value) -> bool {
        if a == b {
            return true;
        }
        if a.is_error() || b.is_error() {
            return false;
        }
        match self {
            Compare::Exact => false,
            Compare::Sorted => same_kind(a, b) && sorted(a) == sorted(b),
            Compare::Pairs => same_kind(a, b) && pairs(a) == pairs(b),
            Compare::Scan | Compare::ScanPairs => scan_equal(a, b),
            Compare::Within(tolerance) => match (a, b) {
                // -1 and -2 are answers, not times.
                (Value::Int(a), Value::Int(b)) => {
                    *a >= 0 && *b >= 0 && a.saturating_sub(*b).abs() <= *tolerance
                }
                _ => false,
            },
            Compare::Kind => same_kind(a, b),
            Compare::CommandInfo => sort_words(a.clone()) == sort_words(b.clone()),
            Compare::Users => users(a) == users(b),
            Compare::AclLog => incidents(a) == incidents(b),
            Compare::Stream => stream_facts(a) == stream_facts(b),
            Compare::Exec(rules) => match (a, b) {
                (Value::Array(a), Value::Array(b)) => {
                    a.len() == b.len()
                        && a.len() == rules.len()
                        && rules
                            .iter()
                            .zip(a.iter().zip(b))
                            .all(|(rule, (a, b))| rule.0.equal(a, b))
                }
                _ => false,
            },
        }
    }

    /// The reply with everything in order that this rule compares in any order.
    pub fn in_order(&self, value: &Value) -> Value {
        match self {
            Compare::Sorted => match value {
                Value::Array(_) => Value::Array(sorted(value)),
                Value::Set(_) => Value::Set(sorted(value)),
                other => other.clone(),
            },
            Compare::Scan => match value.elements() {
                Some([cursor, items]) => {
                    Value::Array(vec![cursor.clone(), Value::Array(sorted(items))])
                }
                _ => value.clone(),
            },
            Compare::ScanPairs => match value.elements() {
                Some([cursor, items]) => {
                    let flat = pairs(items).into_iter().flat_map(|(key, item)| [key, item]);
                    Value::Array(vec![cursor.clone(), Value::Array(flat.collect())])
                }
                _ => value.clone(),
            },
            Compare::CommandInfo => sort_words(value.clone()),
            Compare::Users => users(value),
            Compare::AclLog => incidents(value),
            Compare::Stream => stream_facts(value),
            _ => value.clone(),
        }
    }

    /// Where the two replies differ first: position and both parts, for reports.
    pub fn difference(&self, a: &Value, b: &Value) -> String {
        if let (Compare::Exec(rules), Value::Array(left), Value::Array(right)) = (self, a, b)
            && left.len() == right.len()
        {
            for (at, (rule, _)) in rules.iter().enumerate() {
                if at < left.len() && !rule.equal(&left[at], &right[at]) {
                    let inner = rule.difference(&left[at], &right[at]);
                    return format!("in EXEC, command {}: {inner}", at + 1);
                }
            }
        }
        if let (Some(left), Some(right)) = (a.elements(), b.elements()) {
            if left.len() != right.len() {
                return format!("{} elements and {} elements", left.len(), right.len());
            }
            if let Some(at) = left.iter().zip(right).position(|(a, b)| a != b) {
                return format!(
                    "element {at}: {} and {}",
                    render(&left[at], 200),
                    render(&right[at], 200)
                );
            }
        }
        format!("kinds {} and {}", a.kind(), b.kind())
    }
}

/// What [`Compare::Stream`] compares.
fn stream_facts(value: &Value) -> Value {
    let is =
        |value: &Value, name: &str| matches!(value, Value::Bulk(text) if text == name.as_bytes());
    let pairs: Vec<(Value, Value)> = match value {
        Value::Map(pairs) => pairs.clone(),
        Value::Array(items)
            if is(items.first().unwrap_or(&Value::Null), "name")
                || is(items.first().unwrap_or(&Value::Null), "length") =>
        {
            items
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair.last().unwrap_or(&Value::Null).clone()))
                .collect()
        }
        // A pending entry: its ID, its owner, its age, and how often it was given.
        Value::Array(items)
            if matches!(
                items.as_slice(),
                [Value::Bulk(_), Value::Bulk(_), Value::Int(_), Value::Int(_)]
            ) =>
        {
            return Value::Array(vec![items[0].clone(), items[1].clone(), items[3].clone()]);
        }
        Value::Array(items) => {
            return Value::Array(
                items.iter().map(stream_facts).filter(|item| *item != Value::Null).collect(),
            );
        }
        // A time.
        Value::Int(value) if *value > 1_000_000_000_000 => return Value::Int(0),
        other => return other.clone(),
    };
    let owns =
        |name: &str| pairs.iter().any(|(key, value)| is(key, name) && *value == Value::Int(0));
    let consumer = pairs.iter().any(|(key, _)| is(key, "idle") || is(key, "seen-time"));
    if consumer && (owns("pending") || owns("pel-count")) {
        return Value::Null; // Left out by the array around it.
    }
    let kept = pairs.iter().filter(|(key, value)| {
        let time =
            ["idle", "inactive", "seen-time", "active-time"].iter().any(|name| is(key, name));
        !(time || is(key, "consumers") && matches!(value, Value::Int(_)))
    });
    Value::Map(kept.map(|(key, value)| (key.clone(), stream_facts(value))).collect())
}

fn same_kind(a: &Value, b: &Value) -> bool {
    a.kind() == b.kind()
}

/// The elements in order of their bytes.
pub fn sorted(value: &Value) -> Vec<Value> {
    let mut items = match value {
        Value::Map(pairs) => {
            pairs.iter().map(|(key, item)| Value::Array(vec![key.clone(), item.clone()])).collect()
        }
        other => other.elements().map(<[Value]>::to_vec).unwrap_or_else(|| vec![other.clone()]),
    };
    items.sort();
    items
}

/// Pairs of a map, of a flat array, or of an array of pairs, in order of their bytes.
pub fn pairs(value: &Value) -> Vec<(Value, Value)> {
    let mut found: Vec<(Value, Value)> = match value {
        Value::Map(pairs) => pairs.clone(),
        other => match other.elements() {
            Some(items)
                if items.iter().all(|item| item.elements().is_some_and(|x| x.len() == 2)) =>
            {
                items
                    .iter()
                    .filter_map(Value::elements)
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect()
            }
            Some(items) => items
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair.get(1).cloned().unwrap_or(Value::Null)))
                .collect(),
            None => Vec::new(),
        },
    };
    found.sort();
    found
}

fn scan_equal(a: &Value, b: &Value) -> bool {
    let (Some([cursor_a, items_a]), Some([cursor_b, items_b])) = (a.elements(), b.elements())
    else {
        return false;
    };
    let ended = |cursor: &Value| cursor.bytes() == Some(b"0");
    match (ended(cursor_a), ended(cursor_b)) {
        (true, true) => sorted(items_a) == sorted(items_b),
        // Part of a table: which elements come first, and when it ends, follows from the server's hash seed.
        _ => same_kind(items_a, items_b),
    }
}

/// Sorts every array or set that holds words only.
fn sort_words(value: Value) -> Value {
    let all_words = |items: &[Value]| items.iter().all(|item| matches!(item, Value::Simple(_)));
    let inner = |items: Vec<Value>| {
        let mut items: Vec<Value> = items.into_iter().map(sort_words).collect();
        if all_words(&items) {
            items.sort();
        }
        items
    };
    match value {
        Value::Array(items) => Value::Array(inner(items)),
        Value::Set(items) => Value::Set(inner(items)),
        other => other,
    }
}

/// The reply of ACL LIST or ACL GETUSER, as far as all versions agree.
fn users(value: &Value) -> Value {
    let all = |items: &[Value]| {
        let is_default = |item: &&Value| matches!(item, Value::Bulk(text) | Value::Simple(text) if text == b"sanitize-payload");
        items.iter().filter(|item| !is_default(item)).map(users).collect()
    };
    match value {
        Value::Array(items) => Value::Array(all(items)),
        Value::Set(items) => Value::Set(all(items)),
        Value::Map(pairs) => {
            Value::Map(pairs.iter().map(|(key, item)| (key.clone(), users(item))).collect())
        }
        Value::Bulk(text) => Value::Bulk(without_command_rules(text)),
        other => other.clone(),
    }
}

fn without_command_rules(text: &[u8]) -> Vec<u8> {
    let mut words: Vec<&[u8]> = Vec::new();
    for word in text.split(|byte| *byte == b' ') {
        let bare = word.strip_suffix(b")").unwrap_or(word);
        let is_rule = matches!(bare, [b'+' | b'-', ..]) && bare != b"+@all" && bare != b"-@all";
        if is_rule {
            words.push(&word[bare.len()..]);
        } else if word != b"sanitize-payload" {
            words.push(word);
        }
    }
    words.retain(|word| !word.is_empty());
    // The parenthesis stood at the last rule.
    words.join(&b' ').split(|byte| *byte == b' ').fold(Vec::new(), |mut all, word| {
        if word != b")" && !all.is_empty() {
            all.push(b' ');
        }
        all.extend_from_slice(word);
        all
    })
}

/// The entries of ACL LOG, as far as they don't depend on the clock and the version.
fn incidents(value: &Value) -> Value {
    const KEPT: [&[u8]; 5] = [b"count", b"reason", b"context", b"object", b"username"];
    let entries = value.elements().unwrap_or_default().iter().map(|entry| {
        let kept = pairs(entry)
            .into_iter()
            .filter(|(name, _)| name.bytes().is_some_and(|name| KEPT.contains(&name)));
        Value::Array(kept.flat_map(|(name, item)| [name, item]).collect())
    });
    match value {
        Value::Array(_) => Value::Array(entries.collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::Compare;
    use crate::wire::Value;

    fn bulks(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| Value::Bulk(word.as_bytes().to_vec())).collect())
    }

    #[test]
    fn rules_forgive_only_what_they_should() {
        let (ab, ba) = (bulks(&["a", "b"]), bulks(&["b", "a"]));
        assert!(!Compare::Exact.equal(&ab, &ba));
        assert!(Compare::Sorted.equal(&ab, &ba));
        assert!(!Compare::Sorted.equal(&ab, &bulks(&["a", "c"])));
        assert!(Compare::Pairs.equal(&bulks(&["a", "1", "b", "2"]), &bulks(&["b", "2", "a", "1"])));
        assert!(
            !Compare::Pairs.equal(&bulks(&["a", "1", "b", "2"]), &bulks(&["b", "1", "a", "2"]))
        );
        assert!(Compare::Within(2).equal(&Value::Int(100), &Value::Int(98)));
        assert!(!Compare::Within(2).equal(&Value::Int(0), &Value::Int(-1)));
        assert!(
            !Compare::Kind.equal(&Value::Error(b"ERR a".into()), &Value::Error(b"ERR b".into()))
        );
        assert!(!Compare::Sorted.equal(&ab, &Value::Set(vec![])));
        let exec = Compare::Exec(vec![(Compare::Sorted, vec![]), (Compare::Exact, vec![])]);
        let left = Value::Array(vec![ab.clone(), Value::Int(1)]);
        assert!(exec.equal(&left, &Value::Array(vec![ba.clone(), Value::Int(1)])));
        assert!(!exec.equal(&left, &Value::Array(vec![ba, Value::Int(2)])));
    }

    #[test]
    fn scan_compares_what_is_whole() {
        let reply = |cursor: &str, items: &[&str]| {
            Value::Array(vec![Value::Bulk(cursor.as_bytes().to_vec()), bulks(items)])
        };
        assert!(Compare::Scan.equal(&reply("0", &["a", "b"]), &reply("0", &["b", "a"])));
        assert!(!Compare::Scan.equal(&reply("0", &["a"]), &reply("0", &["b"])));
        assert!(Compare::Scan.equal(&reply("0", &["a"]), &reply("5", &["a"])));
        assert!(Compare::Scan.equal(&reply("7", &["a"]), &reply("5", &["b"])));
    }
}
