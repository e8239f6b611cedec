//! TLS for clients over the network. Certificate and key are read once, before the thread that serves gives up all
//! files.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{Accept, TlsAcceptor};

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// A certificate, with those that lead from it to one that clients trust, and its key: two files in PEM.
    ///
    /// # Errors
    /// When they cannot be read, hold none, or do not belong together.
    pub fn of_files(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| format!("failed to read {}", path.display());
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.with_context(|| read(certificate))?;
        anyhow::ensure!(!chain.is_empty(), "{} holds no certificate in PEM", certificate.display());
        let own = PrivateKeyDer::from_pem_file(key).with_context(|| read(key))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("failed to set TLS up")?
            .with_no_client_auth()
            .with_single_cert(chain, own)
            .with_context(|| format!("{} does not go with {}", key.display(), certificate.display()))?;
        Ok(Self(Arc::new(config)))
    }

    /// The handshake with a client that has connected.
    pub(super) fn greet<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        TlsAcceptor::from(self.0.clone()).accept(stream)
    }
}
