//! What the families of lists, sets and sorted sets share: waiting for elements, the arguments of
//! the commands that pop from one of several keys, fair choices, and storing a computed collection.
//!
//! Nothing here knows how a collection is made up.

use crate::args::{int_between_or, timeout};
use crate::{Block, CommandError, CommandResult, Ctx, Effect};
use keyspace::EventClass;
use resp::{Args, Reply};
use stdx::{Prng, UnixMs};
use structures::Value;

/// Nothing to pop anywhere: waits for elements of `keys` until `until`, or, where a command may not
/// wait, answers as at the time-out.
///
/// Time-outs answer with a null array, whatever the command. Source: redis 7.0
/// `blocked.c:replyToBlockedClientOnTimeOut`.
pub fn wait_for<'a>(
    ctx: &mut Ctx<'_, '_>,
    keys: impl Iterator<Item = &'a [u8]>,
    until: Option<UnixMs>,
) -> CommandResult {
    if !ctx.env.may_block {
        ctx.reply.null_array();
        return Ok(Effect::None);
    }
    Ok(Effect::Block(Block {
        keys: keys.map(Box::from).collect(),
        until,
        null_array: true,
        rerun: None,
        on_removal: false,
    }))
}

/// The keys and the time-out of BLPOP and its likes, `key [key …] timeout`.
pub fn keys_and_timeout<'a>(
    ctx: &Ctx<'_, '_>,
    args: &Args<'a>,
) -> Result<(Vec<&'a [u8]>, Option<UnixMs>), CommandError> {
    let last = args.len() - 1;
    let until = timeout(args.at(last), ctx.env.now)?;
    Ok(((1..last).map(|index| args.at(index)).collect(), until))
}

/// The number of keys at argument `at`, one or more.
pub fn numkeys(args: &Args<'_>, at: usize) -> Result<usize, CommandError> {
    const ERROR: CommandError = CommandError::new("ERR numkeys should be greater than 0");
    Ok(int_between_or(args.at(at), 1, i64::MAX, ERROR)? as usize)
}

/// `numkeys key [key …] where [COUNT count]`, the arguments of LMPOP and ZMPOP.
pub struct MultiPop<'a, W> {
    /// The keys, in order of preference.
    pub keys: Vec<&'a [u8]>,
    /// Which end to pop from.
    pub end: W,
    /// The most elements to pop, 1 or more.
    pub count: usize,
}

impl<'a, W> MultiPop<'a, W> {
    /// Parses from the number of keys at argument `at` on; `end_of` knows the words for the ends.
    /// Source: redis 7.0 `t_list.c:lmpopGenericCommand`.
    pub fn parse(
        args: &Args<'a>,
        at: usize,
        end_of: impl Fn(&[u8]) -> Option<W>,
    ) -> Result<MultiPop<'a, W>, CommandError> {
        const COUNT: CommandError = CommandError::new("ERR count should be greater than 0");
        let end_at = numkeys(args, at)?.checked_add(at + 1).ok_or(CommandError::SYNTAX)?;
        let end = args.get(end_at).and_then(end_of).ok_or(CommandError::SYNTAX)?;
        let mut count = None;
        let mut index = end_at + 1;
        while index < args.len() {
            let value = args.get(index + 1).filter(|_| count.is_none() && args.is(index, "count"));
            let value = value.ok_or(CommandError::SYNTAX)?;
            count = Some(int_between_or(value, 1, i64::MAX, COUNT)? as usize);
            index += 2;
        }
        let keys = (at + 1..end_at).map(|index| args.at(index)).collect();
        Ok(MultiPop { keys, end, count: count.unwrap_or(1) })
    }
}

/// The log's form of a pop with a count.
pub fn pop_effect(name: &[u8], key: &[u8], count: usize) -> Effect {
    Effect::replace(&[name, key, count.to_string().as_bytes()])
}

/// The positions from `start` to `end`, both included, in something of `len` elements, as first one
/// and number; negative ends count from the last. `None` if there is nothing between them.
pub fn window(len: usize, start: i64, end: i64) -> Option<(usize, usize)> {
    let len = len as i64;
    let start = if start < 0 { (len + start).max(0) } else { start };
    let end = if end < 0 { len + end } else { end.min(len - 1) };
    (start <= end && start < len).then(|| (start as usize, (end - start + 1) as usize))
}

/// Longest reply of random draws with repetition. Whoever asks for more is refused: the key would be
/// held, and the worker be busy, for seconds, and the reply might not fit any memory. Redis would try.
pub const DRAWN_BYTES_MAX: usize = 256 << 20;
/// Bytes of the shortest element in a reply.
const ELEMENT_BYTES_MIN: usize = 6;

/// Runs `draw`, which writes one element, so many times; refuses what makes too long a reply.
pub fn draw_many(
    reply: &mut Reply,
    draws: u64,
    mut draw: impl FnMut(&mut Reply),
) -> Result<(), CommandError> {
    if draws > (DRAWN_BYTES_MAX / ELEMENT_BYTES_MIN) as u64 {
        return Err(CommandError::OUT_OF_RANGE);
    }
    let start = reply.len();
    for _ in 0..draws {
        draw(reply);
        if reply.len() - start > DRAWN_BYTES_MAX {
            return Err(CommandError::OUT_OF_RANGE);
        }
    }
    Ok(())
}

/// Picks some of a known number of things in one walk over them; every choice is equally likely.
pub struct Picker {
    left: u64,
    wanted: u64,
}

impl Picker {
    /// Will pick `wanted` of `total`, or all if they are fewer.
    pub fn new(total: usize, wanted: usize) -> Picker {
        Picker { left: total as u64, wanted: wanted.min(total) as u64 }
    }

    /// Decides about the next thing.
    pub fn pick(&mut self, rng: &mut Prng) -> bool {
        if self.left == 0 || self.wanted == 0 {
            return false;
        }
        let picked = rng.below(self.left) < self.wanted;
        self.left -= 1;
        self.wanted -= u64::from(picked);
        picked
    }
}

/// Puts a computed collection of `len` elements at `key` with `event`, or removes the key if the
/// collection is empty; writes the length.
pub fn store(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    value: Value,
    len: usize,
    class: EventClass,
    event: &'static str,
) -> CommandResult {
    if len > 0 {
        ctx.keys.put_over(key, value);
        ctx.keys.modified(class, event, key);
    } else if ctx.keys.remove(key) {
        ctx.keys.modified(EventClass::GENERIC, "del", key);
    }
    ctx.reply.count(len);
    Ok(Effect::Verbatim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_from_both_ends() {
        assert_eq!(window(3, 0, -1), Some((0, 3)));
        assert_eq!(window(3, -2, 10), Some((1, 2)));
        assert_eq!(window(3, i64::MIN, i64::MAX), Some((0, 3)));
        assert_eq!(window(3, 2, 1), None);
        assert_eq!(window(3, 3, 5), None);
        assert_eq!(window(3, 0, -4), None);
        assert_eq!(window(0, 0, -1), None);
    }

    #[test]
    fn a_picker_is_fair_and_exact() {
        let mut rng = Prng::new(3);
        let mut hits = [0u32; 10];
        for _ in 0..20_000 {
            let mut picker = Picker::new(10, 3);
            let picked = hits.iter_mut().filter(|_| picker.pick(&mut rng));
            let count = picked.map(|hit| *hit += 1).count();
            assert_eq!(count, 3);
        }
        // 6000 expected, standard deviation about 65.
        assert!(hits.iter().all(|hit| (5600..6400).contains(hit)), "{hits:?}");
        let mut all = Picker::new(2, 9);
        assert_eq!(
            [all.pick(&mut rng), all.pick(&mut rng), all.pick(&mut rng)],
            [true, true, false]
        );
    }
}
