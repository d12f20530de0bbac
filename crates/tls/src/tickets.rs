//! Sessions that clients may take up again, for a time and up to a number.

use rustls::server::StoresServerSessions;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// A store with `tls-session-cache-size` and `tls-session-cache-timeout`.
pub(crate) struct Sessions {
    /// 0 means no bound, as with OpenSSL.
    size: usize,
    timeout_secs: u64,
    /// Seconds of a clock that does not go back.
    now: fn() -> u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_key: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    /// Keys by age; those taken meanwhile are not in the map any more.
    order: VecDeque<(u64, Vec<u8>)>,
}

/// Sessions kept although no bound is set: a client can make as many as it likes.
const MOST: usize = 1 << 20;

impl Sessions {
    pub(crate) fn new(size: u32, timeout_secs: u32, now: fn() -> u64) -> Sessions {
        let size = if size == 0 { MOST } else { (size as usize).min(MOST) };
        Sessions { size, timeout_secs: u64::from(timeout_secs), now, kept: Mutex::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_fresh(&self, since: u64) -> bool {
        (self.now)().saturating_sub(since) <= self.timeout_secs
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let now = (self.now)();
        self.with(|kept| {
            kept.by_key.insert(key.clone(), (now, value));
            kept.order.push_back((now, key));
            while let Some((since, key)) = kept.order.front() {
                if kept.order.len() <= self.size && self.is_fresh(*since) {
                    break;
                }
                // The entry may be of a later time than its place in the line.
                if kept.by_key.get(key).is_some_and(|(at, _)| at == since) {
                    kept.by_key.remove(key);
                }
                kept.order.pop_front();
            }
        });
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.with(|kept| kept.by_key.get(key).cloned())
            .filter(|(since, _)| self.is_fresh(*since))
            .map(|(_, value)| value)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.with(|kept| kept.by_key.remove(key))
            .filter(|(since, _)| self.is_fresh(*since))
            .map(|(_, value)| value)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

#[cfg(test)]
mod tests {
    use super::Sessions;
    use rustls::server::StoresServerSessions;
    use std::cell::Cell;

    thread_local!(static NOW: Cell<u64> = const { Cell::new(0) });

    #[test]
    fn sessions_end_by_age_and_by_number() {
        let store = Sessions::new(2, 10, || NOW.get());
        let (a, b, c) = (b"a".to_vec(), b"b".to_vec(), b"c".to_vec());
        assert!(store.put(a.clone(), vec![1]) && store.put(b.clone(), vec![2]));
        assert_eq!(store.get(&a), Some(vec![1]));
        store.put(c.clone(), vec![3]);
        assert_eq!((store.get(&a), store.take(&b), store.take(&b)), (None, Some(vec![2]), None));
        NOW.set(11);
        assert_eq!((store.get(&c), store.take(&c)), (None, None));
        store.put(a.clone(), vec![4]);
        store.with(|kept| assert_eq!((kept.by_key.len(), kept.order.len()), (1, 1)));
    }
}
