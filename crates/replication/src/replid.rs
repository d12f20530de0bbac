//! Replication ids: the name of one history of writes.

use stdx::Prng;

/// Forty characters, hexadecimal when this or any Redis server made them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplId([u8; ReplId::LEN]);

impl ReplId {
    /// Length of an id in characters.
    pub const LEN: usize = 40;

    /// The id that stands for 'none': forty zeros.
    pub const NONE: ReplId = ReplId([b'0'; ReplId::LEN]);

    /// A fresh random id.
    pub fn generate(prng: &mut Prng) -> ReplId {
        let text = prng.hex(ReplId::LEN);
        ReplId::parse(text.as_bytes()).expect("hexadecimal digits make an id")
    }

    /// Reads an id: exactly forty printable characters without blanks. Redis looks at the length
    /// only; the rest keeps a broken peer's bytes out of INFO and the log.
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        let bytes: [u8; ReplId::LEN] = text.try_into().ok()?;
        bytes.iter().all(u8::is_ascii_graphic).then_some(ReplId(bytes))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an id is ASCII by construction")
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8; ReplId::LEN] {
        &self.0
    }

    /// Whether a peer that wrote `text` means this id (letter case does not count, as in Redis).
    pub fn matches(&self, text: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }
}

impl std::fmt::Display for ReplId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for ReplId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The histories that this node can continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplIds {
    /// The present history.
    pub replid: ReplId,
    /// The history before the last promotion, [`ReplId::NONE`] if there is none.
    pub replid2: ReplId,
    /// The highest PSYNC argument (first missing byte, 1-based) that `replid2` is good for; −1
    /// without `replid2`. INFO prints it as it is.
    pub second_repl_offset: i64,
}

impl ReplIds {
    /// A fresh history.
    pub fn new(replid: ReplId) -> ReplIds {
        ReplIds { replid, replid2: ReplId::NONE, second_repl_offset: -1 }
    }

    /// Starts a new history that continues the present one, which held `offset` bytes.
    /// Source: redis 7.0 `replication.c:shiftReplicationId`.
    pub(crate) fn shift(&mut self, new: ReplId, offset: u64) {
        self.replid2 = self.replid;
        self.second_repl_offset = i64::try_from(offset).map_or(i64::MAX, |o| o.saturating_add(1));
        self.replid = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_forty_printable_characters() {
        let id = ReplId::generate(&mut Prng::new(3));
        assert_eq!(ReplId::parse(id.as_bytes()), Some(id));
        assert!(id.matches(id.as_str().to_uppercase().as_bytes()));
        assert_eq!(ReplId::parse(b"?"), None);
        assert_eq!(ReplId::parse(&[b'a'; 41]), None);
        assert_eq!(ReplId::parse(&[b' '; 40]), None);
        assert_eq!(ReplId::parse(&[0xff; 40]), None);
    }

    #[test]
    fn promotion_keeps_the_old_history() {
        let mut prng = Prng::new(4);
        let (old, new) = (ReplId::generate(&mut prng), ReplId::generate(&mut prng));
        let mut ids = ReplIds::new(old);
        ids.shift(new, 4071);
        assert_eq!(ids, ReplIds { replid: new, replid2: old, second_repl_offset: 4072 });
    }
}
