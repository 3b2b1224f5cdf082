//! Puts together what a job's configuration names.

use std::sync::Arc;

use weir_dataflow::SourceFactory;

use crate::config::JobConfig;

/// The job's source.
pub(super) fn source(_config: &JobConfig) -> anyhow::Result<Arc<dyn SourceFactory>> {
    anyhow::bail!("local only")
}
