//! XTRIM, and what of it XADD has, too.

use super::id::strict;
use crate::args::int;
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Env, Group, at,
};
use keyspace::EventClass;
use resp::{Args, OwnedArgs};
use structures::{Stream, StreamId, TrimTo};

/// How a stream is to be cut.
#[derive(Clone, Copy, Debug)]
pub struct Trim {
    /// What stays.
    to: TrimTo,
    /// Whole nodes only.
    approx: bool,
    /// Most entries to delete; 0 for all.
    limit: u64,
    /// Argument index of the threshold.
    threshold_at: usize,
}

/// The options that XADD and XTRIM share.
/// Source: redis 7.0 `t_stream.c:streamParseAddOrTrimArgsOrReply`.
#[derive(Debug, Default)]
pub struct TrimOptions {
    trim: Option<Trim>,
    limit: Option<i64>,
}

impl TrimOptions {
    /// Reads one option at `at`; returns how many arguments it has, 0 if it is none.
    pub fn read(&mut self, args: &Args<'_>, at: usize) -> Result<usize, CommandError> {
        const TWICE: CommandError = CommandError::new(
            "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
        );
        let more = args.len() - 1 - at;
        if args.is(at, "limit") && more > 0 {
            let limit = int(args.at(at + 1))?;
            if limit < 0 {
                return Err(CommandError::new("ERR The LIMIT argument must be >= 0."));
            }
            self.limit = Some(limit);
            return Ok(2);
        }
        let by_len = args.is(at, "maxlen");
        if (!by_len && !args.is(at, "minid")) || more == 0 {
            return Ok(0);
        }
        if self.trim.is_some() {
            return Err(TWICE);
        }
        let (approx, exact) = (args.is(at + 1, "~"), args.is(at + 1, "="));
        let threshold_at = at + if more >= 2 && (approx || exact) { 2 } else { 1 };
        let threshold = args.at(threshold_at);
        let to = if by_len {
            let len = int(threshold)?;
            let len = u64::try_from(len)
                .map_err(|_| CommandError::new("ERR The MAXLEN argument must be >= 0."))?;
            TrimTo::MaxLen(len)
        } else {
            TrimTo::MinId(strict(threshold, 0)?)
        };
        let approx = approx && threshold_at == at + 2;
        self.trim = Some(Trim { to, approx, limit: 0, threshold_at });
        Ok(threshold_at - at + 1)
    }

    /// What is to be done, when all options are read.
    pub fn finish(self, env: &Env) -> Result<Option<Trim>, CommandError> {
        let Some(mut trim) = self.trim else {
            return match self.limit {
                Some(limit) if limit > 0 => Err(CommandError::new(
                    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
                )),
                _ => Ok(None),
            };
        };
        if env.from_master {
            // The threshold says how far the master came; a limit has done its work there.
            return Ok(Some(trim));
        }
        trim.limit = match self.limit {
            Some(_) if !trim.approx => {
                return Err(CommandError::new(
                    "ERR syntax error, LIMIT cannot be used without the special ~ option",
                ));
            }
            Some(limit) => limit as u64,
            // So that one command does not take long.
            None if trim.approx => {
                match env.limits.stream_node_max_entries.saturating_mul(100) as u64 {
                    0 => 10_000,
                    limit => limit.min(1_000_000),
                }
            }
            None => 0,
        };
        Ok(Some(trim))
    }
}

impl Trim {
    /// Cuts; returns how many entries went.
    pub fn run(&self, stream: &mut Stream) -> u64 {
        stream.trim(self.to, self.approx, self.limit)
    }

    /// True if how much is cut depends on nodes, so that a replica has to be told where to.
    pub fn approx(&self) -> bool {
        self.approx
    }

    /// The command with a threshold that does to a replica exactly what was done here.
    /// Source: redis 7.0 `t_stream.c:streamRewriteTrimArgument`.
    pub fn exact_args(&self, args: &Args<'_>, stream: &Stream) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
        parts[self.threshold_at - 1] = b"=".to_vec();
        parts[self.threshold_at] = match self.to {
            TrimTo::MaxLen(_) => stream.len().to_string().into_bytes(),
            TrimTo::MinId(_) if stream.is_empty() => StreamId::MAX.to_vec(),
            TrimTo::MinId(_) => stream.meta().first_id.to_vec(),
        };
        parts
    }
}

/// XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]
pub const XTRIM: Command<DataFn> = Command::new(
    CommandSpec::new("xtrim", -4, Group::Stream)
        .flags(WRITE)
        .keys(&[at(1, RW_DELETE)])
        .since("5.0.0")
        .tips(&["nondeterministic_output"])
        .doc("O(n) for n deleted entries", "Deletes entries from the beginning of a stream."),
    xtrim,
);

fn xtrim(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let mut options = TrimOptions::default();
    let mut index = 2;
    while index < args.len() {
        match options.read(args, index)? {
            0 => return Err(CommandError::SYNTAX),
            read => index += read,
        }
    }
    let Some(trim) = options.finish(ctx.env)? else {
        return Err(CommandError::new(
            "ERR syntax error, XTRIM must be called with a trimming strategy",
        ));
    };
    let key = args.at(1);
    let Some(stream) = ctx.keys.stream_mut(key)? else {
        ctx.reply.integer(0);
        return Ok(Effect::None);
    };
    let deleted = trim.run(stream);
    let exact = (deleted > 0 && trim.approx()).then(|| trim.exact_args(args, stream));
    ctx.reply.integer(deleted as i64);
    if deleted > 0 {
        ctx.keys.modified(EventClass::STREAM, "xtrim", key);
        ctx.keys.dirty(deleted - 1);
    }
    Ok(match exact {
        Some(parts) => Effect::Replace(vec![OwnedArgs::from_parts(&parts)]),
        None => Effect::Verbatim,
    })
}
