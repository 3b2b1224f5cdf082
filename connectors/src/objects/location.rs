//! From an URL to a client: which store, with which settings, and the path that all names are relative to.

use std::fs::{self, File};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::ObjectsError;

/// Below five minutes: a repeated request is not signed anew.
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);
const MAX_RETRIES: usize = 10;

/// A client, and where in it the URL points.
pub(super) struct Location {
    pub(super) client: Arc<dyn ObjectStore>,
    pub(super) root: Path,
    /// The same client, where it is a local folder.
    pub(super) local: Option<Arc<LocalFileSystem>>,
    /// What of the environment says where the store is and who asks; nothing of a local folder.
    pub(super) settings: &'static str,
}

/// The variables that a remote store's address and credentials come from, the usual ones first.
const S3_SETTINGS: &str =
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and for a store of others AWS_ENDPOINT_URL";
const GOOGLE_SETTINGS: &str = "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT (a file), GOOGLE_SERVICE_ACCOUNT_KEY \
                               (its contents), and for a store of others GOOGLE_BASE_URL";
const AZURE_SETTINGS: &str = "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN or \
                              AZURE_CLIENT_ID with its secret and tenant, and for a store of others AZURE_STORAGE_ENDPOINT";

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self, ObjectsError> {
        let bad_url = |reason: String| ObjectsError::Url { url: text.to_owned(), reason };
        let url = Url::parse(text).map_err(|error| bad_url(error.to_string()))?;
        let (scheme, root) = ObjectStoreScheme::parse(&url).map_err(|error| bad_url(error.to_string()))?;
        let (client, settings): (Result<Arc<dyn ObjectStore>, object_store::Error>, _) = match scheme {
            ObjectStoreScheme::Local => return Self::local(&url),
            ObjectStoreScheme::AmazonS3 => (s3(&url), S3_SETTINGS),
            ObjectStoreScheme::GoogleCloudStorage => (google(&url), GOOGLE_SETTINGS),
            ObjectStoreScheme::MicrosoftAzure => (azure(&url), AZURE_SETTINGS),
            _ => return Err(bad_url(format!("`{}` is not supported", url.scheme()))),
        };
        let client = client.map_err(|error| {
            let reason = format!("{error}; the store's settings come from the environment: {settings}");
            ObjectsError::Open { url: text.to_owned(), reason }
        })?;
        Ok(Self { client, root, local: None, settings })
    }

    fn local(url: &Url) -> Result<Self, ObjectsError> {
        let folder = url
            .to_file_path()
            .map_err(|()| ObjectsError::Url { url: url.to_string(), reason: "it has no local path".to_owned() })?;
        let cannot_open = |reason: String| ObjectsError::Open { url: url.to_string(), reason };
        make_folder(&folder).map_err(|error| cannot_open(error.to_string()))?;
        let client = LocalFileSystem::new_with_prefix(&folder).map_err(|error| cannot_open(error.to_string()))?;
        let client = Arc::new(client.with_fsync(true));
        Ok(Self { client: client.clone(), root: Path::default(), local: Some(client), settings: "" })
    }
}

/// Makes the folder and whatever it lies in; a folder that was made is on disk before anything is written into it.
pub(crate) fn make_folder(folder: &FilePath) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    make_folder(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

fn s3(url: &Url) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    Ok(Arc::new(AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry()).build()?))
}

fn google(url: &Url) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    Ok(Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(retry()).build()?))
}

fn azure(url: &Url) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    Ok(Arc::new(MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(retry()).build()?))
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}
