//! The operating system of simulated data nodes, under the names by which the server's rooms ask for
//! it (`redoubt`'s `os`): files on a disk that tears and loses, sockets on a network that delays and
//! cuts, threads that take turns, one clock for all.

pub mod disk;
pub mod fs;
pub mod listen;
pub mod log;
pub mod mio;
pub mod mpsc;
pub mod net;
pub mod program;
pub mod sys;
pub mod thread;
pub mod time;
pub mod tls;
pub mod turns;

/// The way out of the machine's networks: none.
pub mod gateway {
    /// As the server's.
    pub fn gateways() -> Vec<std::net::IpAddr> {
        Vec::new()
    }
}

/// The end of a process.
pub mod process {
    use super::turns;

    /// As std's.
    pub fn exit(code: i32) -> ! {
        turns::with(|state, proc| {
            state.note(format!("node {proc} ends with code {code}"));
            state.procs[proc].exit.get_or_insert(code);
        });
        loop {
            turns::park(None);
            assert!(!turns::is_dead(), "a thread of a dead process unwinds");
        }
    }

    /// As std's.
    pub fn abort() -> ! {
        exit(134)
    }
}

/// Signals: none come.
pub mod signal_hook {
    /// Their numbers.
    pub mod consts {
        /// As the system's.
        pub const SIGHUP: i32 = 1;
        /// As the system's.
        pub const SIGINT: i32 = 2;
        /// As the system's.
        pub const SIGPIPE: i32 = 13;
        /// As the system's.
        pub const SIGTERM: i32 = 15;
    }

    /// Waiting for them.
    pub mod iterator {
        /// As signal-hook's.
        pub struct Signals;

        impl Signals {
            /// As signal-hook's.
            pub fn new<const N: usize>(_: [i32; N]) -> std::io::Result<Signals> {
                Ok(Signals)
            }

            /// As signal-hook's.
            pub fn forever(&mut self) -> impl Iterator<Item = i32> {
                std::iter::from_fn(|| {
                    loop {
                        crate::os::turns::park(None);
                    }
                })
            }
        }
    }
}
