//! Values of a column, whatever their type.

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type, Int96Type};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescriptor;

use crate::delta::read::columns::values;
use crate::delta::read::file_index::ChunkIndex;
use crate::delta::read::ranges::Parts;
use crate::delta::read::time_unit::{int96_to_ms, unit_of};

/// Some values of a column.
pub(super) enum Values {
    /// Texts, or bytes.
    Texts(Vec<Option<ByteArray>>),
    Numbers(Vec<Option<i64>>),
    /// Unix time in milliseconds.
    Times(Vec<Option<i64>>),
    /// Days since 1970.
    Dates(Vec<Option<i64>>),
    Reals(Vec<Option<f64>>),
    Flags(Vec<Option<bool>>),
}

impl Values {
    /// The values of the selected rows.
    pub(super) fn read(
        chunk: &ChunkIndex,
        rows: usize,
        parts: &Arc<Parts>,
        selection: &[Range<usize>],
    ) -> Result<Self, ParquetError> {
        let descriptor = chunk.chunk.column_descr();
        Ok(match descriptor.physical_type() {
            Type::BYTE_ARRAY => Self::Texts(values::<ByteArrayType>(chunk, rows, parts, selection)?),
            Type::INT64 => {
                let numbers = values::<Int64Type>(chunk, rows, parts, selection)?;
                match unit_of(descriptor) {
                    Some(unit) => Self::Times(each(numbers, |time| unit.to_ms(time))),
                    None => Self::Numbers(numbers),
                }
            }
            Type::INT32 => {
                let numbers = each(values::<Int32Type>(chunk, rows, parts, selection)?, i64::from);
                if is_date(descriptor) { Self::Dates(numbers) } else { Self::Numbers(numbers) }
            }
            Type::INT96 => {
                let times = values::<Int96Type>(chunk, rows, parts, selection)?;
                Self::Times(each(times, |time| int96_to_ms(&time)))
            }
            Type::DOUBLE => Self::Reals(values::<DoubleType>(chunk, rows, parts, selection)?),
            Type::FLOAT => Self::Reals(each(values::<FloatType>(chunk, rows, parts, selection)?, f64::from)),
            Type::BOOLEAN => Self::Flags(values::<BoolType>(chunk, rows, parts, selection)?),
            Type::FIXED_LEN_BYTE_ARRAY => {
                return Err(ParquetError::NYI(format!("column {} is of fixed length", descriptor.name())));
            }
        })
    }

    /// The text of a row; none where it is null, or no text.
    pub(super) fn text(&self, row: usize) -> Option<&str> {
        str::from_utf8(self.bytes(row)?).ok()
    }

    pub(super) fn bytes(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Texts(texts) => Some(texts.get(row)?.as_ref()?.data()),
            _ => None,
        }
    }

    /// The number of a row, or its time in milliseconds.
    pub(super) fn number(&self, row: usize) -> Option<i64> {
        match self {
            Self::Numbers(numbers) | Self::Times(numbers) | Self::Dates(numbers) => *numbers.get(row)?,
            _ => None,
        }
    }

    /// Whether a row of it is null.
    pub(super) fn has_null(&self) -> bool {
        match self {
            Self::Texts(values) => values.iter().any(Option::is_none),
            Self::Numbers(values) | Self::Times(values) | Self::Dates(values) => values.iter().any(Option::is_none),
            Self::Reals(values) => values.iter().any(Option::is_none),
            Self::Flags(values) => values.iter().any(Option::is_none),
        }
    }
}

fn each<T, U>(values: Vec<Option<T>>, of: impl Fn(T) -> U) -> Vec<Option<U>> {
    values.into_iter().map(|value| value.map(&of)).collect()
}

fn is_date(descriptor: &ColumnDescriptor) -> bool {
    matches!(descriptor.logical_type_ref(), Some(LogicalType::Date))
        || descriptor.converted_type() == ConvertedType::DATE
}
