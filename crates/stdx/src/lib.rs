//! Small things that every room needs and that know nothing of Redis: strict number parsing and
//! formatting, a seeded generator, and the two kinds of time.
//!
//! Nothing here reads a clock or the operating system's random source; both come in from outside,
//! so that everything built on top can be replayed from a seed.

mod glob;
mod num;
mod prng;
mod time;
mod views;

pub use glob::glob_match;
pub use num::{
    I64_MAX_LEN, format_f64, format_f64_fixed17, parse_f64, parse_i64, parse_u64, push_i64,
    push_u64,
};
pub use prng::Prng;
pub use time::{MonoMs, UnixMs};
pub use views::{CANONICAL_VIEW, ViewAddrs, is_view_name, parse_host_port, show_host_port};
