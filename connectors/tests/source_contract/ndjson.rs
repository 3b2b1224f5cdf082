//! NDJSON logs for the suite: written by our own writer, as files of any name, and in an object store.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use weir_checkpoints::Store;
use weir_connectors::ndjson::{NdjsonConfig, NdjsonSourceFactory, NdjsonWriter, Region, SegmentFormat, WriterConfig};
use weir_connectors::objects;
use weir_dataflow::SourceFactory;

use crate::fixture::{Fixture, Log};

/// Segments named by their offsets.
pub(crate) struct Written {
    pub(crate) format: SegmentFormat,
}

/// One file an append, in the order of their names.
pub(crate) struct Files {
    pub(crate) ending: &'static str,
}

/// The same in an object store.
pub(crate) struct Objects {
    pub(crate) fresh_url: fn(&str) -> String,
    pub(crate) ending: &'static str,
}

impl Fixture for Written {
    fn new_log(&self, partitions: u32) -> Box<dyn Log> {
        let folder = TempDir::new().unwrap();
        for partition in 0..partitions {
            fs::create_dir(folder.path().join(partition.to_string())).unwrap();
        }
        Box::new(WrittenLog { folder, config: WriterConfig { segment_bytes: 300, format: self.format, region: None } })
    }
}

impl Fixture for Files {
    fn new_log(&self, partitions: u32) -> Box<dyn Log> {
        let (folder, flat) = (new_folder(partitions), partitions == 1);
        Box::new(FilesLog { folder, flat, ending: self.ending, appended: BTreeMap::new() })
    }
}

impl Fixture for Objects {
    /// An object store has no empty folders, so each partition starts with a segment without lines.
    fn new_log(&self, partitions: u32) -> Box<dyn Log> {
        let url = (self.fresh_url)("source");
        let store = objects::open(&url).unwrap();
        let mut log = ObjectsLog { url, store, flat: partitions == 1, ending: self.ending, appended: BTreeMap::new() };
        for partition in 0..partitions {
            log.append(partition, &[]);
        }
        Box::new(log)
    }
}

struct WrittenLog {
    folder: TempDir,
    config: WriterConfig,
}

impl WrittenLog {
    fn partition(&self, partition: u32) -> PathBuf {
        self.folder.path().join(partition.to_string())
    }
}

impl Log for WrittenLog {
    fn append_from(&mut self, region: Option<&str>, partition: u32, payloads: &[Vec<u8>]) {
        let region = region.map(|region| Region::new(region).unwrap());
        let config = WriterConfig { region, ..self.config.clone() };
        let mut writer = NdjsonWriter::open(&self.partition(partition), config).unwrap();
        for payload in payloads {
            writer.append(chrono::Utc::now().timestamp_millis(), payload).unwrap();
        }
        writer.close().unwrap();
    }

    fn follow(&self) -> Box<dyn SourceFactory> {
        factory(local_url(self.folder.path()), true)
    }

    fn bounded(&self) -> Option<Box<dyn SourceFactory>> {
        Some(factory(local_url(self.folder.path()), false))
    }

    fn cut_start(&mut self, partition: u32) {
        let mut segments: Vec<PathBuf> = fs::read_dir(self.partition(partition))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".ndjson"))
            .collect();
        segments.sort();
        fs::remove_file(&segments[0]).unwrap();
    }
}

struct FilesLog {
    folder: TempDir,
    flat: bool,
    ending: &'static str,
    appended: BTreeMap<u32, Vec<String>>,
}

impl Log for FilesLog {
    fn append_from(&mut self, region: Option<&str>, partition: u32, payloads: &[Vec<u8>]) {
        let names = self.appended.entry(partition).or_default();
        let name = segment_name(self.flat, partition, names.len(), self.ending);
        // Readers must never see half a compressed file.
        let hidden = self.folder.path().join(".new");
        fs::write(&hidden, segment_bytes(self.ending, region, payloads)).unwrap();
        fs::rename(hidden, self.folder.path().join(&name)).unwrap();
        names.push(name);
    }

    fn follow(&self) -> Box<dyn SourceFactory> {
        factory(local_url(self.folder.path()), true)
    }

    fn bounded(&self) -> Option<Box<dyn SourceFactory>> {
        Some(factory(local_url(self.folder.path()), false))
    }

    fn cut_start(&mut self, partition: u32) {
        let first = self.appended.get_mut(&partition).unwrap().remove(0);
        fs::remove_file(self.folder.path().join(first)).unwrap();
    }
}

struct ObjectsLog {
    url: String,
    store: Arc<dyn Store>,
    flat: bool,
    ending: &'static str,
    appended: BTreeMap<u32, Vec<String>>,
}

impl Log for ObjectsLog {
    fn append_from(&mut self, region: Option<&str>, partition: u32, payloads: &[Vec<u8>]) {
        let names = self.appended.entry(partition).or_default();
        let name = segment_name(self.flat, partition, names.len(), self.ending);
        self.store.put(&name, segment_bytes(self.ending, region, payloads)).unwrap();
        names.push(name);
    }

    fn follow(&self) -> Box<dyn SourceFactory> {
        factory(self.url.clone(), true)
    }

    fn bounded(&self) -> Option<Box<dyn SourceFactory>> {
        Some(factory(self.url.clone(), false))
    }

    fn cut_start(&mut self, partition: u32) {
        for name in self.appended.get_mut(&partition).unwrap().drain(..2) {
            self.store.delete(&name).unwrap();
        }
    }
}

fn factory(url: String, follow: bool) -> Box<dyn SourceFactory> {
    Box::new(NdjsonSourceFactory::new(NdjsonConfig { url, follow }).unwrap())
}

fn local_url(folder: &Path) -> String {
    format!("file://{}/", folder.display())
}

/// One partition lies in the folder itself, several in numbered ones.
fn new_folder(partitions: u32) -> TempDir {
    let folder = TempDir::new().unwrap();
    for partition in 0..partitions {
        if partitions > 1 {
            fs::create_dir(folder.path().join(partition.to_string())).unwrap();
        }
    }
    folder
}

fn segment_name(flat: bool, partition: u32, number: usize, ending: &str) -> String {
    if flat { format!("segment-{number:03}{ending}") } else { format!("{partition}/segment-{number:03}{ending}") }
}

fn segment_bytes(ending: &str, region: Option<&str>, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut lines = Vec::new();
    if let Some(region) = region {
        let now_ms = chrono::Utc::now().timestamp_millis();
        writeln!(lines, "{{\"weir_log_time_ms\":{now_ms},\"weir_region\":\"{region}\"}}").unwrap();
    }
    for payload in payloads {
        lines.extend_from_slice(payload);
        lines.push(b'\n');
    }
    if ending.ends_with(".gz") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&lines).unwrap();
        return encoder.finish().unwrap();
    }
    if ending.ends_with(".zst") {
        return zstd::encode_all(lines.as_slice(), 1).unwrap();
    }
    lines
}
