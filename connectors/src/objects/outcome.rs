//! Sorts a client's errors by what they say about the store: it was not done, or nobody knows.
//!
//! A write is `Failed` only where the store itself refused it, or where the disk has no room or no permission. All
//! else, time-outs and lost connections first of all, is `Unknown`. A refusal may answer the repetition of a request
//! whose first answer was lost; whoever stops at it and looks again later, as a job does, loses nothing.

use std::error::Error;
use std::io;
use std::iter::successors;

use weir_checkpoints::StoreError;

/// The error of a call that changes nothing. `settings` are those that the store's client has from the environment.
pub(super) fn of_read(action: &'static str, name: &str, settings: &str, error: &object_store::Error) -> StoreError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return StoreError::NotFound { name: name.to_owned() };
    }
    failed(action, name, reason(settings, error))
}

/// The error of a call that may have changed the store.
pub(super) fn of_write(action: &'static str, name: &str, settings: &str, error: &object_store::Error) -> StoreError {
    if is_refusal(error) {
        return failed(action, name, reason(settings, error));
    }
    StoreError::Unknown { action, name: name.to_owned(), reason: reason(settings, error) }
}

/// An error of our own, before the store was asked or after it had answered.
pub(super) fn failed(action: &'static str, name: &str, reason: String) -> StoreError {
    StoreError::Failed { action, name: name.to_owned(), reason }
}

/// Whom a client asks for credentials that has none: the cloud that it might run in.
const MACHINES: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

/// What the store says, and what can be done about it.
pub(super) fn reason(settings: &str, error: &object_store::Error) -> String {
    use object_store::Error as Client;
    match error {
        Client::PermissionDenied { .. } | Client::Unauthenticated { .. } if !settings.is_empty() => {
            format!("{error}; who asks, and where, is set in the environment: {settings}")
        }
        // What is written need not be there before; what it is written into must.
        Client::NotFound { .. } if !settings.is_empty() => {
            format!("there is no such bucket or container, make it first: {error}")
        }
        _ => {
            let text = error.to_string();
            let none = !settings.is_empty() && MACHINES.iter().any(|address| text.contains(address));
            if none { format!("{text}; no credentials are set, and this machine has none: {settings}") } else { text }
        }
    }
}

fn is_refusal(error: &object_store::Error) -> bool {
    use object_store::Error as Client;
    match error {
        Client::NotFound { .. }
        | Client::InvalidPath { .. }
        | Client::NotSupported { .. }
        | Client::NotImplemented { .. }
        | Client::Precondition { .. }
        | Client::PermissionDenied { .. }
        | Client::Unauthenticated { .. }
        | Client::UnknownConfigurationKey { .. } => true,
        _ => successors(Some(error as &(dyn Error + 'static)), |&cause| cause.source()).any(refused_by_disk),
    }
}

fn refused_by_disk(cause: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind as Kind;
    let Some(error) = cause.downcast_ref::<io::Error>() else { return false };
    matches!(
        error.kind(),
        Kind::PermissionDenied
            | Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl Error + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(source) }
    }

    #[test]
    fn only_a_refusal_is_a_failed_write() {
        let is_failed =
            |error: object_store::Error| matches!(of_write("write", "a", "KEY", &error), StoreError::Failed { .. });
        let nothing = || Box::new(io::Error::other("nothing more to say"));
        assert!(is_failed(generic(io::Error::from(io::ErrorKind::StorageFull))));
        assert!(is_failed(generic(io::Error::from(io::ErrorKind::PermissionDenied))));
        assert!(is_failed(object_store::Error::PermissionDenied { path: "a".to_owned(), source: nothing() }));
        assert!(is_failed(object_store::Error::NotFound { path: "a".to_owned(), source: nothing() }));
        assert!(!is_failed(generic(io::Error::from(io::ErrorKind::TimedOut))));
        assert!(!is_failed(generic(io::Error::from(io::ErrorKind::ConnectionReset))));
        assert!(!is_failed(generic(io::Error::other("500 Internal Server Error"))));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let denied =
            object_store::Error::PermissionDenied { path: "a".to_owned(), source: Box::new(io::Error::other("403")) };
        let said = of_read("read", "a", "KEY", &denied).to_string();
        assert!(said.contains("403") && said.ends_with("set in the environment: KEY"), "{said}");
        let nobody = generic(io::Error::other("Error performing PUT http://169.254.169.254/latest/api/token"));
        let said = of_write("write", "a", "KEY", &nobody).to_string();
        assert!(said.ends_with("no credentials are set, and this machine has none: KEY"), "{said}");
        let said = of_read("read", "a", "", &denied).to_string();
        assert!(!said.contains("environment"), "{said}");
    }

    #[test]
    fn a_read_is_never_in_doubt() {
        let timed_out = generic(io::Error::from(io::ErrorKind::TimedOut));
        assert!(matches!(of_read("read", "a", "KEY", &timed_out), StoreError::Failed { .. }));
        let missing =
            object_store::Error::NotFound { path: "a".to_owned(), source: Box::new(io::Error::other("gone")) };
        assert!(matches!(of_read("read", "a", "KEY", &missing), StoreError::NotFound { name } if name == "a"));
    }
}
