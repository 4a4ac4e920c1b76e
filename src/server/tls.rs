//! TLS: the certificate and the key, and how they are read again while the server runs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

/// Where the certificate and the key lie, both PEM.
#[derive(Debug, Clone)]
pub struct Files {
    /// The server's certificate, then those between it and the root.
    pub cert: PathBuf,
    /// The key that belongs to it.
    pub key: PathBuf,
}

/// Why TLS is not possible with what the files hold.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is no PEM file of its kind.
    #[error("the TLS {what} {file} can't be read: {why}")]
    File {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The two do not fit together, or are of a kind that can't be used.
    #[error("the TLS certificate and key can't be used: {0}")]
    Pair(#[from] tokio_rustls::rustls::Error),
}

/// The present certificate and key. Clones share them.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Files,
    acceptor: Arc<RwLock<TlsAcceptor>>,
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: Files) -> Result<Self, TlsError> {
        let acceptor = Arc::new(RwLock::new(read(&files)?));
        Ok(Self { files, acceptor })
    }

    /// Reads them again; keeps the old pair when the new one can't be used.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let acceptor = read(&self.files)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// Gives what accepts a connection with the present pair.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(files: &Files) -> Result<TlsAcceptor, TlsError> {
    let Files { cert, key } = files;
    let unreadable = |what, file: &PathBuf, why: String| TlsError::File { what, file: file.clone(), why };
    let bad_cert = |error: rustls_pki_types::pem::Error| unreadable("certificate", cert, error.to_string());
    let certs =
        CertificateDer::pem_file_iter(cert).map_err(bad_cert)?.collect::<Result<Vec<_>, _>>().map_err(bad_cert)?;
    if certs.is_empty() {
        return Err(unreadable("certificate", cert, "it holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, error.to_string()))?;
    // The provider is named, so that no other part of the program can make the choice ambiguous.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certs, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
