//! From an URL to partitions.

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;
use weir_checkpoints::PartitionId;
use weir_dataflow::SourceError;

use super::folder::{Entry, Folder, Place, mixed};
use super::segment::is_segment;
use crate::objects::ObjectStoreAt;

/// A log: one file, or a folder of segments or partitions.
#[derive(Debug)]
pub(super) struct Log {
    root: Folder,
    /// An object store knows no empty folders: one that is not there looks like one that is empty.
    must_exist: bool,
}

impl Log {
    /// Opens the log at an URL. One that is to be followed in an object store may be empty.
    pub(super) fn open(text: &str, follow: bool) -> Result<Self, SourceError> {
        let url = Url::parse(text)
            .map_err(|error| invalid(text, format!("{error}; write file:///path or s3://bucket/path")))?;
        if url.scheme() == "file" {
            return Ok(Self { root: local_root(&url, text)?, must_exist: false });
        }
        Ok(Self { root: remote_root(text)?, must_exist: !follow })
    }

    /// The folder of each partition that there is now. An empty folder is one partition, number 0.
    pub(super) fn partitions(&self) -> Result<BTreeMap<PartitionId, Folder>, SourceError> {
        let single = || BTreeMap::from([(PartitionId(0), self.root.clone())]);
        if self.root.only.is_some() {
            return Ok(single());
        }
        let mut numbered = BTreeMap::new();
        let (mut has_segments, mut other_folder) = (false, None);
        for entry in self.root.entries("")? {
            match entry {
                Entry::Segment(_) => has_segments = true,
                Entry::Folder(name) => other_folder = Some(name),
                Entry::Partition(number, name) => self.add(&mut numbered, number, name)?,
            }
        }
        let first = numbered.first_key_value().map(|(number, _)| number.to_string());
        match (has_segments, first, other_folder) {
            (true, Some(partition), _) => Err(mixed(&self.root.url, &partition)),
            (true, None, _) => Ok(single()),
            (false, Some(_), _) => Ok(numbered),
            (false, None, Some(folder)) => Err(invalid(
                &self.root.url,
                format!(
                    "there are no segments (*.ndjson, *.jsonl, *.json) and no numbered folders, only folders like \
                     `{folder}`: name one of them"
                ),
            )),
            (false, None, None) if self.must_exist => {
                Err(invalid(&self.root.url, "nothing is there: look at the bucket and the prefix".to_owned()))
            }
            (false, None, None) => Ok(single()),
        }
    }

    fn add(&self, numbered: &mut BTreeMap<PartitionId, Folder>, number: u32, name: String) -> Result<(), SourceError> {
        let folder = self.root.below(&name);
        match numbered.insert(PartitionId(number), folder.clone()) {
            Some(other) if other.url != folder.url => Err(invalid(
                &self.root.url,
                format!("{} and {} are the same partition: keep one", other.url, folder.url),
            )),
            _ => Ok(()),
        }
    }
}

impl Folder {
    fn below(&self, name: &str) -> Self {
        let place = match &self.place {
            Place::Local(path) => Place::Local(path.join(name)),
            Place::Remote(store, prefix) => Place::Remote(store.clone(), format!("{prefix}{name}/")),
        };
        Self { place, only: None, url: format!("{}{name}/", self.url) }
    }
}

fn local_root(url: &Url, text: &str) -> Result<Folder, SourceError> {
    let path = url.to_file_path().map_err(|()| invalid(text, "it has no local path".to_owned()))?;
    if path.is_dir() {
        let url = format!("{}/", text.trim_end_matches('/'));
        return Ok(Folder { place: Place::Local(path), only: None, url });
    }
    let parent_and_name = path.parent().zip(path.file_name().and_then(|name| name.to_str()));
    match parent_and_name {
        Some((parent, name)) if path.is_file() => Ok(Folder {
            place: Place::Local(parent.to_owned()),
            only: Some(name.to_owned()),
            url: split_last(text).0.to_owned(),
        }),
        _ => Err(invalid(text, not_there(&path))),
    }
}

fn not_there(path: &Path) -> String {
    match path.try_exists() {
        Ok(true) => "neither a file nor a folder".to_owned(),
        Ok(false) => "no such file or folder: make it first, or mend the path".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// An object of that name is a log of one file, anything else a prefix.
fn remote_root(text: &str) -> Result<Folder, SourceError> {
    let open = |url: &str| ObjectStoreAt::open(url).map_err(|error| invalid(text, error.to_string()));
    let (parent, name) = split_last(text);
    if is_segment(name) && parent.matches('/').count() > 2 {
        let store = open(parent)?;
        let object = store
            .head(name)
            .map_err(|error| SourceError::Unreadable { location: text.to_owned(), reason: error.to_string() })?;
        if object.is_some() {
            let place = Place::Remote(store, String::new());
            return Ok(Folder { place, only: Some(name.to_owned()), url: parent.to_owned() });
        }
    }
    let url = format!("{}/", text.trim_end_matches('/'));
    Ok(Folder { place: Place::Remote(open(&url)?, String::new()), only: None, url })
}

/// The folder of an URL, with its `/`, and the name in it.
fn split_last(url: &str) -> (&str, &str) {
    url.split_at(url.rfind('/').map_or(0, |slash| slash + 1))
}

fn invalid(location: &str, reason: String) -> SourceError {
    SourceError::Invalid { location: location.to_owned(), reason }
}
