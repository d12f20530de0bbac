//! (to be written)

use crate::{Command, DataFn};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[];
