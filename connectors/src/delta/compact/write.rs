//! From a merge to the file that replaces its sources.

use std::collections::VecDeque;

use weir_dataflow::SinkError;

use super::commit::is_as_it_was;
use super::gather::{Gathered, Taken};
use super::{Compactor, Lineage, Merge};
use crate::delta::actions::Add;
use crate::delta::chunk::Chunk;
use crate::delta::clicks::ClickChunk;
use crate::delta::commit::new_number;
use crate::delta::files::{FileWriter, OpenFile, StoredFile};
use crate::delta::lineage::{LINEAGE_KEY, SourceFile};
use crate::delta::live::LiveFile;
use crate::delta::table::Column;
use crate::delta::windows::WindowChunk;
use crate::delta::{Table, failed, refused};

/// A file that may replace its sources, and that nobody sees yet.
#[derive(Debug)]
pub struct Compacted {
    pub(super) table: Table,
    pub(super) sources: Vec<LiveFile>,
    /// As the log will name it, but for the time.
    pub(super) add: Add,
    rows: u64,
    /// What its rows take in memory.
    pub(super) decoded_bytes: usize,
}

/// What came of a merge.
#[derive(Debug, Default)]
pub struct Written {
    /// The file; none where no two sources fit together.
    pub compacted: Option<Compacted>,
    /// What did not go into it: its rows would have taken too much memory, or are of another topic.
    pub rest: Option<Merge>,
    /// Sources that were left out because something is wrong with them.
    pub wrong: Vec<SinkError>,
}

/// What there is of a source.
enum Read {
    /// The whole file.
    Bytes(Vec<u8>),
    /// Nothing, and the table lists it.
    Missing,
    /// Nothing: it is no longer in the table.
    Replaced,
}

impl Compacted {
    /// How many files it replaces.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.sources.len() as u64
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes_before(&self) -> u64 {
        self.sources.iter().map(|file| file.size_bytes).sum()
    }

    /// Its own.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.add.size.unsigned_abs()
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Compactor {
    /// Reads the sources of a merge and writes the file that may replace them. Where somebody else has replaced a source
    /// meanwhile, and removed it, nothing comes of it.
    pub fn write(&mut self, merge: Merge) -> Result<Written, SinkError> {
        let columns = self.columns()?;
        match self.table {
            Table::Agg => self.write_chunks::<WindowChunk>(merge, &columns),
            Table::Late | Table::Raw => self.write_chunks::<ClickChunk>(merge, &columns),
        }
    }

    fn write_chunks<C: Chunk>(&mut self, merge: Merge, columns: &[Column]) -> Result<Written, SinkError> {
        let mut gathered = Gathered::<C>::new(self.table, columns, self.settings.room_bytes());
        let (mut sources, mut wrong, mut waiting) = (Vec::new(), Vec::new(), VecDeque::from(merge.files));
        while let Some(file) = waiting.pop_front() {
            let before = gathered.bytes;
            let taken = match self.read(&file)? {
                Read::Bytes(bytes) => gathered.take(bytes, &file),
                Read::Missing => Err("it is missing; bring it back from a copy".to_owned()),
                Read::Replaced => return Ok(Written { wrong, ..Written::default() }),
            };
            match taken {
                Ok(Taken::Rows) => {
                    self.decoded.insert(file.add.path.clone(), gathered.bytes - before);
                    sources.push(file);
                }
                Ok(Taken::NoRoom(bytes)) => {
                    self.decoded.insert(file.add.path.clone(), bytes);
                    // Where it is the first, it is as large as a file should be.
                    if !sources.is_empty() {
                        waiting.push_front(file);
                        break;
                    }
                }
                Ok(Taken::OtherTopic) => {
                    waiting.push_front(file);
                    break;
                }
                // Nothing of it was taken: the others go without it.
                Err(reason) => wrong.push(self.wrong(&file, reason)),
            }
        }
        let rest = Merge { files: waiting.into() };
        let rest = Some(rest).filter(|rest| rest.files.len() > 1);
        let compacted = if sources.len() < 2 { None } else { Some(self.store_rows(gathered, sources)?) };
        Ok(Written { compacted, rest, wrong })
    }

    fn read(&mut self, file: &LiveFile) -> Result<Read, SinkError> {
        let read = self.store.get(&file.name);
        if let Some(bytes) = read.map_err(|error| failed(self.table.name(), "read a data file", error))? {
            return Ok(Read::Bytes(bytes));
        }
        self.follow()?;
        Ok(if is_as_it_was(&self.live, &file.add) { Read::Missing } else { Read::Replaced })
    }

    fn store_rows<C: Chunk>(&self, gathered: Gathered<'_, C>, sources: Vec<LiveFile>) -> Result<Compacted, SinkError> {
        let table = self.table.name();
        let failed = |reason: String| failed(table, "compact files", reason);
        let extra = gathered.columns().iter().any(|column| column.name == "extra");
        let writer = FileWriter::new(self.table, extra, gathered.topic.as_deref().unwrap_or_default());
        let mut files = Vec::new();
        writer
            .write(&gathered.chunks, |file| {
                files.push(file);
                Ok(())
            })
            .map_err(failed)?;
        let file = only(files).filter(|file| file.rows() == gathered.rows);
        let file = file.ok_or_else(|| refused(table, misplaced(&sources)))?;
        let lineage = lineage_of(&sources, &gathered).to_text().map_err(|error| failed(error.to_string()))?;
        let path = self.new_path(&file, gathered.epoch);
        let mut entries = vec![("weir.version", env!("CARGO_PKG_VERSION").to_owned()), (LINEAGE_KEY, lineage.clone())];
        entries.extend(gathered.epoch.map(|epoch| ("weir.epoch", epoch.to_string())));
        if let Some(offsets) = &gathered.offsets {
            entries.push(("weir.offsets", serde_json::to_string(offsets).map_err(|error| failed(error.to_string()))?));
        }
        let decoded_bytes = gathered.bytes;
        // The rows are in the file; they need not wait for the store.
        drop(gathered);
        let name = format!("{table}/{path}");
        let stored = file.store(self.table, self.store.as_ref(), &name, &entries).map_err(failed)?;
        let rows = stored.rows;
        let add = add_of(stored, path, lineage).map_err(|error| failed(error.to_string()))?;
        if sources.iter().any(|source| source.add.partition_values != add.partition_values) {
            return Err(refused(table, misplaced(&sources)));
        }
        Ok(Compacted { table: self.table, sources, add, rows, decoded_bytes })
    }

    /// A path that nobody else will ever use.
    fn new_path(&self, file: &OpenFile, epoch: Option<u64>) -> String {
        let values = self.table.partition_values(file.partition);
        let folder: String = values.iter().map(|(column, value)| format!("{column}={value}/")).collect();
        let number = new_number((self.clock)());
        format!("{folder}compact-{:020}-{number:032x}.zstd.parquet", epoch.unwrap_or_default())
    }

    fn wrong(&self, file: &LiveFile, reason: String) -> SinkError {
        refused(self.table.name(), format!("data file `{}`: {reason}; it is not compacted", file.name))
    }
}

fn only(mut files: Vec<OpenFile>) -> Option<OpenFile> {
    let file = files.pop()?;
    files.is_empty().then_some(file)
}

fn misplaced(sources: &[LiveFile]) -> String {
    let first = sources.first().map_or("", |file| &file.name);
    format!("`{first}` or a neighbour has rows of another partition than its own; they are not compacted")
}

fn lineage_of<C>(sources: &[LiveFile], gathered: &Gathered<'_, C>) -> Lineage {
    let mut lineage = Lineage::default();
    for (file, rows) in sources.iter().zip(&gathered.rows_of_sources) {
        match file.lineage() {
            Some(known) => lineage.take(&file.add.path, known),
            None => lineage.sources.push(SourceFile {
                path: file.add.path.clone(),
                rows: *rows,
                size: file.size_bytes,
                sha256: file.sha256().map(str::to_owned),
            }),
        }
    }
    lineage
}

fn add_of(stored: StoredFile, path: String, lineage: String) -> Result<Add, serde_json::Error> {
    let mut tags = stored.details.tags()?.unwrap_or_default();
    tags.insert(LINEAGE_KEY.to_owned(), Some(lineage));
    Ok(Add {
        path,
        partition_values: stored.details.partition,
        size: stored.size_bytes as i64,
        modification_time: 0,
        data_change: false,
        stats: Some(stored.details.stats.to_string()),
        tags: Some(tags),
    })
}
