//! A real embedded log with a gate in front, to make it slow or broken when a test wants it.

use std::sync::Mutex;
use std::time::Duration;

use weir_connectors::log::{Group, Log, LogError, LogLoad, Settle, Settled};
use weir_connectors::ndjson::NdjsonLog;

pub struct Gate {
    inner: NdjsonLog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mode: Mode,
    held: Vec<(Group, Settle)>,
    appended: u64,
    load: LogLoad,
}

/// What happens to groups.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Pass,
    /// They wait at the gate.
    Hold,
    /// They are not written, and the log says that it is not available.
    Fail,
    /// They are written, but the log says that it is not available: the answer was lost.
    Lie,
}

impl Gate {
    pub fn new(inner: NdjsonLog) -> Self {
        Self { inner, state: Mutex::default() }
    }

    /// Changes the mode; what was held goes on.
    pub fn set(&self, mode: Mode) {
        let held = {
            let mut state = self.state.lock().unwrap();
            state.mode = mode;
            std::mem::take(&mut state.held)
        };
        for (group, settle) in held {
            self.treat(mode, group, settle);
        }
    }

    /// What `load` says from now on.
    pub fn set_load(&self, bytes: u64, capacity_bytes: u64) {
        self.state.lock().unwrap().load = LogLoad { records: 0, bytes, capacity_bytes };
    }

    /// How many records came to the gate.
    pub fn appended(&self) -> u64 {
        self.state.lock().unwrap().appended
    }

    fn treat(&self, mode: Mode, group: Group, settle: Settle) {
        let records = group.len();
        let unavailable = || LogError::Unavailable { place: "the gate".to_owned(), reason: "closed".to_owned() };
        match mode {
            Mode::Pass => self.inner.append(group, settle),
            Mode::Hold => self.state.lock().unwrap().held.push((group, settle)),
            Mode::Fail => settle(Settled::all_failed(records, unavailable())),
            Mode::Lie => {
                let lie = move |_| settle(Settled::all_failed(records, unavailable()));
                self.inner.append(group, Box::new(lie));
            }
        }
    }
}

impl Log for Gate {
    fn place(&self) -> &str {
        self.inner.place()
    }

    fn append(&self, group: Group, settle: Settle) {
        let mode = {
            let mut state = self.state.lock().unwrap();
            state.appended += group.len() as u64;
            state.mode
        };
        self.treat(mode, group, settle);
    }

    fn load(&self) -> LogLoad {
        let load = self.state.lock().unwrap().load;
        if load == LogLoad::default() { self.inner.load() } else { load }
    }

    fn probe(&self, timeout: Duration) -> Result<(), LogError> {
        self.inner.probe(timeout)
    }

    fn close(&self, timeout: Duration) -> Result<(), LogError> {
        self.inner.close(timeout)
    }
}
