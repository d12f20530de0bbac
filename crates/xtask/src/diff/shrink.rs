//! Makes the history of a difference short: replays it on empty servers and leaves out what is not needed.

use anyhow::Result;

use super::compare::Compare;
use super::session::{Mismatch, Sent, Session, Step};

/// At most this many replays for one difference.
const TRIES: usize = 300;

/// The commands that still lead to the difference; `None` when a replay does not show it at all.
pub fn shrink(session: &mut Session, mismatch: &Mismatch) -> Result<Option<Vec<Sent>>> {
    let proto = session.proto;
    session.proto = mismatch.setting.0;
    let shrunk = shrink_history(session, mismatch);
    session.proto = proto;
    session.reset()?;
    shrunk
}

fn shrink_history(session: &mut Session, mismatch: &Mismatch) -> Result<Option<Vec<Sent>>> {
    let mut kept = mismatch.history.clone();
    if !shows(session, mismatch, &kept)? {
        return Ok(None);
    }
    let mut tries = 0;
    let mut chunk = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < kept.len() && tries < TRIES {
            let end = (at + chunk).min(kept.len());
            let mut fewer = kept.clone();
            fewer.drain(at..end);
            tries += 1;
            if shows(session, mismatch, &fewer)? {
                kept = fewer;
            } else {
                at = end;
            }
        }
        if chunk == 1 || tries >= TRIES {
            return Ok(Some(kept));
        }
        chunk = chunk.div_ceil(2);
    }
}

/// Replays `history` and the command on empty servers: does the difference show?
fn shows(session: &mut Session, mismatch: &Mismatch, history: &[Sent]) -> Result<bool> {
    session.reset()?;
    let before = session.mismatches.len();
    let mut steps: Vec<Step> = history
        .iter()
        .filter(|sent| replayable(&sent.args))
        .map(|sent| Step { args: sent.args.to_vec(), compare: Compare::Kind })
        .collect();
    // The way there is not compared: only the command itself counts.
    for chunk in steps.chunks_mut(200) {
        session.pipeline(chunk)?;
    }
    session.mismatches.truncate(before);
    session.pipeline(&[Step { args: mismatch.args.clone(), compare: mismatch.compare.clone() }])?;
    let shown = session.mismatches.len() > before;
    session.mismatches.truncate(before);
    Ok(shown)
}

/// False for what would change the number of replies or the connection.
fn replayable(args: &[Vec<u8>]) -> bool {
    let name = args.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let muting = args.get(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"reply"));
    match name.as_slice() {
        b"subscribe" | b"psubscribe" | b"monitor" | b"quit" | b"reset" | b"spop" => false,
        b"client" => !muting,
        _ => true,
    }
}
