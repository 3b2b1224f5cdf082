//! The processor time that this process has used, all threads together.

/// The kernel counts in hundredths of a second, on every architecture that Weir is built for.
const TICKS_PER_SECOND: f64 = 100.0;
/// User and system time in `/proc/self/stat`, counted from the field behind the command's name.
const FIELDS: [usize; 2] = [11, 12];

/// In seconds; none where there is no `/proc`.
pub(super) fn seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may have spaces in it.
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    let ticks: Option<u64> = FIELDS.iter().map(|field| fields.get(*field)?.parse::<u64>().ok()).sum();
    Some(ticks? as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn time_passes_for_who_works() {
        let Some(before) = seconds() else { return };
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let used = seconds().map(|after| after - before);
        // Other tests may have worked too, or have taken the processor away.
        assert!(used.is_some_and(|used| used > 0.02), "{used:?}");
    }
}
