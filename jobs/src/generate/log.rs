//! Where generated clicks go.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::config::parse_location;

/// A log in partitions that can be appended to.
pub trait ClickLog {
    /// Adds a record to a partition. A log that cannot hold a record without a value is never given one.
    fn append(&mut self, partition: u32, key: &[u8], payload: Option<&[u8]>, log_time_ms: i64) -> Result<()>;

    /// Hands on what is held back in buffers, so that readers see it.
    fn flush(&mut self) -> Result<()>;

    /// Makes everything durable.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder with a file for each partition.
    Folder(PathBuf),
}

impl Target {
    /// Opens it; `append` to add to what is there, which otherwise must be nothing.
    pub(super) fn open(&self, partitions: u32, append: bool) -> Result<Box<dyn ClickLog>> {
        match self {
            Self::Folder(folder) => Ok(Box::new(FolderLog::open(folder, partitions, append)?)),
        }
    }

    /// Whether it can hold records without a value.
    #[must_use]
    pub const fn holds_tombstones(&self) -> bool {
        match self {
            Self::Folder(_) => false,
        }
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let path = parse_location(text).filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
        path.map(Self::Folder)
            .with_context(|| format!("cannot generate to `{text}`: give a folder (a path or file:///…)"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
        }
    }
}

struct FolderLog {
    files: Vec<BufWriter<File>>,
}

impl FolderLog {
    fn open(folder: &std::path::Path, partitions: u32, append: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let open = |partition: u32| {
            let path = folder.join(format!("part-{partition:05}.ndjson"));
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let opened = file.with_context(|| format!("cannot write {}", path.display()))?;
            let empty = opened.metadata().is_ok_and(|metadata| metadata.len() == 0);
            if !append && !empty {
                bail!("{} exists: give another folder, or --append", path.display());
            }
            Ok(BufWriter::with_capacity(1 << 18, opened))
        };
        Ok(Self { files: (0..partitions).map(open).collect::<Result<_>>()? })
    }
}

impl ClickLog for FolderLog {
    fn append(&mut self, partition: u32, _key: &[u8], payload: Option<&[u8]>, _log_time_ms: i64) -> Result<()> {
        let Some(file) = self.files.get_mut(partition as usize) else {
            bail!("there is no partition {partition}");
        };
        file.write_all(payload.unwrap_or_default())?;
        file.write_all(b"\n")?;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.files.iter_mut().try_for_each(|file| file.flush().context("cannot write the log"))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()
    }
}
