//! Files that another writer compacted: other encodings, sorted in another way, without statistics or filters.

use std::fs::{self, File};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use weir_connectors::delta::{ClicksOf, ClicksTable};

use crate::table::{Place, ad_id, click, times};

/// Replaces every file of the table by one that was written with other settings, without bounds in the log.
fn compact(place: &Place, properties: &WriterProperties) {
    let log = place.path().join("_delta_log");
    let mut versions: Vec<_> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    let lines: Vec<Value> = versions
        .iter()
        .flat_map(|version| fs::read_to_string(version).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let mut actions = Vec::new();
    for add in lines.iter().filter_map(|line| line.get("add")) {
        let path = add["path"].as_str().unwrap();
        let compacted = path.replace("part-", "compacted-");
        rewrite(place, path, &compacted, properties);
        let size = fs::metadata(place.path().join(&compacted)).unwrap().len();
        actions.push(json!({ "remove": { "path": path, "dataChange": false } }).to_string());
        let mut new = add.clone();
        (new["path"], new["size"], new["stats"]) = (json!(compacted), json!(size), Value::Null);
        actions.push(json!({ "add": new }).to_string());
        fs::remove_file(place.path().join(path)).unwrap();
    }
    fs::write(log.join(format!("{:020}.json", versions.len())), actions.join("\n")).unwrap();
}

fn rewrite(place: &Place, from: &str, to: &str, properties: &WriterProperties) {
    let bytes = Bytes::from(fs::read(place.path().join(from)).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().with_batch_size(100).build().unwrap();
    // In another order: batch by batch from the end.
    let mut batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    batches.reverse();
    // Other engines make every column nullable.
    let fields =
        batches[0].schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(fields));
    let file = File::create(place.path().join(to)).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.clone())).unwrap();
    for batch in batches {
        writer.write(&RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).unwrap()).unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn files_of_other_writers_are_searched_as_well() {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let plain = || WriterProperties::builder().set_dictionary_enabled(false);
    let small = || WriterProperties::builder().set_data_page_row_count_limit(37).set_write_batch_size(16);
    let writers = [
        WriterProperties::builder().build(),
        plain().set_compression(Compression::SNAPPY).build(),
        plain().set_statistics_enabled(EnabledStatistics::None).build(),
        plain().set_writer_version(WriterVersion::PARQUET_2_0).set_compression(zstd).build(),
        small().set_max_row_group_row_count(Some(150)).set_bloom_filter_enabled(true).build(),
        small().set_offset_index_disabled(true).build(),
    ];
    for (seed, properties) in writers.iter().enumerate() {
        let random = &mut SmallRng::seed_from_u64(seed as u64);
        let mut place = Place::new(ClicksTable::Archive);
        for _ in 0..2 {
            let rows = (0..1_200).map(|number| click(random, ClicksTable::Archive, number, 2)).collect();
            place.write(rows, true);
        }
        compact(&place, properties);
        let mut found = 0;
        for _ in 0..40 {
            let (ad, (from_ms, until_ms)) = (ad_id(random), times(random));
            found += place.check(&ClicksOf { ad_id: &ad, from_ms, until_ms });
        }
        let _: bool = random.random();
        assert!(found > 100, "writer {seed}: {found}");
    }
}
