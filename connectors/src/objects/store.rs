//! The store below one URL.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Future, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error as ClientError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart,
};
use weir_checkpoints::{Created, ObjectInfo, Store, StoreError};

use super::location::Location;
use super::outcome::{failed, of_read, of_write, reason};
use super::{ObjectsError, blocking, disk};

/// Larger objects go to remote stores in parts, so that a lost connection costs one part.
const MULTIPART_FROM_BYTES: usize = 16 << 20;
const PART_BYTES: usize = 8 << 20;
const PARTS_IN_FLIGHT: usize = 4;

/// How often a create is repeated that was answered with "exists" or "conflict" while there is no such object.
const MAX_CREATES: usize = 5;

/// A [`Store`] over the crate `object_store`; see [`super::open`].
#[derive(Debug, Clone)]
pub struct ObjectStoreAt {
    client: Arc<dyn ObjectStore>,
    /// What every name is relative to.
    root: Path,
    /// The same client, where it is a local folder.
    local: Option<Arc<LocalFileSystem>>,
    /// For whoever is refused: what of the environment counts.
    settings: &'static str,
}

impl ObjectStoreAt {
    /// Opens the store at an URL; see [`super::open`].
    pub fn open(url: &str) -> Result<Self, ObjectsError> {
        let Location { client, root, local, settings } = Location::parse(url)?;
        Ok(Self { client, root, local, settings })
    }

    /// What is known of one object, or `None` where there is none.
    pub fn head(&self, name: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let (client, path) = self.at("read", name)?;
        match self.wait("read", name, async move { client.head(&path).await })? {
            Ok(meta) => Ok(Some(self.info(&meta))),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(of_read("read", name, self.settings, &error)),
        }
    }

    fn at(&self, action: &'static str, name: &str) -> Result<(Arc<dyn ObjectStore>, Path), StoreError> {
        let path = if self.root.is_root() { Path::parse(name) } else { Path::parse(format!("{}/{name}", self.root)) };
        match path {
            Ok(path) if !name.is_empty() && !name.starts_with('/') => Ok((Arc::clone(&self.client), path)),
            Ok(_) => Err(failed(action, name, "a name must not be empty or start with `/`".to_owned())),
            Err(error) => Err(failed(action, name, error.to_string())),
        }
    }

    fn wait<T, F>(&self, action: &'static str, name: &str, future: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        blocking::wait(future).ok_or_else(|| StoreError::Unknown {
            action,
            name: name.to_owned(),
            reason: "the store's client broke down".to_owned(),
        })
    }

    fn info(&self, meta: &ObjectMeta) -> ObjectInfo {
        let root = self.root.as_ref();
        let location = meta.location.as_ref();
        let name = location.strip_prefix(root).unwrap_or(location).trim_start_matches('/');
        ObjectInfo { name: name.to_owned(), size_bytes: meta.size, modified_ms: meta.last_modified.timestamp_millis() }
    }
}

impl Store for ObjectStoreAt {
    fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let (client, path) = self.at("write", name)?;
        let bytes = Bytes::from(bytes);
        let done = if self.local.is_some() || bytes.len() <= MULTIPART_FROM_BYTES {
            self.wait("write", name, async move { client.put(&path, bytes.into()).await.map(|_| ()) })?
        } else {
            self.wait("write", name, async move { put_in_parts(client.as_ref(), &path, bytes).await })?
        };
        done.map_err(|error| of_write("write", name, self.settings, &error))
    }

    /// The client may itself repeat a request whose first answer was lost, and then find the object: the outcome is
    /// [`Created::Exists`], and the caller compares contents.
    fn put_if_absent(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StoreError> {
        let payload = PutPayload::from(bytes);
        for _ in 0..MAX_CREATES {
            let (client, path) = self.at("create", name)?;
            let once = payload.clone();
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.wait("create", name, async move { client.put_opts(&path, once, options).await })? {
                Ok(_) => return Ok(Created::New),
                Err(ClientError::AlreadyExists { .. }) => {}
                Err(error) => return Err(of_write("create", name, self.settings, &error)),
            }
            // S3 says "conflict" also where another request only might have won. Repeating is safe: only one create
            // of a name can succeed.
            if self.head(name)?.is_some() {
                return Ok(Created::Exists);
            }
        }
        Err(failed("create", name, "the store says that it exists and that it does not".to_owned()))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (client, path) = self.at("read", name)?;
        if let Some(local) = &self.local {
            return disk::read(local, name, &path);
        }
        match self.wait("read", name, async move { client.get(&path).await?.bytes().await })? {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(of_read("read", name, self.settings, &error)),
        }
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = range.end - range.start;
        let (client, path) = self.at("read", name)?;
        if let Some(local) = &self.local {
            return disk::read_range(local, name, &path, range);
        }
        let asked = range.clone();
        let bytes = self
            .wait("read", name, async move { client.get_range(&path, asked).await })?
            .map_err(|error| of_read("read", name, self.settings, &error))?;
        if bytes.len() as u64 != wanted {
            let reason = format!("bytes {}..{} were asked for, only {} came", range.start, range.end, bytes.len());
            return Err(failed("read", name, reason));
        }
        Ok(bytes.into())
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let folder = prefix.trim_end_matches('/');
        let (client, path) =
            if folder.is_empty() { (Arc::clone(&self.client), self.root.clone()) } else { self.at("list", folder)? };
        let listing = async move { client.list(Some(&path)).try_collect::<Vec<_>>().await };
        let found = self
            .wait("list", prefix, listing)?
            .map_err(|error| failed("list", prefix, reason(self.settings, &error)))?;
        let mut objects: Vec<ObjectInfo> = found.iter().map(|meta| self.info(meta)).collect();
        objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let (client, path) = self.at("delete", name)?;
        match self.wait("delete", name, async move { client.delete(&path).await })? {
            Ok(()) | Err(ClientError::NotFound { .. }) => Ok(()),
            Err(error) => Err(of_write("delete", name, self.settings, &error)),
        }
    }
}

/// Nothing is visible under the name before the last step.
async fn put_in_parts(client: &dyn ObjectStore, path: &Path, bytes: Bytes) -> Result<(), ClientError> {
    let mut upload = WriteMultipart::new_with_chunk_size(client.put_multipart(path).await?, PART_BYTES);
    for start in (0..bytes.len()).step_by(PART_BYTES) {
        if let Err(error) = upload.wait_for_capacity(PARTS_IN_FLIGHT).await {
            // What cannot be removed now, the bucket's own rules for unfinished uploads remove later.
            let _ = upload.abort().await;
            return Err(error);
        }
        upload.put(bytes.slice(start..bytes.len().min(start + PART_BYTES)));
    }
    upload.finish().await.map(|_| ())
}
