//! What a person at a terminal sees of a running job; a line in the log every ten seconds where there is no terminal.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use weir_dataflow::JobMetrics;

use crate::output::{grouped, instant};

const REFRESH: Duration = Duration::from_millis(200);
const LOG_EVERY: Duration = Duration::from_secs(10);
const RATE_SPAN: Duration = Duration::from_secs(5);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub struct Progress {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to show.
    #[must_use]
    pub fn start(metrics: Arc<JobMetrics>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let show = move || {
            if std::io::stderr().is_terminal() {
                on_terminal(&metrics, &stopped);
            } else {
                in_log(&metrics, &stopped);
            }
        };
        // Without a thread there is no progress to be seen, which is no reason not to run.
        let thread = std::thread::Builder::new().name("weir-progress".to_owned()).spawn(show).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the process already.
            let _joined = thread.join();
        }
    }
}

fn on_terminal(metrics: &JobMetrics, stopped: &mpsc::Receiver<()>) {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
        spinner.set_style(style);
    }
    let mut rate = Rate::default();
    rate.update(metrics.read());
    while stopped.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
        let per_second = rate.update(metrics.read());
        spinner.set_message(line(metrics, per_second));
        spinner.tick();
    }
    spinner.finish_and_clear();
}

fn in_log(metrics: &JobMetrics, stopped: &mpsc::Receiver<()>) {
    let mut rate = Rate::default();
    rate.update(metrics.read());
    while stopped.recv_timeout(LOG_EVERY) == Err(RecvTimeoutError::Timeout) {
        let committed = metrics.committed();
        tracing::info!(
            read = metrics.read(),
            per_second = rate.update(metrics.read()),
            lag = metrics.source_lag().values().sum::<u64>(),
            watermark = metrics.watermark_ms().map(instant),
            committed_epoch = committed.epoch.0,
            committed = committed.totals.read,
            "progress"
        );
    }
}

fn line(metrics: &JobMetrics, per_second: u64) -> String {
    if !metrics.ready() {
        return "restoring state".to_owned();
    }
    let watermark = metrics.watermark_ms().map_or_else(|| "none yet".to_owned(), instant);
    format!(
        "{} read, {}/s, watermark {watermark}, epoch {} committed, {} in flight",
        grouped(metrics.read()),
        grouped(per_second),
        metrics.committed().epoch,
        metrics.epochs_in_flight(),
    )
}

/// Records a second over the last few seconds: a job's figures move once an epoch only.
#[derive(Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn update(&mut self, records: u64) -> u64 {
        let now = Instant::now();
        self.samples.push_back((now, records));
        while self.samples.len() > 2 && self.samples.get(1).is_some_and(|(then, _)| now - *then >= RATE_SPAN) {
            self.samples.pop_front();
        }
        let Some((then, fewer)) = self.samples.front() else { return 0 };
        let seconds = (now - *then).as_secs_f64().max(1e-3);
        (records.saturating_sub(*fewer) as f64 / seconds) as u64
    }
}
