//! The random numbers of scripts: the same sequence everywhere.
//! Source: redis 7.0 `rand.c` (the 48-bit generator of POSIX) and Lua 5.1's `math.random`.

use crate::args::Argv;
use crate::raise;
use mlua::{Lua, MultiValue, Table, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const FIRST: u64 = 0x1234_ABCD_330E;
const MASK: u64 = (1 << 48) - 1;
const MAX: f64 = 2147483647.0;

/// The generator, shared by all interpreters of a node.
#[derive(Clone, Debug)]
pub struct Random(Arc<AtomicU64>);

impl Default for Random {
    fn default() -> Random {
        Random(Arc::new(AtomicU64::new(FIRST)))
    }
}

impl Random {
    fn next(&self) -> u64 {
        let step = |state: u64| state.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & MASK;
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(step(state)))
            .unwrap_or_else(|state| state);
        step(before) >> 17
    }

    fn seed(&self, seed: i64) {
        self.0.store(((seed as u64 & 0xFFFF_FFFF) << 16) | 0x330E, Ordering::Relaxed);
    }
}

/// Puts `random` and `randomseed` into `math`.
pub(crate) fn install(lua: &Lua, math: &Table, random: &Random) -> mlua::Result<()> {
    let generator = random.clone();
    let function = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "random", args);
        let share = (generator.next() % 2147483647) as f64 / MAX;
        Ok(match argv.len() {
            0 => share,
            1 => {
                let upper = argv.integer(1)? as i32;
                if upper < 1 {
                    return Err(argv.bad(1, "interval is empty"));
                }
                (share * f64::from(upper)).floor() + 1.0
            }
            2 => {
                let (lower, upper) = (argv.integer(1)? as i32, argv.integer(2)? as i32);
                if lower > upper {
                    return Err(argv.bad(2, "interval is empty"));
                }
                let width = f64::from(upper.wrapping_sub(lower).wrapping_add(1));
                (share * width).floor() + f64::from(lower)
            }
            _ => return Err(raise::text(lua, "wrong number of arguments")),
        })
    })?;
    math.raw_set("random", function)?;
    let generator = random.clone();
    let function = lua.create_function(move |lua, args: MultiValue| {
        generator.seed(Argv::new(lua, "randomseed", args).integer(1)?);
        Ok(Value::Nil)
    })?;
    math.raw_set("randomseed", function)
}
