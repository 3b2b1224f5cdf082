//! A file with every click that the server said is in the log, one a line, to be compared with the log after a crash.
//!
//! ```text
//!   4c6f63e2-…                     the click id: of the answer for a single click, of the click in a batch
//!   {"ad_id":"ad-00000042",…}      a click of a batch that has no id: its record as it was sent
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::super::record::RecordWriter;
use super::super::stream::{Holds, Stream, StreamOptions};
use super::request::Request;
use super::verdict::{Rejected, Verdict};

/// Writes the file.
pub(super) struct AcceptedFile {
    out: BufWriter<File>,
    path: String,
    stream: Stream,
    records: RecordWriter,
}

impl AcceptedFile {
    pub(super) fn create(path: &Path, options: &StreamOptions) -> Result<Self> {
        let shown = path.display().to_string();
        let file = File::create(path).with_context(|| format!("cannot write {shown}"))?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 18, file),
            path: shown,
            stream: Stream::new(options),
            records: RecordWriter::new(options.record_bytes, options.seed, options.generation),
        })
    }

    /// Notes the clicks of a request that are in the log.
    pub(super) fn add(&mut self, request: &Request, verdict: &Verdict<'_>) -> Result<()> {
        let written = match verdict {
            Verdict::Single { click_id, .. } => writeln!(self.out, "{click_id}"),
            Verdict::Batch { rejected, .. } => self.batch(request, rejected),
            _ => Ok(()),
        };
        written.with_context(|| format!("cannot write {}", self.path))
    }

    pub(super) fn finish(mut self) -> Result<()> {
        let synced = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        synced.with_context(|| format!("cannot write {}", self.path))
    }

    fn batch(&mut self, request: &Request, rejected: &[Rejected<'_>]) -> std::io::Result<()> {
        let mut left_out = rejected.iter().map(|one| one.index).peekable();
        for index in 0..request.clicks {
            if left_out.next_if_eq(&index).is_some() {
                continue;
            }
            let (Holds::Click(click) | Holds::Copy(click) | Holds::Late(click) | Holds::Future(click)) =
                self.stream.slot(request.first + u64::from(index)).holds
            else {
                continue;
            };
            let line = if click.has_click_id { self.records.id(click.origin) } else { self.records.click(&click) };
            self.out.write_all(line)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}
