//! Files as `std::fs` has them, on the simulated disk of the caller's machine.

use super::disk::Ino;
use super::turns;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Longest time of a usual call, microseconds.
const CALL_US: u64 = 15;
/// Longest time of a usual sync.
const SYNC_US: u64 = 2_000;

/// A call of the file system: it takes its time, and has no effect for a process that died.
fn call<R>(us: u64, f: impl FnOnce(&mut super::disk::Disk) -> io::Result<R>) -> io::Result<R> {
    if turns::is_dead() {
        return Err(io::Error::other("the process has died"));
    }
    turns::spend_below(us);
    loop {
        let (now, until) =
            turns::with(|state, proc| (state.now_us, state.procs[proc].disk.faults.stalled_until));
        if turns::me().is_none() || now >= until {
            break;
        }
        turns::spend(until - now);
    }
    turns::with(|state, proc| f(&mut state.procs[proc].disk))
}

enum What {
    File(Ino),
    Folder(PathBuf),
    Random,
}

/// An open file.
pub struct File {
    what: What,
    at: usize,
    append: bool,
}

impl File {
    /// Opens for reading.
    pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        if path == Path::new("/dev/urandom") {
            return Ok(File { what: What::Random, at: 0, append: false });
        }
        let what = call(CALL_US, |disk| {
            if disk.is_folder(path) {
                return Ok(What::Folder(path.to_path_buf()));
            }
            disk.open(path, false, false).map(What::File)
        })?;
        Ok(File { what, at: 0, append: false })
    }

    /// Makes an empty file.
    pub fn create(path: impl AsRef<Path>) -> io::Result<File> {
        let ino = call(CALL_US, |disk| disk.open(path.as_ref(), true, true))?;
        Ok(File { what: What::File(ino), at: 0, append: false })
    }

    fn ino(&self) -> io::Result<Ino> {
        match self.what {
            What::File(ino) => Ok(ino),
            _ => Err(io::Error::from_raw_os_error(21)),
        }
    }

    /// Its length.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let ino = self.ino()?;
        call(1, |disk| Ok(Metadata { len: Some(disk.data(ino).len() as u64) }))
    }

    /// Cuts it.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        let ino = self.ino()?;
        call(CALL_US, |disk| {
            disk.set_len(ino, len as usize);
            Ok(())
        })
    }

    /// Brings it to disk.
    pub fn sync_all(&self) -> io::Result<()> {
        match &self.what {
            What::File(ino) => call(SYNC_US, |disk| disk.sync(*ino)),
            What::Folder(path) => call(SYNC_US, |disk| disk.sync_folder(path)),
            What::Random => Ok(()),
        }
    }

    /// Brings its bytes to disk. What was written while the call lasts may not be among them: those
    /// that were there at its beginning are.
    pub fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Read for File {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ino = match self.what {
            What::Random => {
                turns::with(|state, _| out.fill_with(|| state.prng.next_u64() as u8));
                return Ok(out.len());
            }
            _ => self.ino()?,
        };
        let n = call(CALL_US, |disk| {
            let data = disk.data(ino);
            let from = self.at.min(data.len());
            let n = out.len().min(data.len() - from);
            out[..n].copy_from_slice(&data[from..from + n]);
            Ok(n)
        })?;
        self.at += n;
        Ok(n)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ino = self.ino()?;
        let at = (!self.append).then_some(self.at);
        let n = call(CALL_US, |disk| disk.write(ino, at, bytes))?;
        self.at += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Start(at) => self.at = at as usize,
            SeekFrom::Current(by) => self.at = (self.at as i64 + by).max(0) as usize,
            SeekFrom::End(by) => {
                let len = self.metadata()?.len() as i64;
                self.at = (len + by).max(0) as usize;
            }
        }
        Ok(self.at as u64)
    }
}

/// How a file is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    append: bool,
    create: bool,
    truncate: bool,
}

impl OpenOptions {
    /// As std's.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }
    /// As std's.
    pub fn append(&mut self, on: bool) -> &mut Self {
        self.append = on;
        self
    }
    /// As std's.
    pub fn create(&mut self, on: bool) -> &mut Self {
        self.create = on;
        self
    }
    /// As std's.
    pub fn write(&mut self, _: bool) -> &mut Self {
        self
    }
    /// As std's.
    pub fn read(&mut self, _: bool) -> &mut Self {
        self
    }
    /// As std's.
    pub fn truncate(&mut self, on: bool) -> &mut Self {
        self.truncate = on;
        self
    }
    /// As std's.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let ino = call(CALL_US, |disk| disk.open(path.as_ref(), self.create, self.truncate))?;
        Ok(File { what: What::File(ino), at: 0, append: self.append })
    }
}

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    len: Option<u64>,
}

impl Metadata {
    /// Bytes.
    #[allow(clippy::len_without_is_empty)] // As std's.
    pub fn len(&self) -> u64 {
        self.len.unwrap_or(0)
    }
    /// A folder.
    pub fn is_dir(&self) -> bool {
        self.len.is_none()
    }
    /// A file.
    pub fn is_file(&self) -> bool {
        self.len.is_some()
    }
}

/// As std's.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    call(1, |disk| {
        if disk.is_folder(path) {
            return Ok(Metadata { len: None });
        }
        let ino = disk.open(path, false, false)?;
        Ok(Metadata { len: Some(disk.data(ino).len() as u64) })
    })
}

/// As std's.
pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
    Ok(metadata(path).is_ok())
}

/// As std's.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As std's.
pub fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    call(CALL_US, |disk| disk.make_folder(path.as_ref()))
}

/// As std's.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    call(CALL_US, |disk| disk.rename(from.as_ref(), to.as_ref()))
}

/// As std's.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    call(CALL_US, |disk| disk.remove(path.as_ref()))
}
