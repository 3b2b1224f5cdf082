//! What an answer says about the clicks of its request.

use std::borrow::Cow;

use serde::Deserialize;

use super::request::BodyForm;

/// A verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The click is in the log, now or since earlier.
    Single { duplicate: bool, click_id: Cow<'a, str> },
    /// How many clicks are, and which are not, and why.
    Batch { accepted: u64, duplicate: u64, rejected: Vec<Rejected<'a>> },
    /// The request as a whole was no good.
    Refused(Cow<'a, str>),
    /// The server takes nothing now: 503, or 429.
    TurnedAway,
    /// Something is wrong with the server: any other 5xx.
    ServerError(u16),
    /// The answer is not what it should be.
    Malformed(String),
}

/// A click of a batch that was no good.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Rejected<'a> {
    pub(super) index: u32,
    #[serde(borrow)]
    pub(super) reason: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SingleBody<'a> {
    #[serde(borrow)]
    click_id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

#[derive(Deserialize)]
struct BatchBody<'a> {
    accepted: u64,
    duplicate: u64,
    #[serde(borrow)]
    rejected: Vec<Rejected<'a>>,
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

/// Reads the verdict about a request with so many clicks.
pub(super) fn read(status: u16, body: &[u8], form: BodyForm, clicks: u32) -> Verdict<'_> {
    let verdict = match (status, form) {
        (200 | 202, BodyForm::Single) => single(status, body),
        (200, BodyForm::Lines | BodyForm::Array) => batch(body, clicks),
        (429 | 503, _) => return Verdict::TurnedAway,
        (400..500, _) => return Verdict::Refused(reason(status, body)),
        (500.., _) => return Verdict::ServerError(status),
        _ => Err("the status is not one that is expected".to_owned()),
    };
    verdict.unwrap_or_else(|problem| {
        let start = String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned();
        Verdict::Malformed(format!("{problem}: {status} {start}"))
    })
}

fn single(status: u16, body: &[u8]) -> Result<Verdict<'_>, String> {
    let SingleBody { click_id, status: word } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    match (status, word.as_ref()) {
        (202, "accepted") => Ok(Verdict::Single { duplicate: false, click_id }),
        (200, "duplicate") => Ok(Verdict::Single { duplicate: true, click_id }),
        _ => Err("status code and `status` do not fit each other".to_owned()),
    }
}

fn batch(body: &[u8], clicks: u32) -> Result<Verdict<'_>, String> {
    let BatchBody { accepted, duplicate, rejected } =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let ascending = rejected.iter().zip(rejected.iter().skip(1)).all(|(one, next)| one.index < next.index);
    if !ascending || rejected.last().is_some_and(|last| last.index >= clicks) {
        return Err("`rejected` does not name clicks of the batch, each once and in order".to_owned());
    }
    if accepted.saturating_add(duplicate).saturating_add(rejected.len() as u64) != u64::from(clicks) {
        return Err(format!("the answer does not speak of {clicks} clicks"));
    }
    Ok(Verdict::Batch { accepted, duplicate, rejected })
}

/// Why a request was refused: what the problem says, else its status.
fn reason(status: u16, body: &[u8]) -> Cow<'_, str> {
    let problem: Option<Problem<'_>> = serde_json::from_slice(body).ok();
    problem.and_then(|told| told.reason).unwrap_or_else(|| format!("status_{status}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, form: BodyForm, expected: &Verdict<'_>) {
        assert_eq!(&read(status, body.as_bytes(), form, 3), expected);
    }

    #[test]
    fn answers_of_the_contract_are_understood() {
        let single = |duplicate| Verdict::Single { duplicate, click_id: "a\"b".into() };
        check(202, r#"{"click_id":"a\"b","status":"accepted"}"#, BodyForm::Single, &single(false));
        check(200, r#"{"click_id":"a\"b","status":"duplicate"}"#, BodyForm::Single, &single(true));
        let rejected = vec![Rejected { index: 2, reason: "missing_field".into() }];
        check(
            200,
            r#"{"accepted":1,"duplicate":1,"rejected":[{"index":2,"reason":"missing_field","detail":"x"}]}"#,
            BodyForm::Lines,
            &Verdict::Batch { accepted: 1, duplicate: 1, rejected },
        );
        check(400, r#"{"reason":"invalid_json"}"#, BodyForm::Single, &Verdict::Refused("invalid_json".into()));
        check(415, "", BodyForm::Array, &Verdict::Refused("status_415".into()));
        check(503, "", BodyForm::Single, &Verdict::TurnedAway);
        check(429, "", BodyForm::Lines, &Verdict::TurnedAway);
        check(502, "", BodyForm::Lines, &Verdict::ServerError(502));
    }

    #[test]
    fn anything_else_is_malformed() {
        let check = |status: u16, body: &str, form: BodyForm| {
            let verdict = read(status, body.as_bytes(), form, 3);
            assert!(matches!(verdict, Verdict::Malformed(_)), "{verdict:?}");
        };
        check(202, "", BodyForm::Single);
        check(200, r#"{"click_id":"a","status":"accepted"}"#, BodyForm::Single);
        check(302, "", BodyForm::Single);
        check(202, r#"{"accepted":3,"duplicate":0,"rejected":[]}"#, BodyForm::Lines);
        check(200, r#"{"accepted":2,"duplicate":0,"rejected":[]}"#, BodyForm::Lines);
        check(200, r#"{"accepted":2,"duplicate":0,"rejected":[{"index":3,"reason":"r"}]}"#, BodyForm::Array);
    }
}
