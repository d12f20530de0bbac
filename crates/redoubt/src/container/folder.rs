//! Which folder of a volume is this node's.
//!
//! One volume may be mounted into all services of a compose file. Every node locks a folder, the
//! volume's own (`/data`) or one in it (`/data/node-1`, …), and writes into it whose it is. On the
//! next start it takes the folder that has its name. Whoever can't be told from another node gets an
//! error that names the variable to set; nobody takes another node's data, and no master that once
//! had data starts empty beside it without a word.
//!
//! The lock is flock(2): it works across the containers of one machine and ends with the process.
//! A lock file with a process id in it would be meaningless there: every container has a process 1.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file that says whose a folder is; its lock is held as long as the node runs.
const OWNER_FILE: &str = "redoubt-node";
/// Its lock is held while a folder is chosen.
const VOLUME_FILE: &str = ".redoubt-volume";
/// Most folders of a volume.
const FOLDERS_MAX: usize = 1000;
/// How long others may take to choose theirs.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a node that is just ending may keep a folder.
const ENDING: Duration = Duration::from_secs(2);

/// Who wants a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `REDOUBT_NODE_NAME`, or role, port and master.
    pub name: String,
    /// Whether a person gave the name.
    pub given: bool,
    /// Whether it is configured as a master with data of its own.
    pub master: bool,
}

/// A folder with its lock.
#[derive(Debug)]
pub struct Claim {
    /// The folder.
    pub dir: PathBuf,
    /// Something that the log should say.
    pub note: Option<String>,
    /// Holds the lock; closing it lets the folder go.
    pub lock: File,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoFolder {
    /// The volume can't be written to.
    Unwritable(io::Error),
    /// It is unclear which one it is; the text says what to do.
    Unclear(String),
}

impl From<io::Error> for NoFolder {
    fn from(error: io::Error) -> NoFolder {
        NoFolder::Unwritable(error)
    }
}

/// What a folder looks like before the choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Folder {
    /// 0 is the volume's own folder, N is `node-N`.
    number: usize,
    owner: Option<Owner>,
    /// Whether a running node has it.
    locked: bool,
    /// Whether it has files of a data set.
    data: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Owner {
    name: String,
    given: bool,
}

/// What to do with the volume.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// This folder.
    Take(usize),
    /// The first number that is free.
    New,
    /// A running node with the same name has this folder.
    SameName(usize),
    /// The data in this folder may be ours.
    MayBeOurs(usize),
}

/// Locks this node's folder of the volume `base`.
///
/// # Errors
/// When nothing can be written there, or when it is unclear which folder it is.
pub fn claim(base: &Path, who: &Identity) -> Result<Claim, NoFolder> {
    let volume = open(&base.join(VOLUME_FILE))?;
    if !lock(&volume, PATIENCE)? {
        return Err(NoFolder::Unclear(format!(
            "Another node keeps {} locked for very long.",
            base.join(VOLUME_FILE).display()
        )));
    }
    let ending = Instant::now();
    let (folders, choice) = loop {
        let folders = survey(base)?;
        let choice = choose(&folders, who);
        // A node that is being replaced ends just now.
        if !matches!(choice, Choice::SameName(_)) || ending.elapsed() > ENDING {
            break (folders, choice);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let number = match choice {
        Choice::Take(number) => number,
        Choice::New => free_number(base)?,
        Choice::SameName(number) => return Err(same_name(&path_of(base, number), who)),
        Choice::MayBeOurs(number) => {
            let owner = folders.iter().find(|folder| folder.number == number);
            let owner = owner.and_then(|folder| folder.owner.clone()).unwrap_or_default();
            return Err(may_be_ours(&path_of(base, number), &owner, who));
        }
    };
    let note = note(base, &folders, &choice, number, who);
    take(path_of(base, number), who, note)
}

fn path_of(base: &Path, number: usize) -> PathBuf {
    if number == 0 { base.to_path_buf() } else { base.join(format!("node-{number}")) }
}

/// Decides by what was found; nothing is touched here.
fn choose(folders: &[Folder], who: &Identity) -> Choice {
    let owned_by_us =
        |folder: &&Folder| folder.owner.as_ref().is_some_and(|owner| owner.name == who.name);
    if let Some(own) = folders.iter().find(owned_by_us) {
        return if own.locked { Choice::SameName(own.number) } else { Choice::Take(own.number) };
    }
    // Files without an owner come from another Redis image: they are the configured master's.
    if folders.iter().any(|f| f.number == 0 && f.owner.is_none() && (!f.data || who.master)) {
        return Choice::Take(0);
    }
    // A master by a description that nobody has: another service, or our own under new settings?
    let unclear = |folder: &&Folder| {
        folder.data
            && !folder.locked
            && folder.owner.as_ref().is_some_and(|o| !o.given && o.name.starts_with("server"))
    };
    match folders.iter().find(unclear) {
        Some(folder) if who.master && !who.given => Choice::MayBeOurs(folder.number),
        _ => Choice::New,
    }
}

/// Looks at all folders. Their locks are tried and let go: the volume's lock keeps others away.
fn survey(base: &Path) -> io::Result<Vec<Folder>> {
    let mut folders = vec![look(base, 0)?];
    for entry in std::fs::read_dir(base)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node-")?.parse().ok());
        match number {
            Some(number) if number > 0 && entry.path().join(OWNER_FILE).is_file() => {
                folders.push(look(base, number)?);
            }
            _ => {}
        }
    }
    folders.sort_by_key(|folder| folder.number);
    Ok(folders)
}

fn look(base: &Path, number: usize) -> io::Result<Folder> {
    let dir = path_of(base, number);
    let mut folder = Folder { number, data: has_data(&dir), ..Folder::default() };
    match OpenOptions::new().read(true).write(true).open(dir.join(OWNER_FILE)) {
        Ok(mut file) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            folder.owner = parse_owner(&text);
            folder.locked = !try_lock(&file)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(folder)
}

/// Files that a data server leaves.
fn has_data(dir: &Path) -> bool {
    let is_data =
        |name: &str| name.ends_with(".rdb") || name.ends_with(".aof") || name == "appendonlydir";
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.filter_map(Result::ok).any(|entry| entry.file_name().to_str().is_some_and(is_data))
    })
}

fn free_number(base: &Path) -> Result<usize, NoFolder> {
    (1..FOLDERS_MAX).find(|&number| !path_of(base, number).exists()).ok_or_else(|| {
        NoFolder::Unclear(format!("{} has {FOLDERS_MAX} nodes' folders already.", base.display()))
    })
}

fn take(dir: PathBuf, who: &Identity, note: Option<String>) -> Result<Claim, NoFolder> {
    std::fs::create_dir_all(&dir)?;
    let mut file = open(&dir.join(OWNER_FILE))?;
    if !try_lock(&file)? {
        return Err(same_name(&dir, who));
    }
    let text = owner_text(who);
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(Claim { dir, note, lock: file })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn lock(file: &File, patience: Duration) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        if try_lock(file)? {
            return Ok(true);
        }
        if begun.elapsed() > patience {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn owner_text(who: &Identity) -> String {
    let kind = if who.given { "name" } else { "service" };
    format!(
        "# Whose data this folder holds. Set REDOUBT_NODE_NAME to this text to take it over.\n{kind} {}\n",
        who.name
    )
}

/// Reads [`owner_text`]. A file that was cut short says nothing.
fn parse_owner(text: &str) -> Option<Owner> {
    let line = text.lines().find(|line| !line.starts_with('#'))?;
    let (kind, name) = line.split_once(' ')?;
    let given = match kind {
        "name" => true,
        "service" => false,
        _ => return None,
    };
    Some(Owner { name: name.to_string(), given })
}

fn same_name(dir: &Path, who: &Identity) -> NoFolder {
    let what = if who.given {
        format!("another running node has the name REDOUBT_NODE_NAME={}", who.name)
    } else {
        format!("another running node is started in the same way ({})", who.name)
    };
    NoFolder::Unclear(format!(
        "The data folder {} is in use: {what}. Nodes that share a volume must be told apart: set \
         REDOUBT_NODE_NAME to a name of its own for each of them, or give each a volume of its own.",
        dir.display()
    ))
}

fn may_be_ours(dir: &Path, owner: &Owner, who: &Identity) -> NoFolder {
    NoFolder::Unclear(format!(
        "The data folder {} holds the data of a node that does not run now and was started in \
         another way ({}; this one: {}). If it is this node with new settings, set \
         REDOUBT_NODE_NAME=\"{}\" to go on with that data; if it is another node, set \
         REDOUBT_NODE_NAME to a name of this node's own to start empty.",
        dir.display(),
        owner.name,
        who.name,
        owner.name
    ))
}

/// What the log should say about the choice.
fn note(
    base: &Path,
    folders: &[Folder],
    choice: &Choice,
    number: usize,
    who: &Identity,
) -> Option<String> {
    let dir = path_of(base, number);
    match choice {
        Choice::New => Some(format!(
            "The volume {} has other nodes' folders; this node ({}) has {}.",
            base.display(),
            who.name,
            dir.display()
        )),
        Choice::Take(0) if folders.iter().any(|f| f.number == 0 && f.owner.is_none() && f.data) => {
            Some(format!(
                "{} holds files of an earlier server; they are taken for this node's ({}).",
                dir.display(),
                who.name
            ))
        }
        _ if number > 0 => Some(format!("This node's data folder is {}.", dir.display())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Claim, Folder, Identity, NoFolder, Owner, choose, claim, parse_owner};
    use std::path::PathBuf;

    fn who(name: &str) -> Identity {
        let master = name.starts_with("server") && !name.contains("replica");
        Identity { name: name.into(), given: false, master }
    }

    fn named(name: &str) -> Identity {
        Identity { name: name.into(), given: true, master: true }
    }

    fn folder(number: usize, owner: &str, locked: bool, data: bool) -> Folder {
        let owner = (!owner.is_empty()).then(|| Owner { name: owner.into(), given: false });
        Folder { number, owner, locked, data }
    }

    const MASTER: &str = "server port 6379";
    const REPLICA: &str = "server port 6379 replica of redis 6379";

    #[test]
    fn choices() {
        let cases = [
            ("an empty volume", vec![folder(0, "", false, false)], who(REPLICA), Choice::Take(0)),
            ("its own", vec![folder(0, REPLICA, false, true)], who(REPLICA), Choice::Take(0)),
            ("old files, master", vec![folder(0, "", false, true)], who(MASTER), Choice::Take(0)),
            ("old files, replica", vec![folder(0, "", false, true)], who(REPLICA), Choice::New),
            ("old files, sentinel", vec![folder(0, "", false, true)], who("sentinel"), Choice::New),
            ("another's, running", vec![folder(0, MASTER, true, true)], who(REPLICA), Choice::New),
            ("a master beside it", vec![folder(0, REPLICA, true, true)], who(MASTER), Choice::New),
            ("the same", vec![folder(0, MASTER, true, true)], who(MASTER), Choice::SameName(0)),
            (
                "a master whose settings may have changed",
                vec![folder(0, "server port 6380", false, true)],
                who(MASTER),
                Choice::MayBeOurs(0),
            ),
            (
                "a name is no guess",
                vec![folder(0, "server port 6380", false, true)],
                named("b"),
                Choice::New,
            ),
            (
                "taking over by name",
                vec![folder(0, "server port 6380", false, true)],
                named("server port 6380"),
                Choice::Take(0),
            ),
            ("nothing to lose", vec![folder(0, REPLICA, false, false)], who(MASTER), Choice::New),
            (
                "one of several",
                vec![folder(0, "sentinel", false, false), folder(2, MASTER, false, true)],
                who(MASTER),
                Choice::Take(2),
            ),
        ];
        for (what, folders, identity, expected) in cases {
            assert_eq!(choose(&folders, &identity), expected, "{what}");
        }
    }

    /// A folder for one test, gone after it.
    struct Volume(PathBuf);

    impl Volume {
        fn new(name: &str) -> Volume {
            let path =
                std::env::temp_dir().join(format!("redoubt-volume-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("a temporary folder");
            Volume(path)
        }

        fn claim(&self, name: &str) -> Claim {
            claim(&self.0, &who(name)).unwrap_or_else(|error| panic!("{name}: {error:?}"))
        }
    }

    impl Drop for Volume {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_node_finds_its_own_again() {
        let volume = Volume::new("again");
        let names = [REPLICA, MASTER, "sentinel port 26379", "sentinel port 26380"];
        let first: Vec<(String, PathBuf, Claim)> = names
            .iter()
            .map(|name| {
                let claim = volume.claim(name);
                (name.to_string(), claim.dir.clone(), claim)
            })
            .collect();
        assert_eq!(first[0].1, volume.0);
        assert_eq!(first[3].1, volume.0.join("node-3"));
        let mut places: Vec<(String, PathBuf)> =
            first.into_iter().map(|(name, dir, _claim)| (name, dir)).collect();
        for round in 0..10 {
            places.rotate_left(round % 3 + 1);
            let claims: Vec<Claim> = places
                .iter()
                .map(|(name, dir)| {
                    let claim = volume.claim(name);
                    assert_eq!(claim.dir, *dir, "{name}");
                    claim
                })
                .collect();
            drop(claims);
        }
    }

    #[test]
    fn two_of_a_kind_get_an_error_with_the_variable() {
        let volume = Volume::new("twins");
        let first = volume.claim(MASTER);
        match claim(&volume.0, &who(MASTER)) {
            Err(NoFolder::Unclear(why)) => assert!(why.contains("set REDOUBT_NODE_NAME"), "{why}"),
            other => panic!("{other:?}"),
        }
        drop(first);
        volume.claim(MASTER);
    }

    #[test]
    fn damaged_owner_files_belong_to_nobody() {
        for text in ["", "#", "# c\nnam", "name", "service", "x y", "\n\n"] {
            assert_eq!(parse_owner(text), None, "{text:?}");
        }
        let owner = Owner { name: "a b".into(), given: true };
        assert_eq!(parse_owner("# c\nname a b\n"), Some(owner));
    }
}
