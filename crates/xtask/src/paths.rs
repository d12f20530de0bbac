//! Where things are: the project's root, the build folder, the product's binary.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).expect("crates/xtask lies two levels down").to_path_buf()
}

/// Cargo's build folder: `CARGO_TARGET_DIR`, or `target` at the root.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The product's binary: `REDOUBT_BIN`, or the release build.
pub fn redoubt_binary() -> PathBuf {
    match std::env::var_os("REDOUBT_BIN") {
        Some(path) => root().join(path),
        None => target().join("release").join("redoubt"),
    }
}
