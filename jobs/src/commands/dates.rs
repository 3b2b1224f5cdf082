//! Days on the command line.

use chrono::NaiveDate;

/// The first day and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dates(pub(crate) NaiveDate, pub(crate) NaiveDate);

/// A day, or the first and the last of several: `2025-01-15`, `2025-01-01..2025-01-31`.
pub(crate) fn dates(text: &str) -> Result<Dates, String> {
    let date = |text: &str| text.parse::<NaiveDate>().map_err(|_| format!("`{text}` is no date like 2025-01-15"));
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let dates = Dates(date(first)?, date(last)?);
    if dates.1 < dates.0 {
        return Err(format!("{first} comes after {last}"));
    }
    Ok(dates)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_or_ranges() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(dates("2025-01-15"), Ok(Dates(day("2025-01-15"), day("2025-01-15"))));
        assert_eq!(dates("2025-01-15..2025-02-01"), Ok(Dates(day("2025-01-15"), day("2025-02-01"))));
        assert!(dates("2025-02-01..2025-01-15").is_err());
        assert!(dates("15.01.2025").is_err());
    }
}
