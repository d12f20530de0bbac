//! What a command function gets and what it returns.

use crate::CommandError;
use keyspace::Keys;
use resp::{OwnedArgs, Reply};
use stdx::{Prng, UnixMs};
use structures::Limits;

/// Everything that a command works with.
pub struct Ctx<'a, 'k> {
    /// The keys, through the stripes held for this command. `keys.db` is the connection's database.
    pub keys: &'a mut Keys<'k>,
    /// Where the reply goes. On an error the caller drops what was written.
    pub reply: &'a mut Reply,
    /// For commands with a random choice.
    pub rng: &'a mut Prng,
    /// Settings and circumstances.
    pub env: &'a Env,
}

/// Settings and circumstances of a command, the same for its whole run.
#[derive(Clone, Debug)]
pub struct Env {
    /// The time of the command.
    pub now: UnixMs,
    /// Encoding thresholds.
    pub limits: Limits,
    /// `proto-max-bulk-len`, bytes.
    pub bulk_max: u64,
    /// False inside MULTI and scripts and for commands from the master: a blocking command
    /// answers as if its time-out had passed.
    pub may_block: bool,
    /// True for commands from the master and the log file: they are not judged again.
    pub from_master: bool,
    /// False if nobody will ask for the effects of commands: there is no need to describe them.
    pub recorded: bool,
    /// `lazyfree-lazy-user-del`: DEL behaves as UNLINK (visible only in statistics).
    pub lazy_user_del: bool,
    /// `lazyfree-lazy-expire`: removals by time are propagated as UNLINK.
    pub lazy_expire: bool,
    /// `rdbcompression`, for DUMP.
    pub compress: bool,
    /// `hll-sparse-max-bytes`: longest sparse HyperLogLog.
    pub hll_sparse_max: usize,
    /// The user may read every key: SORT may follow BY and GET patterns to keys that its arguments
    /// don't name. Only told to SORT and SORT_RO.
    pub reads_every_key: bool,
    /// RESTORE checks payloads deeply (`sanitize-dump-payload`).
    pub sanitize: bool,
}

/// How a command's change goes on the log, and what else its caller has to do.
#[derive(Debug, Default)]
pub enum Effect {
    /// Nothing changed, or nothing that others must know.
    #[default]
    None,
    /// The command as the client sent it; dropped if nothing changed (`Changes::dirty` stayed).
    Verbatim,
    /// These commands in its place, in order.
    Replace(Vec<OwnedArgs>),
    /// Nothing was done and no reply was written: run the command again when one of the keys gets
    /// elements.
    Block(Block),
}

impl Effect {
    /// One command in place of what the client sent.
    pub fn replace<T: AsRef<[u8]>>(parts: &[T]) -> Effect {
        Effect::Replace(vec![OwnedArgs::from_parts(parts)])
    }
}

/// What a blocked command waits for.
#[derive(Clone, Debug)]
pub struct Block {
    /// Any of these keys of the connection's database.
    pub keys: Vec<Box<[u8]>>,
    /// Unix time when waiting ends; `None` waits for ever.
    pub until: Option<UnixMs>,
    /// True if the reply at the time-out is a null array (BLPOP), false for a null (BLMOVE).
    pub null_array: bool,
    /// The command to run again, if it is not what the client sent (XREAD with `$`).
    pub rerun: Option<OwnedArgs>,
    /// Run again also when a key is removed or gets another type (XREADGROUP): its error is the
    /// answer then.
    pub on_removal: bool,
}

/// What a command function returns.
pub type CommandResult = Result<Effect, CommandError>;
