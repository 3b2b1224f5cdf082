//! Where a list of traffic to be taken out comes from: a file of lines, a Parquet file, or a Delta table.
//!
//! A list is kept as lines, whatever it came from, so later runs need nothing else. Those of a table are sorted: the same
//! rows are the same list.

use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::json;
use url::Url;
use weir_connectors::delta::{Texts, texts_of_file, texts_of_table};
use weir_connectors::objects;

use super::{ExclusionList, Exclusions};
use crate::config::is_name;

/// A table with the first of them lists clicks, whatever else it says of them. Otherwise each row has one of the others.
const COLUMNS: [&str; 3] = ["click_id", "user_id", "ip_address"];

impl ExclusionList {
    /// Reads a list and understands it. `place` is a local path, or an URL below which objects are; a folder is a Delta
    /// table.
    pub fn read(place: &str) -> Result<Self> {
        let url = url_of(place).with_context(|| format!("--exclude {place} is no path and no URL"))?;
        let kind = Kind::of(&url);
        let (folder, file) = url.as_str().trim_end_matches('/').rsplit_once('/').unwrap_or_default();
        let path = Path::new(file);
        let name = if kind == Kind::Table { path.file_name() } else { path.file_stem() };
        let name = name.and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !is_name(&name) {
            bail!(
                "--exclude {place}: the file's name names the list, so it must be letters, digits, `-`, `_` and `.`, at most 64"
            );
        }
        let bytes = kind.read(folder, file).with_context(|| format!("cannot read --exclude {place}"))?;
        let list = Self { name, bytes };
        Exclusions::parse(std::slice::from_ref(&list))?;
        Ok(list)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lines,
    Parquet,
    Table,
}

impl Kind {
    /// By what is there, or by the name's ending where that is not to be seen: a table has none.
    fn of(url: &Url) -> Self {
        let path = local(url);
        let extension = Path::new(url.path()).extension();
        match (path, extension) {
            (Some(path), _) if path.is_dir() => Self::Table,
            (None, None) => Self::Table,
            (_, Some(extension)) if extension == "parquet" => Self::Parquet,
            _ => Self::Lines,
        }
    }

    fn read(self, folder: &str, file: &str) -> Result<Vec<u8>> {
        // A folder that is opened is made, if it is not there.
        if local(&Url::parse(folder)?).is_some_and(|path| !path.is_dir()) {
            bail!("there is no such folder");
        }
        let store = objects::open(folder)?;
        let mut lines = Lines::default();
        if self == Self::Table {
            texts_of_table(store.as_ref(), file, &COLUMNS, &mut |row| lines.add(row))?;
            return lines.finish();
        }
        let bytes = store.get(file)?.context("there is no such file")?;
        if self == Self::Lines {
            return Ok(bytes);
        }
        texts_of_file(Bytes::from(bytes), &COLUMNS, &mut |row| lines.add(row)).map_err(anyhow::Error::msg)?;
        lines.finish()
    }
}

/// The path of a local file.
fn local(url: &Url) -> Option<PathBuf> {
    (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten()
}

fn url_of(place: &str) -> Result<Url> {
    if place.contains("://") {
        return Ok(Url::parse(place)?);
    }
    let path = absolute(place)?;
    Url::from_file_path(&path).ok().with_context(|| format!("{} is no path", path.display()))
}

/// Rows of a table, as lines of a list.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    rows: u64,
    wrong: Option<String>,
}

impl Lines {
    fn add(&mut self, row: &Texts<'_>) {
        self.rows += 1;
        let line = match row {
            [Some(click_id), ..] => json!({ "click_id": click_id }),
            [None, Some(user_id), None] => json!({ "user_id": user_id }),
            [None, None, Some(address)] => json!({ "ip_address": address }),
            _ => {
                let rows = self.rows;
                let wrong =
                    || format!("row {rows} must have a click_id, or else a user_id or an ip_address, and not both");
                self.wrong.get_or_insert_with(wrong);
                return;
            }
        };
        self.lines.push(format!("{line}\n"));
    }

    fn finish(mut self) -> Result<Vec<u8>> {
        if let Some(wrong) = self.wrong {
            bail!(wrong);
        }
        self.lines.sort_unstable();
        self.lines.dedup();
        Ok(self.lines.concat().into_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn lines(rows: &[[Option<&str>; 3]]) -> Result<String> {
        let mut lines = Lines::default();
        rows.iter().for_each(|row| lines.add(row));
        Ok(String::from_utf8(lines.finish()?)?)
    }

    #[test]
    fn a_row_is_a_click_or_else_a_user_or_an_address() {
        let rows = [
            [Some("c-2"), Some("u"), Some("192.0.2.1")],
            [None, Some("bot"), None],
            [Some("c-1"), None, None],
            [None, None, Some("203.0.113.0/24")],
            [Some("c-1"), None, None],
        ];
        let expect = "{\"click_id\":\"c-1\"}\n{\"click_id\":\"c-2\"}\n{\"ip_address\":\"203.0.113.0/24\"}\n{\"user_id\":\"bot\"}\n";
        assert_eq!(lines(&rows).unwrap(), expect);
        for wrong in [[None, None, None], [None, Some("u"), Some("192.0.2.1")]] {
            let error = lines(&[rows[0], wrong]).unwrap_err().to_string();
            assert!(error.starts_with("row 2 must have a click_id"), "{error}");
        }
    }
}
