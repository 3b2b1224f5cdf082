//! Which schedules are run.

/// How many are run unless somebody asks for more: on Kafka, and on the embedded log.
const USUAL: (u64, u64) = (25, 10);

/// Out of 130 schedules so many are on the embedded log.
const EMBEDDED_OF_130: u64 = 30;

/// The seeds of a kind (`kafka` or `embedded`) that one of several lanes runs.
pub fn seeds(kind: &str, lane: u64, lanes: u64) -> Vec<u64> {
    if let Ok(alone) = std::env::var("WEIR_TEST_SCHEDULE") {
        let seed = alone.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')).map(|seed| seed.parse().unwrap());
        return seed.into_iter().filter(|seed: &u64| seed % lanes == lane).collect();
    }
    let (kafka, embedded) = match std::env::var("WEIR_TEST_SCHEDULES") {
        Ok(number) => {
            let all: u64 = number.parse().expect("WEIR_TEST_SCHEDULES is a number");
            let embedded = all * EMBEDDED_OF_130 / 130;
            (all - embedded, embedded)
        }
        Err(_) => USUAL,
    };
    let number = if kind == "kafka" { kafka } else { embedded };
    (0..number).filter(|seed| seed % lanes == lane).collect()
}
