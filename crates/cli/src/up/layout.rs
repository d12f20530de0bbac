//! Where things lie in the data folder, and how files are written there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The data folder.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its absolute path.
    pub dir: PathBuf,
}

impl Layout {
    /// The folder at `dir`, which need not exist yet.
    pub fn new(dir: &Path) -> io::Result<Layout> {
        Ok(Layout { dir: std::path::absolute(dir)? })
    }

    /// Makes the folder, readable by its owner only.
    pub fn create(&self) -> io::Result<()> {
        create_private(&self.dir)
    }

    /// Who runs here, on which ports: see `state`.
    pub fn state(&self) -> PathBuf {
        self.dir.join("up.json")
    }

    /// Locked while an `up` runs.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("up.lock")
    }

    /// Every event, one a line.
    pub fn log(&self) -> PathBuf {
        self.dir.join("up.log")
    }

    /// Where a running `up` takes commands.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("up.sock")
    }

    /// The folder of one node or sentinel.
    pub fn member(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Makes a folder that only its owner can read; one that is there stays as it is.
pub fn create_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces a file as a whole; only its owner can read it.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Opens a file to add to it; only its owner can read it.
pub fn append_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A path that a person can type: relative when it lies below the current folder.
pub fn display(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(below) if !below.as_os_str().is_empty() => below.display().to_string(),
        _ => path.display().to_string(),
    }
}
