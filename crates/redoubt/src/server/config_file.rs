//! The configuration file on disk: reading it with its includes, replacing it.

use crate::program::Composed;
use config::{Config, Included, LoadError, Loaded, Loader, Problem};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the configuration came from.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Absolute path; `None` without a file.
    pub path: Option<PathBuf>,
    /// The file's text as it was read, with what the environment adds.
    pub composed: Composed,
    /// True if there was nothing but defaults.
    default: bool,
}

impl ConfigFile {
    /// A configuration from this file, if any; `options` tells whether anything else was given.
    pub fn new(path: Option<PathBuf>, composed: Composed, options: bool) -> ConfigFile {
        ConfigFile { default: path.is_none() && !options, path, composed }
    }

    /// True if there was neither file nor options.
    pub fn is_default(&self) -> bool {
        self.default
    }

    /// The path as INFO shows it.
    pub fn shown(&self) -> String {
        self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

/// Loads a whole configuration text.
pub fn load(text: &[u8], sentinel: bool) -> Result<Loaded, LoadError> {
    let mut loader = loader(sentinel);
    loader.load(text, &mut include)?;
    loader.finish()
}

/// What can be loaded of a configuration text, and everything that is wrong with it.
pub fn check(text: &[u8], sentinel: bool) -> (Loaded, Vec<Problem>) {
    let mut loader = loader(sentinel).collecting();
    if let Err(error) = loader.load(text, &mut include) {
        unreachable!("a collecting loader goes on: {error}");
    }
    loader.check()
}

fn loader(sentinel: bool) -> Loader {
    Loader::new(sentinel).with_commands(match sentinel {
        true => |name| node::is_command(name, true),
        false => |name| node::is_command(name, false),
    })
}

/// Files that an `include` names: a path, or a pattern. No match of a pattern is no error.
fn include(pattern: &[u8], so_far: &Config) -> Included {
    let pattern = String::from_utf8_lossy(pattern).into_owned();
    let base = PathBuf::from(so_far.dir.to_str().into_owned());
    let has_wildcard = pattern.contains(['*', '?', '[']);
    let path = base.join(&pattern);
    if !has_wildcard {
        return read(&path).map(|bytes| vec![bytes]);
    }
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| {
            entries
                .filter_map(Result::ok)
                .filter(|entry| {
                    stdx::glob_match(
                        name.as_bytes(),
                        entry.file_name().to_string_lossy().as_bytes(),
                        false,
                    )
                })
                .map(|entry| entry.path())
                .collect()
        })
        .unwrap_or_default();
    found.sort();
    found.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|error| LoadError::Unreadable {
        path: path.display().to_string().into_bytes().into(),
        reason: crate::io::sys::reason(&error),
    })
}

/// Replaces a configuration file: beside it, synced, renamed. Where a rename is impossible (a file
/// that is mounted by itself into a container) it is written in place, after a copy was kept.
/// Files that hold passwords are for their owner alone.
pub fn replace(path: &Path, text: &[u8], secret: bool) -> io::Result<()> {
    let mode = match std::fs::metadata(path) {
        Ok(meta) if !secret => meta.permissions().mode() & 0o777,
        Ok(meta) => meta.permissions().mode() & 0o700,
        Err(_) if secret => 0o600,
        Err(_) => 0o644,
    };
    let mut temp = path.as_os_str().to_owned();
    temp.push(format!(".{}.tmp", std::process::id()));
    let temp = PathBuf::from(temp);
    let renamed = write_synced(&temp, text, mode).and_then(|()| std::fs::rename(&temp, path));
    match renamed {
        Ok(()) => super::snapshot::sync_folder_of(path),
        Err(error) => {
            let _ = std::fs::remove_file(&temp);
            in_place(path, text, mode).map_err(|second| {
                io::Error::new(
                    second.kind(),
                    format!("{error}; writing in place failed as well: {second}"),
                )
            })
        }
    }
}

fn write_synced(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // An old file keeps its mode when it is opened: set it in any case.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(text)?;
    file.sync_all()
}

fn in_place(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let old = std::fs::read(path).unwrap_or_default();
    let copy = std::env::temp_dir().join(format!(
        "redoubt-{}-{}",
        std::process::id(),
        path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    ));
    // Without a copy a crash in the next line would lose the file; with a read-only place for
    // copies we still have to try.
    let kept = write_synced(&copy, &old, mode & 0o600).is_ok();
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()?;
    if kept {
        let _ = std::fs::remove_file(&copy);
    }
    Ok(())
}
