//! What the server's rooms ask of the rest of the binary: hooks of a crash, the container.

use super::turns;
use node::Node;
use std::sync::Arc;

/// Text of a configuration, as `redoubt`'s.
#[derive(Clone, Debug, Default)]
pub struct Composed;

/// Hooks for the report of a crash: this is where the world gets hold of a node.
pub mod crash {
    use super::{Arc, Node, turns};

    /// There is a node now.
    pub fn install(node: &Arc<Node>, _: crate::os::time::Instant) {
        turns::with(|state, proc| state.procs[proc].node = Some(Arc::clone(node)));
    }

    /// Nothing to be done here.
    pub fn this_is_worker(_: usize) {}
}

/// The image's entrypoint: this is none.
pub mod container {
    /// No other text.
    pub fn protected_mode_refusal() -> Option<&'static str> {
        None
    }
}
