//! Actions as rows of Parquet, and back: the inside of a checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::actions::{Action, Add, Format, Metadata, Protocol, Remove, Txn};

/// The actions as one Parquet file.
pub(super) fn encode(actions: &[Action]) -> Result<Vec<u8>, ParquetError> {
    let columns = [
        ("txn", txn_column(actions)?),
        ("add", add_column(actions)?),
        ("remove", remove_column(actions)?),
        ("metaData", metadata_column(actions)?),
        ("protocol", protocol_column(actions)?),
    ];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, column)| column.clone()).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    // Snappy, as Delta's own writers do: every reader of the log must be able to read it.
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// The actions in some columns of a checkpoint.
pub(super) fn decode(bytes: Vec<u8>, columns: &[&str]) -> Result<Vec<Action>, ParquetError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(bytes), options)?;
    let fields = builder.parquet_schema().root_schema().get_fields().iter().enumerate();
    let roots: Vec<usize> =
        fields.filter(|(_, field)| columns.contains(&field.name())).map(|(index, _)| index).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let mut actions = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        decode_batch(&batch?, &mut actions);
    }
    Ok(actions)
}

fn structure(present: Vec<bool>, fields: Vec<(&str, ArrayRef)>) -> Result<ArrayRef, ArrowError> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) =
        fields.into_iter().map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array)).unzip();
    Ok(Arc::new(StructArray::try_new(Fields::from(fields), arrays, Some(NullBuffer::from(present)))?))
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn integers(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn flags(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

/// A map from text to text; the inner `None` is a null value in a map.
fn maps<'a>(
    values: impl Iterator<Item = Option<impl Iterator<Item = (&'a str, Option<&'a str>)>>>,
) -> Result<ArrayRef, ArrowError> {
    let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for map in values {
        let is_there = map.is_some();
        for (key, value) in map.into_iter().flatten() {
            builder.keys().append_value(key);
            builder.values().append_option(value);
        }
        builder.append(is_there)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn settings(map: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, Option<&str>)> {
    map.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())))
}

fn nullable(map: &BTreeMap<String, Option<String>>) -> impl Iterator<Item = (&str, Option<&str>)> {
    map.iter().map(|(key, value)| (key.as_str(), value.as_deref()))
}

fn txn_column(actions: &[Action]) -> Result<ArrayRef, ArrowError> {
    let rows = || actions.iter().map(|action| action.txn.as_ref());
    let fields = vec![
        ("appId", texts(rows().map(|txn| txn.map(|txn| txn.app_id.as_str())))),
        ("version", longs(rows().map(|txn| txn.map(|txn| txn.version)))),
        ("lastUpdated", longs(rows().map(|txn| txn.and_then(|txn| txn.last_updated)))),
    ];
    structure(rows().map(|txn| txn.is_some()).collect(), fields)
}

fn add_column(actions: &[Action]) -> Result<ArrayRef, ArrowError> {
    let rows = || actions.iter().map(|action| action.add.as_ref());
    let fields = vec![
        ("path", texts(rows().map(|add| add.map(|add| add.path.as_str())))),
        ("partitionValues", maps(rows().map(|add| add.map(|add| nullable(&add.partition_values))))?),
        ("size", longs(rows().map(|add| add.map(|add| add.size)))),
        ("modificationTime", longs(rows().map(|add| add.map(|add| add.modification_time)))),
        ("dataChange", flags(rows().map(|add| add.map(|add| add.data_change)))),
        ("stats", texts(rows().map(|add| add.and_then(|add| add.stats.as_deref())))),
        ("tags", maps(rows().map(|add| add.and_then(|add| add.tags.as_ref().map(nullable))))?),
    ];
    structure(rows().map(|add| add.is_some()).collect(), fields)
}

fn remove_column(actions: &[Action]) -> Result<ArrayRef, ArrowError> {
    let rows = || actions.iter().map(|action| action.remove.as_ref());
    let values = rows().map(|remove| remove.and_then(|remove| remove.partition_values.as_ref().map(nullable)));
    let fields = vec![
        ("path", texts(rows().map(|remove| remove.map(|remove| remove.path.as_str())))),
        ("deletionTimestamp", longs(rows().map(|remove| remove.and_then(|remove| remove.deletion_timestamp)))),
        ("dataChange", flags(rows().map(|remove| remove.map(|remove| remove.data_change)))),
        ("extendedFileMetadata", flags(rows().map(|remove| remove.and_then(|remove| remove.extended_file_metadata)))),
        ("partitionValues", maps(values)?),
        ("size", longs(rows().map(|remove| remove.and_then(|remove| remove.size)))),
    ];
    structure(rows().map(|remove| remove.is_some()).collect(), fields)
}

fn metadata_column(actions: &[Action]) -> Result<ArrayRef, ArrowError> {
    let rows = || actions.iter().map(|action| action.meta_data.as_ref());
    let formats = || rows().map(|metadata| metadata.map(|metadata| &metadata.format));
    let format = vec![
        ("provider", texts(formats().map(|format| format.map(|format| format.provider.as_str())))),
        ("options", maps(formats().map(|format| format.map(|format| settings(&format.options))))?),
    ];
    let mut partition_columns = ListBuilder::new(StringBuilder::new());
    for metadata in rows() {
        partition_columns.append_option(metadata.map(|metadata| metadata.partition_columns.iter().map(Some)));
    }
    let fields = vec![
        ("id", texts(rows().map(|metadata| metadata.map(|metadata| metadata.id.as_str())))),
        ("name", texts(rows().map(|metadata| metadata.and_then(|metadata| metadata.name.as_deref())))),
        ("description", texts(rows().map(|metadata| metadata.and_then(|metadata| metadata.description.as_deref())))),
        ("format", structure(formats().map(|format| format.is_some()).collect(), format)?),
        ("schemaString", texts(rows().map(|metadata| metadata.map(|metadata| metadata.schema_string.as_str())))),
        ("partitionColumns", Arc::new(partition_columns.finish())),
        ("configuration", maps(rows().map(|metadata| metadata.map(|metadata| settings(&metadata.configuration))))?),
        ("createdTime", longs(rows().map(|metadata| metadata.and_then(|metadata| metadata.created_time)))),
    ];
    structure(rows().map(|metadata| metadata.is_some()).collect(), fields)
}

fn protocol_column(actions: &[Action]) -> Result<ArrayRef, ArrowError> {
    let rows = || actions.iter().map(|action| action.protocol.as_ref());
    let fields = vec![
        ("minReaderVersion", integers(rows().map(|protocol| protocol.map(|protocol| protocol.min_reader_version)))),
        ("minWriterVersion", integers(rows().map(|protocol| protocol.map(|protocol| protocol.min_writer_version)))),
    ];
    structure(rows().map(|protocol| protocol.is_some()).collect(), fields)
}

fn decode_batch(batch: &RecordBatch, actions: &mut Vec<Action>) {
    let column = |name: &str| batch.column_by_name(name).and_then(|column| column.as_struct_opt());
    for row in 0..batch.num_rows() {
        let cell = |name: &str| Some(Cell { column: column(name)?, row }).filter(Cell::is_there);
        let action = Action {
            commit_info: None,
            protocol: cell("protocol").and_then(protocol_of),
            meta_data: cell("metaData").and_then(metadata_of),
            txn: cell("txn").and_then(txn_of),
            add: cell("add").and_then(add_of),
            remove: cell("remove").and_then(remove_of),
        };
        if action != Action::default() {
            actions.push(action);
        }
    }
}

/// One row of a column of structures. Fields that the writer left out are `None`.
#[derive(Clone, Copy)]
struct Cell<'a> {
    column: &'a StructArray,
    row: usize,
}

impl<'a> Cell<'a> {
    fn is_there(&self) -> bool {
        self.column.is_valid(self.row)
    }

    fn field(self, name: &str) -> Option<&'a ArrayRef> {
        self.column.column_by_name(name).filter(|field| field.is_valid(self.row))
    }

    fn text(self, name: &str) -> Option<String> {
        Some(self.field(name)?.as_string_opt::<i32>()?.value(self.row).to_owned())
    }

    fn long(self, name: &str) -> Option<i64> {
        Some(self.field(name)?.as_primitive_opt::<Int64Type>()?.value(self.row))
    }

    fn integer(self, name: &str) -> Option<i32> {
        Some(self.field(name)?.as_primitive_opt::<Int32Type>()?.value(self.row))
    }

    fn flag(self, name: &str) -> Option<bool> {
        Some(self.field(name)?.as_boolean_opt()?.value(self.row))
    }

    fn cell(self, name: &str) -> Option<Self> {
        Some(Self { column: self.field(name)?.as_struct_opt()?, row: self.row })
    }

    fn texts(self, name: &str) -> Option<Vec<String>> {
        let values = self.field(name)?.as_list_opt::<i32>()?.value(self.row);
        Some(values.as_string_opt::<i32>()?.iter().flatten().map(str::to_owned).collect())
    }

    fn map(self, name: &str) -> Option<BTreeMap<String, Option<String>>> {
        let entries = self.field(name)?.as_map_opt()?.value(self.row);
        let (keys, values) = (entries.column(0).as_string_opt::<i32>()?, entries.column(1).as_string_opt::<i32>()?);
        let pairs = keys.iter().zip(values.iter());
        Some(pairs.filter_map(|(key, value)| Some((key?.to_owned(), value.map(str::to_owned)))).collect())
    }

    fn settings(self, name: &str) -> BTreeMap<String, String> {
        let map = self.map(name).unwrap_or_default();
        map.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

fn protocol_of(cell: Cell<'_>) -> Option<Protocol> {
    Some(Protocol {
        min_reader_version: cell.integer("minReaderVersion")?,
        min_writer_version: cell.integer("minWriterVersion")?,
    })
}

fn metadata_of(cell: Cell<'_>) -> Option<Metadata> {
    let format = cell.cell("format")?;
    Some(Metadata {
        id: cell.text("id")?,
        name: cell.text("name"),
        description: cell.text("description"),
        format: Format { provider: format.text("provider")?, options: format.settings("options") },
        schema_string: cell.text("schemaString")?,
        partition_columns: cell.texts("partitionColumns").unwrap_or_default(),
        created_time: cell.long("createdTime"),
        configuration: cell.settings("configuration"),
    })
}

fn txn_of(cell: Cell<'_>) -> Option<Txn> {
    Some(Txn { app_id: cell.text("appId")?, version: cell.long("version")?, last_updated: cell.long("lastUpdated") })
}

fn add_of(cell: Cell<'_>) -> Option<Add> {
    Some(Add {
        path: cell.text("path")?,
        partition_values: cell.map("partitionValues").unwrap_or_default(),
        size: cell.long("size")?,
        modification_time: cell.long("modificationTime")?,
        data_change: cell.flag("dataChange").unwrap_or(false),
        stats: cell.text("stats"),
        tags: cell.map("tags"),
    })
}

fn remove_of(cell: Cell<'_>) -> Option<Remove> {
    Some(Remove {
        path: cell.text("path")?,
        deletion_timestamp: cell.long("deletionTimestamp"),
        data_change: cell.flag("dataChange").unwrap_or(false),
        extended_file_metadata: cell.flag("extendedFileMetadata"),
        partition_values: cell.map("partitionValues"),
        size: cell.long("size"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn actions_come_back_as_they_were() {
        let values = BTreeMap::from([("date".to_owned(), Some("2025-01-15".to_owned())), ("hour".to_owned(), None)]);
        let add = Add {
            path: "date=2025-01-15/part-1.zstd.parquet".to_owned(),
            partition_values: values.clone(),
            size: 7,
            modification_time: 8,
            data_change: false,
            stats: Some("{\"numRecords\":1}".to_owned()),
            tags: Some(BTreeMap::from([
                ("weir.sha256".to_owned(), Some("00ff".to_owned())),
                ("other".to_owned(), None),
            ])),
        };
        let without_tags = Add { path: "part-2.zstd.parquet".to_owned(), tags: None, ..add.clone() };
        let remove = Remove {
            path: "gone".to_owned(),
            deletion_timestamp: Some(9),
            data_change: false,
            extended_file_metadata: None,
            partition_values: None,
            size: Some(3),
        };
        let metadata = Metadata {
            id: "id".to_owned(),
            name: Some("clicks_raw".to_owned()),
            description: None,
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string: "{}".to_owned(),
            partition_columns: vec!["date".to_owned(), "hour".to_owned()],
            created_time: Some(1),
            configuration: BTreeMap::from([("delta.appendOnly".to_owned(), "true".to_owned())]),
        };
        let actions = vec![
            Action::from(Protocol { min_reader_version: 1, min_writer_version: 2 }),
            Action::from(metadata),
            Action::from(Txn { app_id: "job".to_owned(), version: 5, last_updated: None }),
            Action::from(remove),
            Action::from(add),
            Action::from(without_tags),
        ];
        let bytes = encode(&actions).unwrap();
        let all = ["protocol", "metaData", "txn", "add", "remove"];
        assert_eq!(decode(bytes.clone(), &all).unwrap(), actions);
        assert_eq!(decode(bytes, &["txn"]).unwrap(), actions.get(2..3).unwrap());
    }
}
