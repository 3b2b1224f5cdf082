//! Processes in network namespaces of their own, as on three hosts: one is cut off without any reset.
//!
//! ```text
//!   namespace 0 ── veth ──┐
//!   namespace 1 ── veth ──┼── bridge
//!   namespace 2 ── veth ──┘
//! ```

use std::process::Command;
use std::time::Duration;

use crate::hosts::{all_stop, terminate, write};
use crate::local::LocalJob;
use crate::support::RunningJob;

/// `cluster.peer_timeout` is 3 s; the rest is for a machine that has other things to do.
const NOTICED: Duration = Duration::from_secs(10);

/// Namespaces that are gone when this is dropped.
struct Net {
    name: String,
    hosts: usize,
}

impl Net {
    /// Says why not where this machine or user may not.
    fn new(hosts: usize) -> Result<Self, String> {
        // Names of interfaces have at most 15 letters.
        let net = Self { name: format!("w{}", std::process::id()), hosts };
        let (bridge, subnet) = (net.bridge(), net.subnet());
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("link set {bridge} up"))?;
        for host in 0..hosts {
            let (namespace, near) = (net.namespace(host), net.near_end(host));
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("link add {near} type veth peer name eth0 netns {namespace}"))?;
            ip(&format!("link set {near} master {bridge} up"))?;
            ip(&format!("-n {namespace} address add {subnet}.{}/24 dev eth0", host + 1))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
        }
        Ok(net)
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    fn namespace(&self, host: usize) -> String {
        format!("{}n{host}", self.name)
    }

    /// A host's interface, as the bridge has it.
    fn near_end(&self, host: usize) -> String {
        format!("{}v{host}", self.name)
    }

    /// Addresses for tests; nothing on this machine has them.
    fn subnet(&self) -> &'static str {
        "198.18.77"
    }

    fn addresses(&self) -> Vec<String> {
        (0..self.hosts).map(|host| format!("{}.{}:4000", self.subnet(), host + 1)).collect()
    }

    /// Takes a host's cable out, or puts it in again.
    fn cable(&self, host: usize, state: &str) {
        ip(&format!("link set {} {state}", self.near_end(host))).unwrap();
    }

    fn start(&self, job: &LocalJob) -> Vec<RunningJob> {
        let list = write(job.folder(), &self.addresses());
        let process = |host: usize| {
            let through = ["ip", "netns", "exec", &self.namespace(host)];
            job.run_through(&through, &["--hosts", &list, "--process", &host.to_string()])
        };
        (0..self.hosts).map(process).collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            // Some of it may not have been made.
            let _gone = ip(&format!("link delete {}", self.near_end(host)));
            let _gone = ip(&format!("netns delete {}", self.namespace(host)));
        }
        let _gone = ip(&format!("link delete {}", self.bridge()));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[test]
fn a_host_that_is_cut_off_is_noticed_on_both_sides() {
    let net = match Net::new(3) {
        Ok(net) => net,
        Err(reason) => return println!("skipped: no network namespaces can be made here: {reason}"),
    };
    let job = LocalJob::new(120_000);
    let hosts = net.addresses();
    for (attempt, cut_off) in [(1, 1), (2, 0)] {
        let mut processes = net.start(&job);
        job.wait_for(&mut processes[0], attempt, 4_000 * attempt);
        net.cable(cut_off, "down");
        let mut alone = processes.remove(cut_off);
        let took =
            all_stop(&mut processes, NOTICED, &[&format!("process {cut_off} ({})", hosts[cut_off]), "silent for 3 s"]);
        all_stop([&mut alone], NOTICED, &["silent for 3 s"]);
        println!("host {cut_off} was cut off: the others stopped after {took:.2?}");
        net.cable(cut_off, "up");
    }
    let mut processes = net.start(&job);
    job.wait_for(&mut processes[0], 3, job.records);
    terminate(&mut processes);
    job.verify();
}
