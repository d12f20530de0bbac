//! Client libraries that do not come with the Python environment: Node's, redis-rs, and redis-py's sources with its tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, run};

/// Folders with a package.json of pinned versions, below `tests/e2e/libs`, and the variable that says where they are installed.
const NODE_FOLDERS: &[(&str, &str)] = &[("js", "E2E_NODE"), ("redlock", "E2E_NODE_REDLOCK")];

/// Installs the libraries, and tells the tests where they are.
pub fn environment(command: &mut Command, python: &Path) -> Result<()> {
    node_is_new_enough()?;
    for (folder, variable) in NODE_FOLDERS {
        command.env(variable, node_packages(folder)?);
    }
    command.env("E2E_REDIS_PY", redis_py_sources(python)?);
    command.env("E2E_REDIS_RS", redis_rs_program()?);
    Ok(())
}

/// The program that works with redis-rs; a package outside the workspace, so that only these tests build it.
fn redis_rs_program() -> Result<PathBuf> {
    let home = paths::target().join("e2e-redis-rs");
    run::must(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(paths::root().join("tests/e2e/libs/rust/Cargo.toml"))
            .arg("--target-dir")
            .arg(&home),
    )?;
    Ok(home.join("debug/redis-rs-work"))
}

/// The libraries of today ask for this version of Node.
const NODE_MAJOR: u32 = 20;

fn node_is_new_enough() -> Result<()> {
    let shown = Command::new("node").arg("--version").output().context("node --version")?;
    let text = String::from_utf8_lossy(&shown.stdout);
    let major =
        text.trim().trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR => Ok(()),
        _ => bail!("Node {NODE_MAJOR} or newer is needed, and this is {}", text.trim()),
    }
}

/// A folder with the packages of one package.json; made anew when that changes.
fn node_packages(folder: &str) -> Result<PathBuf> {
    let pins = paths::root().join("tests/e2e/libs").join(folder).join("package.json");
    let wanted = std::fs::read_to_string(&pins)?;
    let home = paths::target().join(format!("e2e-node-{folder}"));
    let stamp = home.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(home);
    }
    let _ = std::fs::remove_dir_all(&home);
    std::fs::create_dir_all(&home)?;
    std::fs::write(home.join("package.json"), &wanted)?;
    // No package here needs a script of its own to be installed.
    run::must(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
            .current_dir(&home),
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(home)
}

/// The unpacked source package of redis-py, in the version of the Python environment.
fn redis_py_sources(python: &Path) -> Result<PathBuf> {
    let pins = std::fs::read_to_string(paths::root().join("tests/e2e/requirements.txt"))?;
    let pin =
        pins.lines().find(|line| line.starts_with("redis==")).context("redis is not pinned")?;
    let home = paths::target().join("e2e-redis-py");
    let sources = home.join(pin.replace("==", "-"));
    if sources.join("tests").is_dir() {
        return Ok(sources);
    }
    let _ = std::fs::remove_dir_all(&home);
    std::fs::create_dir_all(&home)?;
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-binary",
        ":all:",
    ];
    run::must(Command::new(python).args(pip).arg(pin).arg("-d").arg(&home))?;
    let package = home.join(format!("{}.tar.gz", pin.replace("==", "-")));
    run::must(Command::new(python).args(["-m", "tarfile", "-e"]).arg(&package).arg(&home))?;
    if !sources.join("tests").is_dir() {
        bail!("{pin} has no tests in its source package");
    }
    Ok(sources)
}
