//! Room for connections: each is an open file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a service has open besides its connections, about.
const OTHER_FILES: u64 = 256;

/// Raises the limit of open files to what the system lets this process have, and says so where that is too little.
///
/// The limit that a process starts with is often 1,024, for the sake of programs that use `select`.
pub fn allow(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let needed = connections as u64 + OTHER_FILES;
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "fewer open files are allowed than connections may need: raise the limit (ulimit -n), or lower \
             ingest.limits.connections; until then further connections wait"
        );
    }
}
