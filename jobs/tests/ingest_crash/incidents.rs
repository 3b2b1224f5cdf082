//! What fails in a schedule, and when: decided by the seed alone.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// How long incidents go on beginning.
const LENGTH_MS: u64 = 1_200;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    KillIngest(usize),
    DrainIngest(usize),
    StartIngest(usize),
    KillBroker,
    StartBroker,
    SwallowAnswers,
    Stall,
    TakeNetworkDown,
    /// Cuts all connections; new ones work.
    Cut,
    /// What was held up arrives.
    GoOn,
}

/// Events in their order, each with the time since the schedule began.
pub type Plan = Vec<(Duration, Event)>;

/// Two ingest processes, a network and a broker.
pub fn kafka(random: &mut StdRng) -> Plan {
    let mut plan = Vec::new();
    let mut add = |from: u64, event: Event, until: u64, end: Event| plan.extend([(from, event), (until, end)]);
    for process in 0..2 {
        let mut at = random.random_range(0..LENGTH_MS);
        while at < LENGTH_MS && random.random_bool(0.7) {
            let kind = if random.random_bool(0.75) { Event::KillIngest(process) } else { Event::DrainIngest(process) };
            let until = at + random.random_range(0..250);
            add(at, kind, until, Event::StartIngest(process));
            at = until + random.random_range(100..800);
        }
    }
    let mut at = random.random_range(0..LENGTH_MS);
    while at < LENGTH_MS && random.random_bool(0.7) {
        let (event, longest, end) = match random.random_range(0..5) {
            0 => (Event::Cut, 1, Event::GoOn),
            1 => (Event::Stall, 900, Event::GoOn),
            2 => (Event::TakeNetworkDown, 500, Event::GoOn),
            // What was swallowed is lost, so the connection is of no more use.
            _ => (Event::SwallowAnswers, 900, Event::Cut),
        };
        let until = at + random.random_range(0..longest);
        add(at, event, until, end);
        at = until + random.random_range(50..400);
    }
    if random.random_bool(0.3) {
        let at = random.random_range(0..LENGTH_MS);
        add(at, Event::KillBroker, at + random.random_range(0..400), Event::StartBroker);
    }
    sorted(plan)
}

/// One ingest process.
pub fn embedded(random: &mut StdRng) -> Plan {
    let mut plan = Vec::new();
    let mut at = random.random_range(0..400);
    while at < LENGTH_MS {
        let event = if random.random_bool(0.85) { Event::KillIngest(0) } else { Event::DrainIngest(0) };
        let until = at + random.random_range(0..50);
        plan.extend([(at, event), (until, Event::StartIngest(0))]);
        at = until + random.random_range(20..500);
    }
    sorted(plan)
}

fn sorted(mut plan: Vec<(u64, Event)>) -> Plan {
    // Stable: what begins and ends at once does so in this order.
    plan.sort_by_key(|(at, _)| *at);
    plan.into_iter().map(|(at, event)| (Duration::from_millis(at), event)).collect()
}
