//! The folder of the append-only file: where its parts and its manifest lie, and changing them so
//! that a crash at any moment leaves a whole set.

use crate::io::sys;
use crate::log::{DEBUG, NOTICE, WARNING};
use crate::os::fs::File;
use config::Config;
use persistence::aof::Manifest;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Names of the append-only file.
#[derive(Clone, Debug)]
pub struct Files {
    /// `appenddirname`, in the folder in which the server works.
    pub dir: PathBuf,
    /// `appendfilename`
    pub filename: Vec<u8>,
}

fn path_of(name: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(name))
}

impl Files {
    /// As configured.
    pub fn new(config: &Config) -> Files {
        Files {
            dir: path_of(config.appenddirname.as_bytes()),
            filename: config.appendfilename.as_bytes().to_vec(),
        }
    }

    /// The path of a part.
    pub fn part(&self, name: &[u8]) -> PathBuf {
        self.dir.join(path_of(name))
    }

    /// The path of the manifest.
    pub fn manifest(&self) -> PathBuf {
        self.part(&[&self.filename[..], b".manifest"].concat())
    }

    /// The path of a temporary file.
    pub fn temp(&self, suffix: &str) -> PathBuf {
        self.part(&[b"temp-", &self.filename[..], suffix.as_bytes()].concat())
    }

    /// Where a rewrite puts the base until it is whole.
    pub fn temp_base(&self) -> PathBuf {
        self.dir.join(format!("temp-rewriteaof-bg-{}.aof", std::process::id()))
    }

    /// Makes the folder.
    pub fn make_dir(&self) -> Result<(), String> {
        match crate::os::fs::create_dir(&self.dir) {
            Ok(()) => super::super::snapshot::sync_folder_of(&self.dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| {
            format!(
                "Can't open or create append-only dir {}: {}",
                self.dir.display(),
                sys::reason(&error)
            )
        })
    }

    /// Reads the manifest; an empty one if there is none.
    pub fn read_manifest(&self) -> Result<Manifest, String> {
        let path = self.manifest();
        let text = match crate::os::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if crate::os::fs::metadata(&self.dir).is_ok_and(|m| m.is_dir()) {
                    crate::log::write(
                        DEBUG,
                        &format!("The AOF manifest file {} doesn't exist", file_name(&path)),
                    );
                } else {
                    crate::log::write(
                        DEBUG,
                        &format!("The AOF directory {} doesn't exist", self.dir.display()),
                    );
                }
                return Ok(Manifest::default());
            }
            Err(error) => {
                return Err(format!(
                    "Fatal error: can't open the AOF manifest file {} for reading: {}",
                    file_name(&path),
                    sys::reason(&error)
                ));
            }
        };
        Manifest::parse(&text).map_err(|error| {
            crate::log::write(WARNING, "*** FATAL AOF MANIFEST FILE ERROR ***");
            if error.line_number > 0 {
                crate::log::write(
                    WARNING,
                    &format!("Reading the manifest file, at line {}", error.line_number),
                );
                crate::log::write(
                    WARNING,
                    &format!(">>> '{}'", String::from_utf8_lossy(&error.line)),
                );
            }
            error.what.to_string()
        })
    }

    /// Puts a manifest in force: beside the old one, synced, renamed, the folder synced.
    pub fn write_manifest(&self, manifest: &Manifest) -> std::io::Result<()> {
        let temp = self.temp(".manifest");
        let mut file = File::create(&temp)?;
        file.write_all(&manifest.to_bytes())?;
        file.sync_all()?;
        crate::os::fs::rename(&temp, self.manifest())?;
        self.sync_dir()
    }

    /// Makes renames and new files in the folder durable.
    pub fn sync_dir(&self) -> std::io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Removes what the manifest calls history, and forgets it. What can't be removed stays listed.
    pub fn remove_history(&self, manifest: &mut Manifest) -> std::io::Result<()> {
        if manifest.history.is_empty() {
            return Ok(());
        }
        manifest.history.retain(|info| {
            let name = String::from_utf8_lossy(&info.name).into_owned();
            crate::log::write(
                NOTICE,
                &format!("Removing the history file {name} in the background"),
            );
            match crate::os::fs::remove_file(self.part(&info.name)) {
                Ok(()) => false,
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            }
        });
        self.write_manifest(manifest)
    }

    /// Bytes of all parts; an error names the one that is missing.
    pub fn size(&self, manifest: &Manifest) -> Result<u64, String> {
        let mut total = 0;
        for info in manifest.files() {
            let path = self.part(&info.name);
            let size = crate::os::fs::metadata(&path).map(|meta| meta.len()).map_err(|error| {
                format!(
                    "Unable to obtain the AOF file {} length. stat: {}",
                    String::from_utf8_lossy(&info.name),
                    sys::reason(&error)
                )
            })?;
            total += size;
        }
        Ok(total)
    }
}

/// The last part of a path, for log lines.
pub fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
