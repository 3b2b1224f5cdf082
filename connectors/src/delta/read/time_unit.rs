//! What times in a file are counted in.

use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::data_type::Int96;
use parquet::schema::types::ColumnDescriptor;

/// In what times are counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    pub(super) fn to_ms(self, time: i64) -> i64 {
        match self {
            Self::Milliseconds => time,
            Self::Microseconds => time.div_euclid(1_000),
            Self::Nanoseconds => time.div_euclid(1_000_000),
        }
    }
}

pub(super) fn unit_of(descriptor: &ColumnDescriptor) -> Option<Unit> {
    match descriptor.logical_type_ref() {
        Some(LogicalType::Timestamp(timestamp)) => Some(match timestamp.unit {
            TimeUnit::MILLIS => Unit::Milliseconds,
            TimeUnit::MICROS => Unit::Microseconds,
            TimeUnit::NANOS => Unit::Nanoseconds,
        }),
        _ => match descriptor.converted_type() {
            ConvertedType::TIMESTAMP_MILLIS => Some(Unit::Milliseconds),
            ConvertedType::TIMESTAMP_MICROS => Some(Unit::Microseconds),
            _ => None,
        },
    }
}

/// Unix time of the form that older engines write times in.
pub(super) fn int96_to_ms(time: &Int96) -> i64 {
    let [low, high, julian_day] = *time.data() else { return 0 };
    let nanoseconds = (u64::from(high) << 32 | u64::from(low)) as i64;
    (i64::from(julian_day) - JULIAN_DAY_OF_1970) * 86_400_000 + nanoseconds.div_euclid(1_000_000)
}

const JULIAN_DAY_OF_1970: i64 = 2_440_588;
