//! One partition's folder: which segments there are.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use weir_checkpoints::Store;
use weir_dataflow::SourceError;

use super::segment::{Segment, is_hidden, is_segment, partition_number};
use crate::objects::ObjectStoreAt;

/// How often a growing log is listed. A disk costs microseconds, an object store money.
const LOCAL_INTERVAL: Duration = Duration::from_millis(100);
const REMOTE_INTERVAL: Duration = Duration::from_secs(5);

/// Where the segments of one partition lie.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) place: Place,
    /// The log is this one file of the folder.
    pub(super) only: Option<String>,
    /// The folder as an URL, for messages; ends in `/`.
    pub(super) url: String,
}

#[derive(Debug, Clone)]
pub(super) enum Place {
    Local(PathBuf),
    /// A prefix, empty or ending in `/`.
    Remote(ObjectStoreAt, String),
}

/// The segments of a partition at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// How many there are before the first that was asked for.
    pub(super) before: usize,
    /// The others, in the order of their names.
    pub(super) segments: Vec<Segment>,
}

/// What lies directly in a folder.
pub(super) enum Entry {
    Segment(Segment),
    /// A folder that is a partition.
    Partition(u32, String),
    /// Another folder.
    Folder(String),
}

impl Folder {
    /// Lists the segments whose names are `from` or later.
    pub(super) fn list(&self, from: &str) -> Result<Listing, SourceError> {
        let entries = match &self.only {
            Some(name) => self.look_at(name)?.into_iter().map(Entry::Segment).collect(),
            None => self.entries(from)?,
        };
        let mut listing = Listing::default();
        for entry in entries {
            match entry {
                Entry::Segment(segment) if segment.name.as_str() < from => listing.before += 1,
                Entry::Segment(segment) => listing.segments.push(segment),
                Entry::Partition(_, name) => return Err(mixed(&self.url, &name)),
                Entry::Folder(_) => {}
            }
        }
        listing.segments.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// What lies in the folder, in any order. Sizes and times of segments before `from` are not looked up.
    pub(super) fn entries(&self, from: &str) -> Result<Vec<Entry>, SourceError> {
        match &self.place {
            Place::Local(path) => local_entries(path, from).map_err(|error| self.unreadable("", error)),
            Place::Remote(store, prefix) => {
                let objects = store.list(prefix).map_err(|error| self.unreadable("", error))?;
                Ok(objects.into_iter().filter_map(|object| remote_entry(object, prefix)).collect())
            }
        }
    }

    /// How long a listing is good for.
    pub(super) fn interval(&self) -> Duration {
        match self.place {
            Place::Local(_) => LOCAL_INTERVAL,
            Place::Remote(..) => REMOTE_INTERVAL,
        }
    }

    /// An error at one of its segments, or at the folder itself where `name` is empty.
    pub(super) fn unreadable(&self, name: &str, error: impl ToString) -> SourceError {
        SourceError::Unreadable { location: format!("{}{name}", self.url), reason: error.to_string() }
    }

    fn look_at(&self, name: &str) -> Result<Option<Segment>, SourceError> {
        match &self.place {
            Place::Local(path) => match fs::metadata(path.join(name)) {
                Ok(metadata) => Ok(Some(local_segment(name.to_owned(), &metadata))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(self.unreadable(name, error)),
            },
            Place::Remote(store, prefix) => {
                let object = store.head(&format!("{prefix}{name}")).map_err(|error| self.unreadable(name, error))?;
                Ok(object.map(|object| remote_segment(name.to_owned(), &object)))
            }
        }
    }
}

/// Partitions and segments lie side by side.
pub(super) fn mixed(url: &str, partition: &str) -> SourceError {
    SourceError::Invalid {
        location: url.to_owned(),
        reason: format!(
            "`{partition}/` is the folder of a partition, and there are files beside it. Move the files into `0/`, or \
             name the one folder that is meant; if partitions were added to a log that was empty, start the job again"
        ),
    }
}

fn local_entries(path: &PathBuf, from: &str) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for listed in fs::read_dir(path)? {
        let listed = listed?;
        // A name that is no UTF-8 is none of ours.
        let Ok(name) = listed.file_name().into_string() else { continue };
        if is_hidden(&name) {
            continue;
        }
        if is_segment(&name) && name.as_str() < from {
            entries.push(Entry::Segment(Segment { name, size_bytes: 0, modified_ms: 0, file_id: 0 }));
            continue;
        }
        let metadata = match fs::metadata(listed.path()) {
            Ok(metadata) => metadata,
            // Removed since, or a link to nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            entries.push(folder_entry(name));
        } else if is_segment(&name) {
            entries.push(Entry::Segment(local_segment(name, &metadata)));
        }
    }
    Ok(entries)
}

fn remote_entry(object: weir_checkpoints::ObjectInfo, prefix: &str) -> Option<Entry> {
    let name = object.name.strip_prefix(prefix)?;
    let entry = match name.split_once('/') {
        Some((folder, rest)) if is_segment(rest.rsplit('/').next()?) => folder_entry(folder.to_owned()),
        Some(_) => return None,
        None if is_segment(name) => Entry::Segment(remote_segment(name.to_owned(), &object)),
        None => return None,
    };
    match entry {
        Entry::Folder(name) if is_hidden(&name) => None,
        other => Some(other),
    }
}

fn folder_entry(name: String) -> Entry {
    match partition_number(&name) {
        Some(number) => Entry::Partition(number, name),
        None => Entry::Folder(name),
    }
}

fn remote_segment(name: String, object: &weir_checkpoints::ObjectInfo) -> Segment {
    Segment { name, size_bytes: object.size_bytes, modified_ms: object.modified_ms, file_id: 0 }
}

fn local_segment(name: String, metadata: &Metadata) -> Segment {
    let modified_ms = modified_ms(metadata);
    Segment { name, size_bytes: metadata.len(), modified_ms, file_id: metadata.ino() }
}

fn modified_ms(metadata: &Metadata) -> i64 {
    let since_1970 = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_1970.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}
