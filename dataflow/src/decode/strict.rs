//! The strict path: `serde_json` reads the whole record, then the fields are judged.
//!
//! ```text
//!   UTF-8 ──▶ one JSON object, to its end ──▶ keys once each ──▶ each field's rule ──▶ required ones there
//!   invalid_json      invalid_json             invalid_field      invalid_field         missing_field
//! ```
//!
//! Nothing is judged before the record is read to its end: a broken record is `invalid_json`, whatever its fields
//! are. Values of unknown fields are read in full too, so that a lone surrogate, a number beyond `f64` or a nesting
//! beyond `serde_json`'s limit (127 levels) is found wherever it stands.

use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use xxhash_rust::xxh3::xxh3_64;

use super::rejection::{RejectReason, Rejection};
use super::validate::{Field, timestamp_in_range};
use crate::click::Click;

/// How much of an unknown key a message shows.
const MAX_SHOWN_CHARS: usize = 64;

/// What is kept from record to record, to be allocated once.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The texts that had escapes, without them, one after another.
    unescaped: String,
    /// Every key of the object, one after another.
    key_texts: String,
    keys: Vec<Key>,
}

/// A key's hash, and where it is in [`Buffers::key_texts`].
#[derive(Debug)]
struct Key {
    hash: u64,
    range: Range<usize>,
}

/// Decodes a payload that is neither empty nor too large.
pub(super) fn decode<'a>(payload: &'a [u8], buffers: &'a mut Buffers) -> Result<Click<'a>, Rejection> {
    let text = match simdutf8::basic::from_utf8(payload) {
        Ok(text) => text,
        Err(_) => return Err(not_utf8(payload)),
    };
    let values =
        read_object(text, buffers).map_err(|error| Rejection::new(RejectReason::InvalidJson, error.to_string()))?;
    if let Some(key) = doubled_key(buffers) {
        let shown: String = key.chars().take(MAX_SHOWN_CHARS).collect();
        return Err(Rejection::new(RejectReason::InvalidField, format!("{shown:?}: the key is there more than once")));
    }
    click_of(&values, &buffers.unescaped)
}

fn not_utf8(payload: &[u8]) -> Rejection {
    let position = std::str::from_utf8(payload).map_or_else(|error| error.valid_up_to(), str::len);
    Rejection::new(RejectReason::InvalidJson, format!("invalid UTF-8 at byte {position}"))
}

fn read_object<'a>(text: &'a str, buffers: &mut Buffers) -> serde_json::Result<Values<'a>> {
    buffers.unescaped.clear();
    buffers.key_texts.clear();
    buffers.keys.clear();
    let mut reader = serde_json::Deserializer::from_str(text);
    let values = reader.deserialize_map(ObjectVisitor { buffers })?;
    reader.end()?;
    Ok(values)
}

/// A key that is there twice, compared as it reads without escapes. The keys are sorted by their hashes, and by their
/// texts where those are equal: so keys that someone made to collide cost no more than others.
fn doubled_key(buffers: &mut Buffers) -> Option<&str> {
    let Buffers { key_texts, keys, .. } = buffers;
    let text = |key: &Key| key_texts.get(key.range.clone());
    keys.sort_unstable_by(|left, right| left.hash.cmp(&right.hash).then_with(|| text(left).cmp(&text(right))));
    let mut pairs = keys.iter().zip(keys.iter().skip(1));
    let (doubled, _) = pairs.find(|(left, right)| left.hash == right.hash && text(left) == text(right))?;
    text(doubled)
}

fn click_of<'a>(values: &Values<'a>, unescaped: &'a str) -> Result<Click<'a>, Rejection> {
    let mut texts: [Option<&'a str>; Field::ALL.len()] = [None; Field::ALL.len()];
    let mut timestamp = None;
    for ((field, value), slot) in Field::ALL.into_iter().zip(values).zip(&mut texts) {
        match (field, value) {
            (_, Value::Missing) => {}
            (Field::Timestamp, Value::UInt(number)) => {
                timestamp = Some(timestamp_in_range(*number).ok_or_else(timestamp_out_of_range)?);
            }
            (_, Value::Text(text)) => {
                let text = text.resolve(unescaped);
                if !field.accepts(text) {
                    return Err(breaks_rule(field));
                }
                *slot = Some(text);
            }
            (_, Value::UInt(_) | Value::Other) => return Err(breaks_rule(field)),
        }
    }
    let [ad_id, user_id, _, click_id, ip_address, user_agent] = texts;
    Ok(Click {
        ad_id: ad_id.ok_or_else(|| missing(Field::AdId))?,
        user_id: user_id.ok_or_else(|| missing(Field::UserId))?,
        timestamp: timestamp.ok_or_else(|| missing(Field::Timestamp))?,
        click_id,
        ip_address,
        user_agent,
    })
}

fn missing(field: Field) -> Rejection {
    Rejection::new(RejectReason::MissingField, format!("{}: the field is required", field.name()))
}

fn breaks_rule(field: Field) -> Rejection {
    Rejection::new(RejectReason::InvalidField, format!("{}: {}", field.name(), field.rule()))
}

fn timestamp_out_of_range() -> Rejection {
    Rejection::new(RejectReason::InvalidField, "timestamp: out of range: it is after 9999-12-31T23:59:59.999Z")
}

/// The known fields' values, by `Field as usize`.
type Values<'a> = [Value<'a>; Field::ALL.len()];

/// A value, as far as a known field may be one.
#[derive(Debug)]
enum Value<'a> {
    Missing,
    Text(Text<'a>),
    UInt(u64),
    Other,
}

/// A string of the record.
#[derive(Debug)]
enum Text<'a> {
    /// Without escapes: as it stands in the payload.
    Plain(&'a str),
    /// Where it is in [`Buffers::unescaped`].
    Unescaped(Range<usize>),
}

impl<'a> Text<'a> {
    fn resolve(&self, unescaped: &'a str) -> &'a str {
        match self {
            Self::Plain(text) => text,
            Self::Unescaped(range) => unescaped.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// Appends, and says where.
fn append(buffer: &mut String, text: &str) -> Range<usize> {
    let start = buffer.len();
    buffer.push_str(text);
    start..buffer.len()
}

/// Reads the record's object. Of a doubled key either value will do: the record is rejected for it later.
struct ObjectVisitor<'b> {
    buffers: &'b mut Buffers,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = Values<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = Field::ALL.map(|_| Value::Missing);
        while let Some(field) = object.next_key_seed(KeySeed { buffers: self.buffers })? {
            let slot = field.and_then(|known| values.get_mut(known as usize));
            match slot {
                Some(value) => *value = object.next_value_seed(ValueSeed { unescaped: &mut self.buffers.unescaped })?,
                None => object.next_value_seed(Skip)?,
            }
        }
        Ok(values)
    }
}

/// Notes a key, and says which field it is.
struct KeySeed<'b> {
    buffers: &'b mut Buffers,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<Field>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let range = append(&mut self.buffers.key_texts, key);
        self.buffers.keys.push(Key { hash: xxh3_64(key.as_bytes()), range });
        Ok(Field::named(key.as_bytes()))
    }
}

/// Reads the value of a known field, of whatever type it is.
struct ValueSeed<'b> {
    unescaped: &'b mut String,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Text::Plain(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Text::Unescaped(append(self.unescaped, text))))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::UInt(number))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        Skip.visit_seq(array).map(|()| Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        Skip.visit_map(object).map(|()| Value::Other)
    }
}

/// Reads a value and forgets it. Unlike serde's `IgnoredAny` it has every string and number checked, and counts
/// the nesting.
#[derive(Clone, Copy)]
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(Skip)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while object.next_key_seed(Skip)?.is_some() {
            object.next_value_seed(Skip)?;
        }
        Ok(())
    }
}
