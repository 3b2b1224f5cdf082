//! The fields that Weir does not know, as they came. For the archive; no click is counted by them.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::validate::Field;

/// The unknown fields of an accepted click as the text of a JSON object: keys and values byte for byte, in their
/// order, without the space between them. `None` where there are none, and for what is not a JSON object.
#[must_use]
pub fn extra_fields(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut rest = trim_start(text).strip_prefix('{')?;
    let mut extra = String::new();
    loop {
        let (key, after_key) = split_value::<String>(rest)?;
        let (name, key_text) = key;
        let (value, after_value) = split_value::<IgnoredAny>(trim_start(after_key).strip_prefix(':')?)?;
        let (_, value_text) = value;
        if Field::named(name.as_bytes()).is_none() {
            extra.push(if extra.is_empty() { '{' } else { ',' });
            extra.push_str(key_text);
            extra.push(':');
            extra.push_str(value_text);
        }
        let Some(next) = trim_start(after_value).strip_prefix(',') else { break };
        rest = next;
    }
    if extra.is_empty() {
        return None;
    }
    extra.push('}');
    Some(extra)
}

/// The JSON value at the text's start, with its bytes, and what follows it.
fn split_value<'a, T: Deserialize<'a>>(text: &'a str) -> Option<((T, &'a str), &'a str)> {
    let trimmed = trim_start(text);
    let mut values = serde_json::Deserializer::from_str(trimmed).into_iter::<T>();
    let value = values.next()?.ok()?;
    let (value_text, after) = trimmed.split_at_checked(values.byte_offset())?;
    Some(((value, value_text), after))
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}
