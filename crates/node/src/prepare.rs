//! What can be told of a request before it runs: its command, and where its key lives.
//!
//! A worker prepares all requests that one read has brought, so that the processor loads what they
//! will touch while it still works on others. Nothing here depends on what runs in between: a
//! request that is prepared and never run has done nothing.

use crate::registry::{CommandRef, registry};
use crate::{Node, Session};
use commands::CommandError;
use keyspace::Place;
use resp::{Args, Batch};
use std::sync::atomic::Ordering::Relaxed;

/// What is known of a request before it runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prepared {
    /// Its command, if there is such a one.
    pub command: Option<CommandRef>,
    /// Where its key lives, if it has just one at a fixed place.
    pub(crate) place: Option<Place>,
    /// The connection's database at that moment: a SELECT in between only spoils the prefetch.
    db: usize,
}

impl Node {
    /// Prepares one request. `last` is a guess at its command.
    #[inline]
    pub(crate) fn prepare(&self, db: usize, args: &Args<'_>, last: Option<CommandRef>) -> Prepared {
        let Some(name) = args.get(0) else { return Prepared::default() };
        let command = match last {
            Some(last) if last.is_plain && last.spec.name.as_bytes().eq_ignore_ascii_case(name) => {
                Some(last)
            }
            _ => self.find_command(args),
        };
        let key = command
            .filter(|command| command.single_key != 0)
            .and_then(|command| args.get(command.single_key));
        Prepared { command, db, place: key.map(|key| self.keyspace.place_of(key)) }
    }

    /// Prepares a connection's requests, which were cut from `bytes`.
    pub fn prepare_batch(
        &self,
        session: &Session,
        batch: &Batch,
        bytes: &[u8],
        out: &mut Vec<Prepared>,
    ) {
        out.clear();
        let mut last = self.last_command(session);
        for index in 0..batch.len() {
            let prepared = self.prepare(session.db, &batch.args(index, bytes), last);
            last = prepared.command;
            out.push(prepared);
        }
    }

    /// Starts loading what prepared requests will read. Pays off for more than one.
    pub fn prefetch<'p>(&self, requests: impl Iterator<Item = &'p Prepared> + Clone) {
        self.keyspace
            .prefetch(requests.filter_map(|prepared| Some((prepared.db, prepared.place?))));
    }

    /// The command that the connection has run last.
    #[inline]
    pub(crate) fn last_command(&self, session: &Session) -> Option<CommandRef> {
        registry().by_index.get(session.info.last_command.load(Relaxed) as usize).copied()
    }

    pub(crate) fn find_command(&self, args: &Args<'_>) -> Option<CommandRef> {
        let command = registry().find(args.at(0)).filter(|command| self.has_command(command))?;
        if command.subcommands.is_empty() || args.len() < 2 {
            return Some(command);
        }
        registry().find_sub(command, args.at(1))
    }

    /// What to say of a request whose command there is not.
    pub(crate) fn no_command(&self, args: &Args<'_>) -> CommandError {
        if let Some(error) = crate::command::later::error(args) {
            return error;
        }
        if registry().find(args.at(0)).is_none_or(|command| !self.has_command(command)) {
            return unknown_command(args);
        }
        CommandError::quoting(&[
            b"ERR unknown subcommand '",
            &args.at(1)[..args.at(1).len().min(128)],
            b"'. Try ",
            &args.at(0).to_ascii_uppercase(),
            b" HELP.",
        ])
    }
}

/// Source: redis 7.0 `server.c:commandCheckExistence`.
fn unknown_command(args: &Args<'_>) -> CommandError {
    let mut shown = Vec::new();
    for arg in args.tail(1).iter() {
        if shown.len() >= 128 {
            break;
        }
        let left = 128 - shown.len();
        shown.push(b'\'');
        // As a C string: up to the first NUL.
        shown.extend(arg.iter().take(left).take_while(|byte| **byte != 0));
        shown.extend_from_slice(b"' ");
    }
    let name = args.at(0);
    CommandError::quoting(&[
        b"ERR unknown command '",
        &name[..name.len().min(128)],
        b"', with args beginning with: ",
        &shown,
    ])
}
