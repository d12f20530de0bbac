//! The lines to type to try a set-up, as it is now.

use std::path::{Path, PathBuf};

use super::layout;
use super::options::DEFAULT_DIR;
use super::snapshot::Snapshot;

/// What to type, one line each, without indentation.
pub fn lines(snapshot: &Snapshot) -> Vec<String> {
    let program = program();
    let node = snapshot
        .nodes
        .iter()
        .find(|node| Some(&node.member.name) == snapshot.master.as_ref())
        .or(snapshot.nodes.first())
        .map_or(0, |node| node.member.port);
    let sentinel = snapshot.sentinels.first().map_or(0, |sentinel| sentinel.member.port);
    let name = &snapshot.master_name;
    let dir = dir_option(&snapshot.dir);
    let mut lines = Vec::new();
    if snapshot.password {
        lines.push("export REDISCLI_AUTH='the password'   # for all lines below".into());
    }
    lines.push(format!("redis-cli -p {node} set greeting hello"));
    lines.push(format!("{program} cli -p {sentinel} sentinel get-master-addr-by-name {name}"));
    lines.push(python(snapshot));
    lines.push(format!("{program} kill{dir} master   # a replica takes over"));
    lines.push(format!("{program} status{dir}   # who is who now"));
    if let Some(master) = &snapshot.master {
        lines.push(format!(
            "{program} start{dir} {master}   # the old master comes back as a replica"
        ));
    }
    lines.push(format!("{program} down{dir}   # stop everything, keep the data"));
    lines
}

/// A client that asks the sentinels where the master is.
fn python(snapshot: &Snapshot) -> String {
    let sentinels: Vec<String> = snapshot
        .sentinels
        .iter()
        .map(|sentinel| format!("(\"127.0.0.1\", {})", sentinel.member.port))
        .collect();
    let (import, asked, used) = if snapshot.password {
        (
            "import os; p = os.environ[\"REDISCLI_AUTH\"]; ",
            ", sentinel_kwargs={\"password\": p}",
            ", password=p",
        )
    } else {
        ("", "", "")
    };
    format!(
        "python3 -c '{import}from redis.sentinel import Sentinel; m = Sentinel([{}]{asked})\
         .master_for(\"{}\"{used}); m.set(\"greeting\", \"hello\"); print(m.get(\"greeting\"))'",
        sentinels.join(", "),
        snapshot.master_name
    )
}

/// What to type to run this program: its bare name if the search path leads here, else its path.
pub fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "redoubt".into() };
    let name = own.file_name().unwrap_or_default();
    let found = std::env::var_os("PATH").is_some_and(|path| leads_to(&path, Path::new(name), &own));
    if found { name.to_string_lossy().into_owned() } else { layout::display(&own) }
}

fn leads_to(path: &std::ffi::OsStr, name: &Path, own: &Path) -> bool {
    let first = std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.exists());
    first.and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == own)
}

/// ` --dir DIR`, or nothing for the default folder below the current one.
fn dir_option(dir: &str) -> String {
    let default = std::env::current_dir().map(|here| here.join(DEFAULT_DIR));
    if default.is_ok_and(|default| default == Path::new(dir)) {
        return String::new();
    }
    let shown = layout::display(&PathBuf::from(dir));
    let plain = shown.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if plain {
        format!(" --dir {shown}")
    } else {
        format!(" --dir '{}'", shown.replace('\'', "'\\''"))
    }
}
