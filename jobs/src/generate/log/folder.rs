//! An NDJSON log in a local folder as the target.

use std::path::Path;

use anyhow::{Context, Result, bail};
use weir_connectors::ndjson::{NdjsonWriter, WriterConfig};

use super::ClickLog;

/// One writer a partition.
pub(super) struct FolderLog {
    writers: Vec<NdjsonWriter>,
}

/// How many partitions the log in a folder has; none where there is no log.
pub(super) fn partitions(folder: &Path) -> Result<Option<u32>> {
    if !folder.exists() {
        return Ok(None);
    }
    let read = || format!("cannot read {}", folder.display());
    let mut count = 0;
    for entry in std::fs::read_dir(folder).with_context(read)? {
        let name = entry.with_context(read)?.file_name();
        count += u32::from(name.to_string_lossy().parse::<u32>().is_ok());
    }
    Ok(Some(count).filter(|count| *count > 0))
}

impl FolderLog {
    /// Opens the log, or makes it.
    pub(super) fn open(folder: &Path, wanted: u32, append: bool) -> Result<Self> {
        let shown = folder.display();
        match partitions(folder)? {
            Some(_) if !append => bail!("there is a log in {shown}: give another folder, or --append"),
            Some(count) if count != wanted => {
                bail!("the log in {shown} has {count} partitions: give --partitions {count}")
            }
            _ => {}
        }
        let open = |partition: u32| NdjsonWriter::open(&folder.join(partition.to_string()), WriterConfig::default());
        Ok(Self { writers: (0..wanted).map(open).collect::<Result<_, _>>()? })
    }
}

impl ClickLog for FolderLog {
    fn append(&mut self, partition: u32, _key: &[u8], payload: Option<&[u8]>, log_time_ms: i64) -> Result<()> {
        let Some(writer) = self.writers.get_mut(partition as usize) else {
            bail!("there is no partition {partition}");
        };
        writer.append(log_time_ms, payload.unwrap_or_default())?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.writers.iter_mut().try_for_each(NdjsonWriter::sync)?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(self.writers.into_iter().try_for_each(NdjsonWriter::close)?)
    }
}
