//! `cargo xtask e2e docker`: the image and the examples, with a real Docker engine.
//!
//! An engine that runs is used. Otherwise one is installed and started with a data folder, a socket and
//! a network of its own, and ended by its process id. Where none can be started the part is skipped, and
//! the summary says why. No image is downloaded: the Dockerfile's last stage is `FROM scratch`, and what
//! the stage before it would build is laid out here, by the same script.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{self, Counts};
use crate::{e2e, paths};

/// The image under test.
const IMAGE: &str = "redoubt:e2e";
/// Addresses of the engine's own bridge, away from the usual ones.
const BRIDGE: &str = "172.31.250.1/24";
/// How long the engine may take to start or end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What has become of the part.
pub enum Outcome {
    /// The tests ran; false when they failed.
    Ran(Counts, bool),
    /// No engine, for this reason.
    Skipped(String),
}

/// Builds the image, brings up the examples, does their steps.
pub fn run() -> Result<Outcome> {
    e2e::install_tools()?;
    let folder = std::env::temp_dir().join(format!("redoubt-docker-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = match Engine::get(&folder) {
        Ok(engine) => {
            let outcome = test(&engine, &folder);
            engine.end();
            outcome.map(|(counts, fine)| Outcome::Ran(counts, fine))
        }
        Err(why) => Ok(Outcome::Skipped(format!("{why:#}"))),
    };
    // What an engine leaves mounted is nothing of ours; the next boot takes the rest away.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

fn test(engine: &Engine, folder: &Path) -> Result<(Counts, bool)> {
    let binary = e2e::build_product()?;
    build_image(engine, &binary, &folder.join("image"))?;
    let python = e2e::python_environment()?;
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "tests/docker"]).current_dir(paths::root());
    command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("REDOUBT_IMAGE", IMAGE).env("COMPOSE", compose());
    let cache = paths::target().join("docker-cache");
    std::fs::create_dir_all(&cache)?;
    command.env("DOCKER_CACHE", cache);
    engine.point(&mut command);
    let tested = run::counted(&mut command);
    let _ = engine.docker(&["image", "rm", "--force", IMAGE]).output();
    tested
}

/// The last stage of the Dockerfile, over a folder that holds what its first stage would have built.
fn build_image(engine: &Engine, binary: &Path, folder: &Path) -> Result<()> {
    let root = folder.join("root");
    std::fs::create_dir_all(&root)?;
    run::must(Command::new(paths::root().join("docker/root.sh")).arg(binary).arg(&root))?;
    add_libraries(binary, &root)?;
    let archive = folder.join("root.tar");
    run::must(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg("."))?;
    std::fs::remove_dir_all(&root)?;
    let stages = std::fs::read_to_string(paths::root().join("Dockerfile"))?;
    let last = stages.rfind("FROM scratch").context("the Dockerfile has a stage from scratch")?;
    let wanted = "COPY --from=build /image/ /";
    let stage = &stages[last..];
    anyhow::ensure!(stage.contains(wanted), "the Dockerfile's last stage has no `{wanted}`");
    // An archive keeps its owners; a copied folder would be root's.
    let stage = stage.replace(wanted, "ADD root.tar /");
    std::fs::write(folder.join("Dockerfile"), stage)?;
    let mut build = engine.docker(&["build", "--quiet", "--tag", IMAGE, "."]);
    run::must(build.env("DOCKER_BUILDKIT", "0").current_dir(folder))
}

/// A binary for this machine is linked to its libraries; the one of the Dockerfile is not.
fn add_libraries(binary: &Path, root: &Path) -> Result<()> {
    let listed = Command::new("ldd").arg(binary).output().context("ldd")?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .collect();
    println!("the binary needs {} libraries of this machine", libraries.len());
    for library in libraries {
        let to = root.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap_or(root))?;
        std::fs::copy(library, &to).with_context(|| format!("copying {library}"))?;
    }
    Ok(())
}

/// The newer form of the tool where it exists.
fn compose() -> &'static str {
    let probe = Command::new("docker").args(["compose", "version"]).output();
    if probe.is_ok_and(|done| done.status.success()) { "docker compose" } else { "docker-compose" }
}

/// A Docker engine: one that ran already, or our own.
struct Engine {
    /// Socket and process of our own engine.
    own: Option<(PathBuf, Child)>,
}

impl Engine {
    /// Finds or starts an engine.
    fn get(folder: &Path) -> Result<Engine> {
        let running = Engine { own: None };
        let compose_is_there = |name: &str| Command::new(name).arg("version").output().is_ok();
        if running.answers()
            && (compose() == "docker compose" || compose_is_there("docker-compose"))
        {
            return Ok(running);
        }
        if !rustix::process::geteuid().is_root() {
            bail!("no Docker engine runs, and only root can start one");
        }
        let have = |name: &str| e2e::have(name);
        if !have("dockerd") || !have("docker-compose") || !have("iptables") {
            let packages = ["docker.io", "docker-compose", "iptables"];
            e2e::apt(&["update"])?;
            e2e::apt(&[&["install", "--yes", "--no-install-recommends"], &packages[..]].concat())?;
        }
        if running.answers() {
            return Ok(running);
        }
        Engine::start(folder)
    }

    fn start(folder: &Path) -> Result<Engine> {
        let socket = folder.join("socket");
        let log = std::fs::File::create(folder.join("log"))?;
        let child = Command::new("dockerd")
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("pid"))
            .args(["--bip", BRIDGE, "--host"])
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting dockerd")?;
        let mut engine = Engine { own: Some((socket, child)) };
        let begun = Instant::now();
        while !engine.answers() {
            let ended = match &mut engine.own {
                Some((_, child)) => child.try_wait()?.is_some(),
                None => false,
            };
            if ended || begun.elapsed() > PATIENCE {
                engine.end();
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                bail!("the Docker engine does not start here: {last}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(engine)
    }

    /// A Docker command for this engine.
    fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(args);
        self.point(&mut command);
        command
    }

    fn point(&self, command: &mut Command) {
        if let Some((socket, _)) = &self.own {
            command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        }
    }

    fn answers(&self) -> bool {
        self.docker(&["info"]).output().is_ok_and(|done| done.status.success())
    }

    /// Ends our own engine.
    fn end(self) {
        let Some((_, mut child)) = self.own else { return };
        if let Ok(pid) = i32::try_from(child.id())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
