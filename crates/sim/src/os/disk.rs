//! A disk: files in memory, of which only what was synced survives a loss of power for certain.
//!
//! What was written and not synced is lost, kept, or torn at a byte. Names in a folder survive once the
//! folder is synced; of the changes since then some first ones do. After a sync that failed, what it
//! should have brought to disk never gets there, though later syncs succeed (as on Linux).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use stdx::Prng;

/// A file's number.
pub type Ino = u64;

#[derive(Clone, Debug, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes that a failed sync has lost for good, unless they are written again.
    lost: Option<(usize, usize)>,
}

#[derive(Clone, Debug)]
enum Change {
    Link(PathBuf, Ino),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    Folder(PathBuf),
}

impl Change {
    fn folder(&self) -> &Path {
        let (Change::Link(path, _)
        | Change::Unlink(path)
        | Change::Rename(_, path)
        | Change::Folder(path)) = self;
        path.parent().unwrap_or(Path::new(""))
    }
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, Ino>,
    folders: BTreeSet<PathBuf>,
}

impl Names {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Link(path, ino) => drop(self.files.insert(path.clone(), *ino)),
            Change::Unlink(path) => drop(self.files.remove(path)),
            Change::Rename(from, to) => {
                if let Some(ino) = self.files.remove(from) {
                    self.files.insert(to.clone(), ino);
                }
            }
            Change::Folder(path) => drop(self.folders.insert(path.clone())),
        }
    }
}

/// What is wrong with a disk.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// So many more bytes fit.
    pub room: Option<u64>,
    /// Syncs fail.
    pub sync_fails: bool,
    /// Every call takes until then, microseconds.
    pub stalled_until: u64,
    /// It says that it has synced and has not: nothing may rest on such a disk, so the checks must
    /// find out.
    pub lies: bool,
}

/// A disk.
#[derive(Debug, Default)]
pub struct Disk {
    inodes: BTreeMap<Ino, Inode>,
    numbers: Ino,
    names: Names,
    durable: Names,
    /// Changes of names since their folders were synced.
    pending: Vec<Change>,
    /// What is wrong with it.
    pub faults: Faults,
    /// Syncs so far.
    pub syncs: u64,
}

fn not_found() -> io::Error {
    io::Error::from_raw_os_error(2)
}

/// `./x` is `x`, and `.` the root.
pub fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

impl Disk {
    fn change(&mut self, change: Change) {
        self.names.apply(&change);
        self.pending.push(change);
    }

    /// The file of that name.
    pub fn find(&self, path: &Path) -> Option<Ino> {
        self.names.files.get(&plain(path)).copied()
    }

    /// True for the root and folders that were made.
    pub fn is_folder(&self, path: &Path) -> bool {
        let path = plain(path);
        path.as_os_str().is_empty() || self.names.folders.contains(&path)
    }

    fn make(&mut self, path: &Path) -> io::Result<Ino> {
        let path = plain(path);
        if !self.is_folder(path.parent().unwrap_or(Path::new(""))) {
            return Err(not_found());
        }
        self.numbers += 1;
        self.inodes.insert(self.numbers, Inode::default());
        self.change(Change::Link(path, self.numbers));
        Ok(self.numbers)
    }

    /// Opens a file.
    pub fn open(&mut self, path: &Path, create: bool, truncate: bool) -> io::Result<Ino> {
        let ino = match self.find(path) {
            Some(ino) => ino,
            None if create => self.make(path)?,
            None => return Err(not_found()),
        };
        if truncate {
            self.set_len(ino, 0);
        }
        Ok(ino)
    }

    /// Makes a folder.
    pub fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        if self.is_folder(path) {
            return Err(io::Error::from_raw_os_error(17));
        }
        self.change(Change::Folder(plain(path)));
        Ok(())
    }

    /// Renames a file.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.find(from).ok_or_else(not_found)?;
        self.change(Change::Rename(plain(from), plain(to)));
        Ok(())
    }

    /// Removes a file's name.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path).ok_or_else(not_found)?;
        self.change(Change::Unlink(plain(path)));
        Ok(())
    }

    /// The bytes of a file.
    pub fn data(&self, ino: Ino) -> &[u8] {
        self.inodes.get(&ino).map_or(&[], |inode| &inode.data)
    }

    /// Writes at a place, or at the end.
    pub fn write(&mut self, ino: Ino, at: Option<usize>, bytes: &[u8]) -> io::Result<usize> {
        let room = self.faults.room.unwrap_or(u64::MAX);
        let n = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if n == 0 && !bytes.is_empty() {
            return Err(io::Error::from_raw_os_error(28));
        }
        let Some(inode) = self.inodes.get_mut(&ino) else { return Err(not_found()) };
        let at = at.unwrap_or(inode.data.len());
        if inode.data.len() < at + n {
            inode.data.resize(at + n, 0);
        }
        inode.data[at..at + n].copy_from_slice(&bytes[..n]);
        if let Some(room) = &mut self.faults.room {
            *room -= n as u64;
        }
        Ok(n)
    }

    /// Cuts a file, or makes it longer.
    pub fn set_len(&mut self, ino: Ino, len: usize) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.data.resize(len, 0);
            inode.lost = inode.lost.filter(|(from, _)| *from < len).map(|(a, b)| (a, b.min(len)));
        }
    }

    /// Brings a file's bytes to disk.
    pub fn sync(&mut self, ino: Ino) -> io::Result<()> {
        self.syncs += 1;
        let Some(inode) = self.inodes.get_mut(&ino) else { return Ok(()) };
        if self.faults.sync_fails {
            let (from, to) = (inode.durable.len().min(inode.data.len()), inode.data.len());
            if from < to {
                inode.lost = Some(inode.lost.map_or((from, to), |(a, b)| (a.min(from), b.max(to))));
            }
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.faults.lies {
            return Ok(());
        }
        inode.durable = inode.data.clone();
        if let Some((from, to)) = inode.lost {
            let to = to.min(inode.durable.len());
            inode.durable[from.min(to)..to].fill(0);
        }
        Ok(())
    }

    /// Brings the names in a folder to disk.
    pub fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        if self.faults.sync_fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.faults.lies {
            return Ok(());
        }
        let folder = plain(path);
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let mine = change.folder() == folder;
            if mine {
                durable.apply(change);
            }
            !mine
        });
        Ok(())
    }

    /// Power fails: what is left is what comes back. Returns how many bytes are gone.
    pub fn lose_power(&mut self, prng: &mut Prng) -> u64 {
        let kept = prng.below(self.pending.len() as u64 + 1) as usize;
        for change in self.pending.drain(..).take(kept) {
            self.durable.apply(&change);
        }
        self.names = self.durable.clone();
        let mut gone = 0;
        for inode in self.inodes.values_mut() {
            let whole = inode.data.len();
            match prng.below(3) {
                0 => inode.data = inode.durable.clone(),
                1 if inode.lost.is_none() && inode.data.starts_with(&inode.durable) => {
                    let more = (inode.data.len() - inode.durable.len()) as u64;
                    let keep = inode.durable.len() + prng.below(more + 1) as usize;
                    inode.data.truncate(keep);
                }
                _ if inode.lost.is_some() => inode.data = inode.durable.clone(),
                _ => {}
            }
            gone += whole.saturating_sub(inode.data.len()) as u64;
            inode.durable = inode.data.clone();
            inode.lost = None;
        }
        let named: BTreeSet<Ino> = self.names.files.values().copied().collect();
        self.inodes.retain(|ino, _| named.contains(ino));
        self.faults = Faults { lies: self.faults.lies, ..Faults::default() };
        gone
    }

    /// The process ends and the machine goes on: nothing is lost, names of removed files are gone.
    pub fn lose_process(&mut self) {
        let named: BTreeSet<Ino> =
            self.names.files.values().chain(self.durable.files.values()).copied().collect();
        self.inodes.retain(|ino, _| named.contains(ino));
    }

    /// Removes everything: somebody has put an empty disk in.
    pub fn wipe(&mut self) {
        *self = Disk { faults: self.faults.clone(), ..Disk::default() };
    }

    /// Names and lengths, for the log of a failure.
    pub fn listing(&self) -> String {
        let shown =
            |(path, ino): (&PathBuf, &Ino)| format!("{} {}", path.display(), self.data(*ino).len());
        self.names.files.iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}
