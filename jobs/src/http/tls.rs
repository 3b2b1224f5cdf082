//! TLS, with a certificate that is read again when its files change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// A certificate chain and its key, from PEM files.
#[derive(Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// When the files were written.
    written: Written,
}

type Written = (Option<SystemTime>, Option<SystemTime>);

impl Certificates {
    /// Reads the files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self> {
        let written = (modified(certificate), modified(key));
        let config = read(certificate, key)?;
        let current = RwLock::new(Current { config, written });
        Ok(Self { shared: Arc::new(Shared { certificate: certificate.to_owned(), key: key.to_owned(), current }) })
    }

    /// Reads the files again if they changed. Connections that are open keep the certificate that they began with. Where the
    /// files cannot be read, the old certificate stays.
    pub fn reload_if_changed(&self) {
        let Shared { certificate, key, current } = &*self.shared;
        let written = (modified(certificate), modified(key));
        if current.read().unwrap_or_else(PoisonError::into_inner).written == written {
            return;
        }
        match read(certificate, key) {
            Ok(config) => {
                tracing::info!(certificate = %certificate.display(), "the TLS certificate was read again");
                *current.write().unwrap_or_else(PoisonError::into_inner) = Current { config, written };
            }
            Err(error) => tracing::warn!("the old TLS certificate stays: {error:#}"),
        }
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner).config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("certificate", &self.shared.certificate).finish()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let in_certificate = || format!("cannot read the certificate {}", certificate.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .with_context(in_certificate)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(in_certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot read the key {}", key.display()))?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private).with_context(|| {
            format!("the certificate {} and the key {} do not fit together", certificate.display(), key.display())
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
