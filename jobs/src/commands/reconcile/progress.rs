//! How far a recount is, on a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::NaiveDate;
use indicatif::{ProgressBar, ProgressStyle};
use weir_dataflow::reconcile::RecountProgress;

use super::REFRESH;
use crate::output::grouped;

/// A line on the terminal while a day is recounted.
pub(super) struct Progress {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Progress {
    pub(super) fn start(date: NaiveDate, progress: Arc<RecountProgress>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let before = progress.rows();
        let show = move || {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
                spinner.set_style(style);
            }
            while !stopped.load(Ordering::Relaxed) {
                spinner.set_message(format!("{date}: {} rows recounted", grouped(progress.rows() - before)));
                spinner.tick();
                std::thread::sleep(REFRESH);
            }
            spinner.finish_and_clear();
        };
        let thread = std::io::stderr().is_terminal().then(|| std::thread::spawn(show));
        Self { stop, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the process already.
            let _joined = thread.join();
        }
    }
}
