//! What `weir up` runs: a job and ingest over one log, all below one folder unless a job file says otherwise.

use std::path::Path;

use super::layers::Layers;
use super::{ConfigError, IngestConfig, JobConfig, ServeConfig, ingest, serve, validate};

/// All parts, of one configuration.
#[derive(Debug, Clone)]
pub struct UpConfig {
    /// The job.
    pub job: JobConfig,
    /// What takes the clicks for it.
    pub ingest: IngestConfig,
    /// What answers questions about them.
    pub serve: ServeConfig,
}

impl UpConfig {
    /// Reads a job file, if there is one, over the defaults for a folder. `more_defaults` come before both, as TOML.
    pub fn load(
        folder: &Path,
        more_defaults: &str,
        path: Option<&Path>,
        definitions: &[String],
    ) -> Result<Self, ConfigError> {
        let layers = Layers::load(&(defaults(folder) + more_defaults), path, definitions)?;
        Ok(Self { job: validate::job(&layers)?, ingest: ingest::validate(&layers)?, serve: serve::validate(&layers)? })
    }
}

fn defaults(folder: &Path) -> String {
    let below = |name: &str| toml::Value::String(format!("{}/{name}/", folder.display()));
    format!(
        "job.name = \"clicks\"\nsource.kind = \"ndjson\"\nsource.url = {}\nsource.follow = true\n\
         checkpoint.url = {}\ntables.url = {}\n",
        below("log"),
        below("checkpoints"),
        below("tables")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::super::SourceConfig;
    use super::*;

    #[test]
    fn without_a_file_everything_is_below_the_folder() {
        let config = UpConfig::load(Path::new("/data/it's \"here\""), "", None, &["job.workers=1".to_owned()]).unwrap();
        let SourceConfig::Ndjson { url, follow } = &config.job.source else { panic!("not ndjson") };
        assert_eq!(url.to_file_path().unwrap(), Path::new("/data/it's \"here\"/log"));
        assert!(*follow);
        assert_eq!(config.ingest.source, config.job.source);
        assert_eq!(config.ingest.job.as_deref(), Some("clicks"));
        assert_eq!(config.ingest.checkpoints.as_ref(), Some(&config.job.checkpoint.url));
    }

    #[test]
    fn a_file_comes_before_the_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[source]\nkind = \"kafka\"\nbrokers = \"b:1\"\ntopic = \"t\"\n").unwrap();
        let more = "time.allowed_lateness = \"30s\"\n";
        let config = UpConfig::load(Path::new("data"), more, Some(file.path()), &[]).unwrap();
        assert!(matches!(config.job.source, SourceConfig::Kafka(_)));
        assert_eq!(config.job.time.allowed_lateness_ms, 30_000);
    }
}
