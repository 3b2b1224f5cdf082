//! Columns of text of tables that others have written: a Parquet file, or a Delta table.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use weir_checkpoints::Store;
use weir_dataflow::SinkError;

use super::live::LiveTable;
use super::refused;

/// A row: what the columns that were asked for say, in their order. None where they say nothing, or are not there.
pub type Texts<'a> = [Option<&'a str>];

/// Hands out the rows of a Parquet file.
///
/// # Errors
/// If it is none, has none of the columns, or one of them is no text.
pub fn texts_of_file(bytes: Bytes, columns: &[&str], take: &mut dyn FnMut(&Texts<'_>)) -> Result<(), String> {
    each_row(bytes, columns, &vec![None; columns.len()], take)
}

/// Hands out the rows of a Delta table, which is a folder of the store.
///
/// # Errors
/// If there is none, or one of its files cannot be read.
pub fn texts_of_table(
    store: &dyn Store,
    table: &str,
    columns: &[&str],
    take: &mut dyn FnMut(&Texts<'_>),
) -> Result<(), SinkError> {
    let live = LiveTable::read(store, table, None)?;
    if !live.exists() {
        return Err(refused(table, "there is no such Delta table: it has no _delta_log".to_owned()));
    }
    for file in live.files() {
        let wrong = |reason: String| refused(table, format!("data file `{}`: {reason}", file.name));
        let bytes = store.get(&file.name).map_err(|error| wrong(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| wrong("it is missing".to_owned()))?;
        let partition: Vec<Option<&str>> = columns.iter().map(|column| file.partition(column)).collect();
        each_row(Bytes::from(bytes), columns, &partition, take).map_err(wrong)?;
    }
    Ok(())
}

/// `fixed` is what all rows have of columns that are not in the file.
fn each_row(
    bytes: Bytes,
    columns: &[&str],
    fixed: &[Option<&str>],
    take: &mut dyn FnMut(&Texts<'_>),
) -> Result<(), String> {
    // Whatever kind of text the writer had in memory, in the file there is one.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options);
    let builder = builder.map_err(|error| error.to_string())?;
    let is_there = |name: &&str| builder.schema().column_with_name(name).is_some();
    if !columns.iter().any(is_there) && fixed.iter().all(Option::is_none) {
        return Err(format!("it has none of the columns {}", columns.join(", ")));
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let rows = builder.with_projection(mask).build().map_err(|error| error.to_string())?;
    for batch in rows {
        let batch = batch.map_err(|error| error.to_string())?;
        let found: Vec<Option<Column<'_>>> =
            columns.iter().map(|name| Column::of(&batch, name)).collect::<Result<_, _>>()?;
        let mut row = Vec::with_capacity(columns.len());
        for at in 0..batch.num_rows() {
            row.clear();
            for (column, fixed) in found.iter().zip(fixed) {
                row.push(column.as_ref().map_or(Ok(*fixed), |column| column.at(at))?);
            }
            take(&row);
        }
    }
    Ok(())
}

enum Column<'a> {
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
}

impl<'a> Column<'a> {
    fn of(batch: &'a RecordBatch, name: &str) -> Result<Option<Self>, String> {
        let Some(column) = batch.column_by_name(name) else { return Ok(None) };
        let found = column.as_string_opt().map(Self::Text).or_else(|| column.as_binary_opt().map(Self::Bytes));
        found.map(Some).ok_or_else(|| format!("column {name} is no text, but {}", kind(column)))
    }

    fn at(&self, at: usize) -> Result<Option<&'a str>, String> {
        match self {
            Self::Text(column) => Ok((!column.is_null(at)).then(|| column.value(at))),
            Self::Bytes(column) if column.is_null(at) => Ok(None),
            Self::Bytes(column) => {
                let text = std::str::from_utf8(column.value(at));
                text.map(Some).map_err(|_| "a text in it is no UTF-8".to_owned())
            }
        }
    }
}

fn kind(column: &ArrayRef) -> String {
    column.data_type().to_string()
}
