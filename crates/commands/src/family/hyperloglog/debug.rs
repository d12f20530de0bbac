//! PFDEBUG and PFSELFTEST: looks inside.

use super::{corrupt, hll_of, loosen, put_back};
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags, Group, KeyFlags,
    at,
};
use resp::Args;
use structures::hll::{self, HllEncoding, REGISTERS, Run, Union};

/// PFDEBUG GETREG|DECODE|ENCODING|TODENSE key
pub const PFDEBUG: Command<DataFn> = Command::new(
    CommandSpec::new("pfdebug", 3, Group::Hyperloglog)
        .flags(GROW.union(Flags::ADMIN))
        .keys(&[at(2, KeyFlags::RW.union(KeyFlags::ACCESS))])
        .since("2.8.9")
        .doc("O(1)", "Shows the inside of a HyperLogLog."),
    pfdebug,
);

/// Source: redis 7.0 `hyperloglog.c:pfdebugCommand`.
fn pfdebug(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (word, key) = (args.at(1), args.at(2));
    let Some(entry) = ctx.keys.before_write(key) else {
        return Err(CommandError::new("ERR The specified key does not exist"));
    };
    let (bytes, encoding) = hll_of(entry)?;
    let mut hll = bytes.into_owned();
    loosen(ctx, key);
    match word.to_ascii_lowercase().as_slice() {
        b"getreg" => {
            make_dense(ctx, key, &mut hll, encoding)?;
            ctx.reply.array(REGISTERS);
            for index in 0..REGISTERS {
                ctx.reply.integer(i64::from(hll::dense_get(&hll, index)));
            }
        }
        b"decode" => {
            if encoding != HllEncoding::Sparse {
                return Err(CommandError::new("ERR HLL encoding is not sparse"));
            }
            let words: Vec<String> = hll::runs(&hll).map(run_text).collect();
            ctx.reply.bulk(words.join(" ").as_bytes());
        }
        b"encoding" => ctx.reply.simple(match encoding {
            HllEncoding::Dense => "dense",
            HllEncoding::Sparse => "sparse",
        }),
        b"todense" => {
            make_dense(ctx, key, &mut hll, encoding)?;
            ctx.reply.integer(i64::from(encoding == HllEncoding::Sparse));
        }
        _ => {
            return Err(CommandError::quoting(&[b"ERR Unknown PFDEBUG subcommand '", word, b"'"]));
        }
    }
    Ok(Effect::Verbatim)
}

fn run_text(run: Run) -> String {
    match run {
        Run::Zero(len) => format!("z:{len}"),
        Run::XZero(len) => format!("Z:{len}"),
        Run::Val(value, len) => format!("v:{value},{len}"),
    }
}

/// Stores a sparse value dense; replicas shall do the same.
fn make_dense(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    hll: &mut Vec<u8>,
    encoding: HllEncoding,
) -> Result<(), CommandError> {
    if encoding == HllEncoding::Sparse {
        hll::make_dense(hll).map_err(corrupt)?;
        put_back(ctx, key, hll);
        ctx.keys.dirty(1);
    }
    Ok(())
}

/// PFSELFTEST
pub const PFSELFTEST: Command<DataFn> = Command::new(
    CommandSpec::new("pfselftest", 1, Group::Hyperloglog)
        .flags(Flags::ADMIN)
        .since("2.8.9")
        .doc("O(n) for n elements of the test", "Tests the HyperLogLog implementation."),
    pfselftest,
);

/// Elements that the test counts in.
const SELFTEST_ELEMENTS: u64 = 20_000;

/// Both representations must keep what they are given, agree, and estimate well.
fn pfselftest(ctx: &mut Ctx<'_, '_>, _: &Args<'_>) -> CommandResult {
    let failed = |text: String| Err(CommandError::owned(format!("TESTFAILED {text}")));
    let mut dense = hll::new_sparse();
    hll::make_dense(&mut dense).map_err(corrupt)?;
    let mut model = vec![0; REGISTERS];
    for _ in 0..REGISTERS {
        let (index, value) = (ctx.rng.below(REGISTERS as u64) as usize, ctx.rng.below(64) as u8);
        hll::dense_raise(&mut dense, index, value);
        model[index] = value.max(model[index]);
    }
    if let Some(at) = (0..REGISTERS).find(|&at| hll::dense_get(&dense, at) != model[at]) {
        let (got, wanted) = (hll::dense_get(&dense, at), model[at]);
        return failed(format!("Register {at} should be {wanted} but is {got}"));
    }
    let (mut sparse, mut dense) = (hll::new_sparse(), hll::new_sparse());
    hll::make_dense(&mut dense).map_err(corrupt)?;
    let (seed, max) = (ctx.rng.next_u64(), ctx.env.hll_sparse_max);
    let mut checkpoint = 1;
    for count in 1..=SELFTEST_ELEMENTS {
        let element = (seed ^ count).to_le_bytes();
        let changed = hll::add(&mut sparse, &element, max).map_err(corrupt)?;
        if hll::add(&mut dense, &element, max).map_err(corrupt)? != changed {
            return failed(format!("the representations differ at element {count}"));
        }
        if count != checkpoint {
            continue;
        }
        checkpoint *= 10;
        let estimate = hll::estimate(&dense).map_err(corrupt)?;
        let mut union = Union::new();
        union.merge(&sparse).map_err(corrupt)?;
        if hll::estimate(&sparse) != Ok(estimate) || union.estimate() != estimate {
            return failed(format!("the representations differ in their estimate of {count}"));
        }
        // Six standard errors; for few elements collisions of two.
        let tolerance = (count as f64 * 6.0 * 1.04 / (REGISTERS as f64).sqrt()).ceil() as u64 + 1;
        if estimate.abs_diff(count) > tolerance {
            return failed(format!("the estimate of {count} elements is {estimate}"));
        }
    }
    ctx.reply.ok();
    Ok(Effect::None)
}
