//! How other shells reach a running `up`: one JSON line each way over a unix socket in the data
//! folder. Only the owner of the folder can reach the socket; nothing secret crosses it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::snapshot::Snapshot;
use super::supervisor::Message;

/// A longer request is none.
const REQUEST_MAX: u64 = 64 << 10;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// What fits into a socket's address, with room for the terminating zero.
const ADDRESS_MAX: usize = 100;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// A snapshot.
    Status,
    /// SIGKILL
    Kill,
    /// SIGSTOP
    Pause,
    /// SIGCONT
    Resume,
    /// Start again.
    Start,
    /// Stop everything.
    Down,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What to do.
    pub verb: Verb,
    /// To whom.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// Its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Done, or what there is.
    pub lines: Vec<String>,
    /// What could not be done, and what to do instead.
    pub errors: Vec<String>,
    /// For [`Verb::Status`].
    pub snapshot: Option<Snapshot>,
}

/// A path by which a socket can be reached, however deep its folder: a long one goes through the
/// folder's descriptor, which has to stay open meanwhile.
fn short_path(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= ADDRESS_MAX {
        return Ok((path.to_owned(), None));
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok((path, Some(dir)))
}

/// Takes requests from now on and hands them to the supervisor. The caller holds the folder's
/// lock, so a socket that is there is a dead one.
pub fn serve(layout: &Layout, to: Sender<Message>) -> io::Result<()> {
    let path = layout.socket();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (short, _dir) = short_path(&path)?;
    let listener = UnixListener::bind(short)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let to = to.clone();
            std::thread::spawn(move || {
                // Whoever asked has left, or asked nonsense: nothing to do for them.
                let _ = answer(stream, &to);
            });
        }
    });
    Ok(())
}

fn answer(mut stream: UnixStream, to: &Sender<Message>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?.take(REQUEST_MAX)).read_line(&mut line)?;
    let response = match serde_json::from_str(&line) {
        Ok(request) => {
            let (reply, replies) = channel();
            to.send(Message::Control(request, reply)).map_err(io::Error::other)?;
            replies.recv_timeout(PATIENCE).map_err(io::Error::other)?
        }
        Err(error) => {
            Response { errors: vec![format!("not a request: {error}")], ..Response::default() }
        }
    };
    let mut text = serde_json::to_string(&response)?;
    text.push('\n');
    stream.write_all(text.as_bytes())
}

/// Asks the `up` that runs on the folder; `None` if none does.
pub fn ask(layout: &Layout, request: &Request) -> io::Result<Option<Response>> {
    let (path, _dir) = match short_path(&layout.socket()) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        // It was about to end.
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_reach_the_supervisor_also_in_deep_folders() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a".to_owned(), "deep/".repeat(40)] {
            let layout = Layout::new(&dir.path().join(name)).unwrap();
            layout.create().unwrap();
            let request = Request { verb: Verb::Kill, nodes: vec!["node-1".into()] };
            assert_eq!(ask(&layout, &request).unwrap(), None);
            let (to, from) = channel();
            serve(&layout, to).unwrap();
            let expected = request.clone();
            std::thread::spawn(move || {
                while let Ok(Message::Control(request, reply)) = from.recv() {
                    assert_eq!(request, expected);
                    let lines = vec!["done".to_owned()];
                    reply.send(Response { lines, ..Response::default() }).unwrap();
                }
            });
            assert_eq!(ask(&layout, &request).unwrap().unwrap().lines, ["done"]);
            let (path, _dir) = short_path(&layout.socket()).unwrap();
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(b"nonsense\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.contains("not a request"));
        }
    }
}
