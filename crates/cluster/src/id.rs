//! Names of nodes and shards: 40 lower-case hexadecimal digits, as on the wire and in the file.

use std::fmt;

/// The name of a node or of a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 40]);

impl NodeId {
    /// A name from its 40 bytes; nothing for other lengths and for anything but `0-9a-f`.
    pub fn parse(bytes: &[u8]) -> Option<NodeId> {
        let id: [u8; 40] = bytes.try_into().ok()?;
        id.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(NodeId(id))
    }

    /// A name made of random numbers.
    pub fn random(prng: &mut stdx::Prng) -> NodeId {
        let mut id = [b'0'; 40];
        for digit in &mut id {
            *digit = b"0123456789abcdef"[prng.below(16) as usize];
        }
        NodeId(id)
    }

    /// The 40 digits.
    pub fn bytes(&self) -> &[u8; 40] {
        &self.0
    }

    /// The 40 digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str()[..8])
    }
}
