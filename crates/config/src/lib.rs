//! Directives: the table of them, configuration files, the command line, and the CONFIG command.
//!
//! Texts come in, texts go out: no file is opened and nothing is applied here. The binary reads files
//! and carries the side effects of a change out; the other rooms read the fields of [`Config`]. What
//! a value is for is not known here.

mod change;
mod checks;
mod command_line;
mod directives;
mod load;
mod reference;
mod rewrite;
mod text;
mod types;
mod value;
mod views;

pub use change::{Change, Prepared, SetError, SetRules};
pub use command_line::{Action, CommandLine, TEST_MEMORY_USAGE, usage};
pub use directives::{Check, Config, DIRECTIVES, Directive, Kind, Mutability};
pub use load::{
    COMMAND_EXISTS, Included, LoadError, Loaded, Loader, NO_SUCH_COMMAND, Problem, SourceLine,
    nearest_name, refuse_module, refuse_module_setting,
};
pub use reference::reference_page;
pub use rewrite::{NO_CONFIG_FILE, REWRITE_MARKER, Rewrite};
pub use text::{Text, push_quoted, split_words};
pub use types::{
    AclPubsubDefault, Allowed, AppendFsync, ClusterEndpointType, EmptyMasterGuard, HostPort,
    LogLevel, MaxmemoryPolicy, MemoryOrPercent, NotifyFlags, OomScoreAdj, OutputBufferLimit,
    OutputBufferLimits, PropagationErrorBehavior, ReplDisklessLoad, SanitizeDumpPayload, SavePoint,
    ShutdownFlags, Supervised, SyslogFacility, TlsAuthClients,
};
pub use views::{AnnounceViews, Asker, ViewItem};
