//! Whether what is stored fits the job that wants to go on from it.

use crate::Settings;

/// Compares the settings of the newest manifest with those of the job that wants to resume. What is listed in them is
/// what stored state depends on; everything else may change freely.
pub fn check_settings(stored: &Settings, wanted: &Settings) -> Result<(), Refusal> {
    let mut keys: Vec<&String> = stored.keys().chain(wanted.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let (before, now) = (stored.get(key), wanted.get(key));
        if before != now {
            let text = |value: Option<&String>| value.map_or_else(|| "(not set)".to_owned(), Clone::clone);
            return Err(Refusal::Setting { key: key.clone(), stored: text(before), wanted: text(now) });
        }
    }
    Ok(())
}

/// Why a job does not resume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A setting that state depends on has changed.
    #[error(
        "`{key}` was {stored} when the checkpoints were written and is {wanted} now; their state does not fit: set it back, or start a new job under another name"
    )]
    Setting {
        /// The setting.
        key: String,
        /// Its stored value.
        stored: String,
        /// Its value now.
        wanted: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_changed_setting_is_named() {
        let stored = settings(&[("source", "kafka clicks"), ("region", "eu")]);
        assert_eq!(check_settings(&stored, &stored), Ok(()));
        let refusal = check_settings(&stored, &settings(&[("source", "kafka clicks")])).unwrap_err();
        assert!(refusal.to_string().starts_with("`region` was eu"), "{refusal}");
        assert!(refusal.to_string().contains("is (not set) now"), "{refusal}");
    }
}
