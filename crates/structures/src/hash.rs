//! The one hash of the process: rapidhash v3 under a secret that is set once at start.
//!
//! A secret keeps clients from choosing keys that share a bucket; setting it from outside keeps
//! simulations and tests repeatable. Hashes never leave the process (only SCAN cursors reveal
//! their order), so the function may change between versions.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};
use std::sync::OnceLock;

static SECRETS: OnceLock<RapidSecrets> = OnceLock::new();
static DEFAULT: RapidSecrets = RapidSecrets::seed(0x5ca1_ab1e_0ddb_a115);

/// Sets the process's hash secret. Call it at most once, before anything is hashed: tables built
/// under another secret would lose their keys. A second call changes nothing.
pub fn set_seed(seed: u64) {
    let _ = SECRETS.set(RapidSecrets::seed(seed));
}

/// The 64-bit hash of `bytes` under the process's secret.
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let secrets = SECRETS.get().unwrap_or(&DEFAULT);
    rapidhash_v3_inline::<true, false, false>(bytes, secrets)
}
