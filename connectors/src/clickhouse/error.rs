//! What ClickHouse answered, sorted by what to do next.

/// Why a request to ClickHouse failed.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// No answer came, or none that can be read. Whether the request was carried out is not known.
    #[error("ClickHouse at {url} cannot {action}: {reason}; whether it was done is not known")]
    NoAnswer {
        /// Where it should be.
        url: String,
        /// What was asked.
        action: &'static str,
        /// What happened instead of an answer.
        reason: String,
    },
    /// It answered with an error.
    #[error("ClickHouse at {url} cannot {action}: {reason}")]
    Refused {
        /// Where it is.
        url: String,
        /// What was asked.
        action: &'static str,
        /// ClickHouse's own number of the error, where the answer has one.
        code: Option<u32>,
        /// Its own words.
        reason: String,
    },
    /// A table of ours does not look as it must, and was not made by us in an earlier version.
    #[error("table {table} in ClickHouse does not fit: {reason}")]
    Schema {
        /// The table.
        table: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// Errors that no repetition cures: what is asked, who asks, or what is there has to change first.
const PERMANENT: &[u32] = &[
    8,   // THERE_IS_NO_COLUMN
    16,  // NO_SUCH_COLUMN_IN_TABLE
    20,  // NUMBER_OF_COLUMNS_DOESNT_MATCH
    44,  // ILLEGAL_COLUMN
    46,  // UNKNOWN_FUNCTION
    47,  // UNKNOWN_IDENTIFIER
    48,  // NOT_IMPLEMENTED
    50,  // UNKNOWN_TYPE
    53,  // TYPE_MISMATCH
    56,  // UNKNOWN_STORAGE
    62,  // SYNTAX_ERROR
    73,  // UNKNOWN_FORMAT
    115, // UNKNOWN_SETTING
    192, // UNKNOWN_USER
    193, // WRONG_PASSWORD
    194, // REQUIRED_PASSWORD
    195, // IP_ADDRESS_NOT_ALLOWED
    291, // DATABASE_ACCESS_DENIED
    497, // ACCESS_DENIED
    516, // AUTHENTICATION_FAILED
];

/// UNKNOWN_TABLE, UNKNOWN_DATABASE.
const MISSING: &[u32] = &[60, 81];

impl ClickHouseError {
    /// Whether asking again cannot help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => false,
            Self::Refused { code, .. } => code.is_some_and(|code| PERMANENT.contains(&code)),
            Self::Schema { .. } => true,
        }
    }

    /// Whether the database or a table is not there: nothing was written yet, or ClickHouse was started anew without its
    /// data.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { code: Some(code), .. } if MISSING.contains(code))
    }

    /// Sorts an error of the client.
    pub(super) fn of(url: &str, action: &'static str, error: &clickhouse::error::Error) -> Self {
        let url = url.to_owned();
        match error {
            clickhouse::error::Error::BadResponse(text) => {
                Self::Refused { url, action, code: code_of(text), reason: shortened(text) }
            }
            other => Self::NoAnswer { url, action, reason: with_causes(other) },
        }
    }
}

/// The number in `Code: 60. DB::Exception: …`, which every version writes in its own way.
fn code_of(text: &str) -> Option<u32> {
    let (_, behind) = text.split_once("Code: ")?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The first of what may be pages: a syntax error lists all that would have been possible.
fn shortened(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clickhouse::error::Error;

    use super::*;

    #[test]
    fn answers_are_sorted_by_their_code() {
        let check = |text: &str, code, permanent, missing| {
            let error = ClickHouseError::of("http://x", "insert", &Error::BadResponse(text.to_owned()));
            let ClickHouseError::Refused { code: found, .. } = &error else { panic!("{error}") };
            assert_eq!((*found, error.is_permanent(), error.is_missing()), (code, permanent, missing), "{text}");
        };
        check("Code: 60, e.displayText() = DB::Exception: Table weir.x doesn't exist.", Some(60), false, true);
        check("Code: 81. DB::Exception: Database weir does not exist. (UNKNOWN_DATABASE)", Some(81), false, true);
        check("Code: 62. DB::Exception: Syntax error", Some(62), true, false);
        check("Code: 252. DB::Exception: Too many parts (TOO_MANY_PARTS)", Some(252), false, false);
        check("Code: 242. DB::Exception: Table is in readonly mode", Some(242), false, false);
        check("Code: 516. DB::Exception: default: Authentication failed", Some(516), true, false);
        check("<html>502 Bad Gateway</html>", None, false, false);
    }

    #[test]
    fn a_lost_answer_is_never_permanent() {
        assert!(!ClickHouseError::of("http://x", "insert", &Error::TimedOut).is_permanent());
    }
}
