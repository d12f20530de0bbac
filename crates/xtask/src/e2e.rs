//! `cargo xtask e2e`: the end-to-end tests, with everything that they need installed first.
//!
//! The tests themselves are Python (`tests/e2e`), for they drive redis-py and real Redis programs. A missing tool is an error,
//! never a reason to leave a test out. `cargo xtask e2e libs-full` runs the whole test-suites of client libraries, of which
//! the other runs take a part.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

mod libs;

use crate::paths;
use crate::run::{self, Counts};

/// What the command line says.
#[derive(clap::Args, Default)]
pub struct Options {
    /// Only tests whose name fits (pytest's -k); `docker`: the image and the examples; `libs-full`: the whole test-suites of
    /// client libraries.
    filter: Option<String>,
    /// `redoubt`, or `redis` to prove the tests themselves against real Redis.
    #[arg(long, default_value = "redoubt")]
    against: String,
    /// Further arguments for pytest.
    #[arg(last = true)]
    pytest: Vec<String>,
}

impl Options {
    /// All tests against the product.
    pub fn all() -> Options {
        Options { against: "redoubt".into(), ..Options::default() }
    }

    /// True for the tests that need a Docker engine, which are apart from the others.
    pub fn is_docker(&self) -> bool {
        self.filter.as_deref() == Some("docker")
    }
}

/// Runs the tests.
pub fn run(options: &Options) -> Result<(Counts, bool)> {
    install_tools()?;
    let python = python_environment()?;
    let mut command = Command::new(&python);
    command.args(["-m", "pytest", "tests/e2e"]).current_dir(paths::root());
    command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    product_environment(&mut command, &options.against)?;
    libs::environment(&mut command, &python)?;
    match options.filter.as_deref() {
        Some("libs-full") => {
            command.args(["-k", "test_lib_"]).env("E2E_LIBS_FULL", "1");
        }
        Some(filter) => {
            command.args(["-k", filter]);
        }
        // Many tests wait more than they work: two files of them at a time.
        None => {
            command.args(["-n", "2", "--dist", "loadfile"]);
        }
    }
    command.args(&options.pytest);
    let (counts, fine) = run::counted(&mut command)?;
    if counts == Counts::default() {
        bail!("no end-to-end test ran");
    }
    Ok((counts, fine))
}

/// Sets what the Python harness reads; builds the product if it is the one under test.
pub fn product_environment(command: &mut Command, against: &str) -> Result<()> {
    command.env("E2E_AGAINST", against).env("E2E_RUNS", paths::target().join("e2e-runs"));
    match against {
        "redis" => {}
        "redoubt" => {
            let binary = build_product()?;
            command.env("REDOUBT_LINKS", make_links(&binary)?).env("REDOUBT_BIN", binary);
        }
        other => bail!("--against {other}: it must be redoubt or redis"),
    }
    Ok(())
}

/// The release build, unless REDOUBT_BIN names another binary.
pub fn build_product() -> Result<PathBuf> {
    let binary = paths::redoubt_binary();
    if std::env::var_os("REDOUBT_BIN").is_none() {
        run::must(
            Command::new("cargo")
                .args(["build", "--release", "--locked", "--package", "redoubt"])
                .current_dir(paths::root()),
        )?;
    }
    binary.canonicalize().with_context(|| format!("{} does not exist", binary.display()))
}

/// A folder with links named as Redis's programs.
fn make_links(binary: &Path) -> Result<PathBuf> {
    let links = paths::target().join("e2e-links");
    std::fs::create_dir_all(&links)?;
    for name in ["redis-server", "redis-sentinel"] {
        let link = links.join(name);
        if link.read_link().is_ok_and(|target| target == binary) {
            continue;
        }
        let _ = std::fs::remove_file(&link);
        symlink(binary, &link).with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(links)
}

/// Debian's packages, when one of their programs is missing.
pub fn install_tools() -> Result<()> {
    let tools = [
        ("redis-server", "redis-server"),
        ("redis-sentinel", "redis-sentinel"),
        ("redis-cli", "redis-tools"),
        ("redis-benchmark", "redis-tools"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("python3", "python3"),
        ("node", "nodejs"),
        ("npm", "npm"),
        ("prometheus-redis-exporter", "prometheus-redis-exporter"),
    ];
    let mut packages: Vec<&str> =
        tools.iter().filter(|(tool, _)| !have(tool)).map(|(_, package)| *package).collect();
    let venv_works = || {
        let probe = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
        probe.is_ok_and(|done| done.status.success())
    };
    if !venv_works() {
        packages.push("python3-venv");
    }
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat())?;
    match tools.iter().find(|(tool, _)| !have(tool)) {
        Some((tool, package)) => bail!("{tool} is still missing after installing {package}"),
        None => Ok(()),
    }
}

/// Runs apt-get, as root.
pub fn apt(args: &[&str]) -> Result<()> {
    let mut command = match rustix::process::geteuid().is_root() {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg("apt-get");
            sudo
        }
    };
    // A freshly installed Debian package must not start a server on the usual port.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").args(args);
    run::must(&mut command)
}

/// Whether a program is installed.
pub fn have(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's administrator tools are not on every user's path.
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|dir| dir.join(tool).is_file())
}

/// A Python environment with the pinned packages; made anew when the pins change.
pub fn python_environment() -> Result<PathBuf> {
    let venv = paths::target().join("e2e-venv");
    let python = venv.join("bin/python");
    let pins = paths::root().join("tests/e2e/requirements.txt");
    let wanted = std::fs::read_to_string(&pins)?;
    let stamp = venv.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    run::must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run::must(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(&pins),
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}
