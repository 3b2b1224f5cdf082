//! Files as other engines write them: other units of time, other encodings, fewer columns, without indexes.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use weir_dataflow::{Window, WindowQuery};

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray, TimestampNanosecondArray};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::oracle::{DAY_MS, Oracle, all_of};
use crate::table::{Place, TableWriter};

/// A file of hours of one day, a row an ad.
pub(crate) struct File<'a> {
    pub(crate) ads: &'a [String],
    pub(crate) row_group_rows: usize,
    pub(crate) page_index: bool,
    pub(crate) nanoseconds: bool,
    /// Whether the column `region` is there.
    pub(crate) region: bool,
    pub(crate) compression: Compression,
}

impl<'a> File<'a> {
    pub(crate) fn of(ads: &'a [String]) -> Self {
        let compression = Compression::SNAPPY;
        Self { ads, row_group_rows: 1 << 20, page_index: true, nanoseconds: false, region: true, compression }
    }

    fn encode(&self) -> Vec<u8> {
        let starts: Vec<i64> = (0..self.ads.len()).map(|row| DAY_MS + (row % 24) as i64 * 3_600_000).collect();
        let (mut ads, mut regions, mut sketches) = (StringBuilder::new(), StringBuilder::new(), BinaryBuilder::new());
        for ad in self.ads {
            ads.append_value(ad);
            regions.append_value("eu-1");
            sketches.append_value(ad);
        }
        let starts: ArrayRef = if self.nanoseconds {
            let starts = starts.iter().map(|start_ms| start_ms * 1_000_000).collect::<Vec<_>>();
            Arc::new(TimestampNanosecondArray::from(starts).with_timezone("UTC"))
        } else {
            Arc::new(TimestampMillisecondArray::from(starts).with_timezone("UTC"))
        };
        let ones = || Arc::new(Int64Array::from(vec![1; self.ads.len()])) as ArrayRef;
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("epoch", ones()),
            ("user_sketch", Arc::new(sketches.finish())),
            ("window_start", starts),
            ("window_end", ones()),
            ("unique_users", ones()),
            ("click_count", ones()),
            ("ad_id", Arc::new(ads.finish())),
        ];
        if self.region {
            columns.push(("region", Arc::new(regions.finish())));
        }
        let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let batch =
            RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect()).unwrap();
        let statistics = if self.page_index { EnabledStatistics::Page } else { EnabledStatistics::Chunk };
        let properties = WriterProperties::builder()
            .set_compression(self.compression)
            .set_max_row_group_row_count(Some(self.row_group_rows))
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(100)
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(!self.page_index)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }
}

/// Adds it to a table, with nothing about its values in the log.
pub(crate) fn add(place: &Place, file: &File<'_>) {
    let store = place.store();
    let next = (0..).find(|version| store.get(&format!("clicks_agg/_delta_log/{version:020}.json")).unwrap().is_none());
    let next: u64 = next.unwrap();
    let bytes = file.encode();
    let add = json!({
        "path": format!("window=1h/date=2025-01-15/foreign%20{next}.parquet"),
        "partitionValues": { "window": "1h", "date": "2025-01-15" },
        "size": bytes.len(),
        "modificationTime": 1,
        "dataChange": true,
    });
    store.put(&format!("clicks_agg/window=1h/date=2025-01-15/foreign {next}.parquet"), bytes).unwrap();
    let version = json!({ "add": add }).to_string();
    store.put(&format!("clicks_agg/_delta_log/{next:020}.json"), version.into_bytes()).unwrap();
}

#[test]
fn files_of_other_writers_are_read_like_our_own() {
    let place = Place::local();
    let mut writer = TableWriter::open(&place.store());
    let mut oracle = Oracle::default();
    writer.commit(&oracle.add(&mut SmallRng::seed_from_u64(3), 100, 1));
    oracle.rows.retain(|row| row.ad_id.starts_with("foreign"));
    let ads: Vec<String> = (0..3_000).map(|ad| format!("foreign-{ad:04}")).collect();
    for (number, part) in ads.chunks(500).enumerate() {
        let file = File {
            ads: part,
            row_group_rows: [1 << 20, 130][number % 2],
            page_index: number % 3 == 0,
            nanoseconds: number % 2 == 0,
            region: number != 4,
            compression: [Compression::SNAPPY, Compression::UNCOMPRESSED][number % 2],
        };
        add(&place, &file);
    }
    let reader = place.reader();
    for (number, ad) in ads.iter().enumerate().step_by(7) {
        let query = WindowQuery { sketches: true, ..all_of(&[ad], Window::OneHour) };
        let found = reader.windows(&query).unwrap();
        let [row] = &found[..] else { panic!("{ad}: {found:?}") };
        assert_eq!(row.start_ms, DAY_MS + (number % 500 % 24) as i64 * 3_600_000, "{ad}");
        assert_eq!(row.user_sketch, ad.as_bytes());
        assert_eq!(row.region.as_deref(), (number / 500 != 4).then_some("eu-1"));
    }
    let noon = WindowQuery { start_ms: DAY_MS, end_ms: DAY_MS + 1, ..all_of(&[], Window::OneHour) };
    let found = reader.windows(&noon).unwrap();
    assert_eq!(found.iter().filter(|row| row.ad_id.starts_with("foreign")).count(), 6 * 500_usize.div_ceil(24));
}
