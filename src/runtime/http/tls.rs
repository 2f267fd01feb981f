//! Effects: the server's certificate, taken up anew when its files change.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// How often the files are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(2);

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain as PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key as PEM.
    pub key: PathBuf,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}: check --tls-cert and --tls-key, and that this user may read them")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate in it.
    #[error("{0} holds no certificate: --tls-cert takes a PEM file of the server's certificate and its chain")]
    NoCertificate(PathBuf),
    /// No key in it.
    #[error("{0} holds no private key: --tls-key takes a PEM file of the certificate's key, not encrypted")]
    NoKey(PathBuf),
    /// They do not go together, or are of a kind that is not known.
    #[error("the certificate in {certificate} and the key in {key} cannot be used together: {source}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// A certificate in use, and what its files held.
pub(super) struct Certificate {
    files: TlsFiles,
    config: RustlsConfig,
    seen: [u8; 32],
}

impl Certificate {
    pub(super) async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let found = Found::read(&files).await?;
        let config = RustlsConfig::from_config(Arc::new(found.config(&files)?));
        Ok(Self { seen: found.digest(), files, config })
    }

    pub(super) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Looks at the files now and then. While they cannot be used (one of the two is already new), the old ones stay.
    pub(super) async fn watch(mut self) -> Infallible {
        loop {
            tokio::time::sleep(RELOAD_EVERY).await;
            match self.reload().await {
                Ok(true) => {
                    tracing::info!(path = %self.files.certificate.display(), "the changed certificate is in use");
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the certificate read before stays in use"),
            }
        }
    }

    async fn reload(&mut self) -> Result<bool, TlsError> {
        let found = Found::read(&self.files).await?;
        if found.digest() == self.seen {
            return Ok(false);
        }
        self.config.reload_from_config(Arc::new(found.config(&self.files)?));
        self.seen = found.digest();
        Ok(true)
    }
}

/// What the two files hold.
struct Found {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Found {
    async fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self { certificate: read(&files.certificate).await?, key: read(&files.key).await? })
    }

    fn digest(&self) -> [u8; 32] {
        let both = Sha256::new_with_prefix(&self.certificate).chain_update(b"\n").chain_update(&self.key);
        both.finalize().into()
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let no_certificate = || TlsError::NoCertificate(files.certificate.clone());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| no_certificate())?;
        if chain.is_empty() {
            return Err(no_certificate());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::NoKey(files.key.clone()))?;
        let mismatch =
            |source| TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone(), source };
        // Named here, so that no other part of the process has a say in it.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(mismatch)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path).await.map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}
