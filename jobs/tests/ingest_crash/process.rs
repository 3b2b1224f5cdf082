//! `weir ingest` as a process that can be killed, asked to stop, and started again on its port.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::connection::get;
use crate::own::free_port;
use crate::{PATIENCE, await_until};

pub struct IngestProcess {
    pub address: SocketAddr,
    /// What it is told, apart from its port.
    definitions: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

pub fn weir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir"))
}

impl IngestProcess {
    /// Starts it; its own log goes into the folder.
    pub fn start(folder: &Path, definitions: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let definitions = definitions.iter().map(|text| (*text).to_owned()).collect();
        let log = folder.join(format!("ingest-{}.log", address.port()));
        let mut process = Self { address, definitions, log, child: None };
        process.restart();
        process
    }

    pub fn restart(&mut self) {
        self.spawn(weir());
    }

    /// Starts it by a command that ends with the binary's path.
    pub fn spawn(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        command.arg("ingest").args(["-D", &format!("ingest.listen={}", self.address)]);
        for definition in &self.definitions {
            command.args(["-D", definition]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; waits for the end. Its exit code.
    pub fn terminate(&mut self) -> i32 {
        // Before that it may not listen to signals yet.
        self.await_alive();
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut child = self.child.take().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code().unwrap_or_else(|| panic!("{status}\n{}", self.log()));
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it did not end within {PATIENCE:?}\n{}", self.log());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits until it serves.
    pub fn await_alive(&mut self) {
        await_until("ingest to be alive", || {
            assert!(self.is_running(), "it has ended by itself:\n{}", self.log());
            get(self.address, "/livez").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for IngestProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
