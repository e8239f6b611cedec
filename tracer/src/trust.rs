//! TLS towards others: whose certificates this program trusts.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to trust. It is read once; no file is needed afterwards.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Those that this host trusts.
    ///
    /// # Errors
    /// When it trusts nobody.
    pub fn of_host() -> anyhow::Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut trusted = RootCertStore::empty();
        trusted.add_parsable_certificates(found.certs);
        if trusted.is_empty() {
            bail!(
                "this host has no certificates that it trusts\nhint: SSL_CERT_FILE=FILE in the environment names some"
            );
        }
        Self::of(trusted)
    }

    /// Those of a file in PEM, and nobody else.
    ///
    /// # Errors
    /// When it cannot be read, or holds none.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let read = || format!("failed to read {}", path.display());
        let mut trusted = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).with_context(read)? {
            trusted.add(certificate.with_context(read)?).with_context(read)?;
        }
        anyhow::ensure!(!trusted.is_empty(), "{} holds no certificate in PEM", path.display());
        Self::of(trusted)
    }

    fn of(trusted: RootCertStore) -> anyhow::Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("failed to set TLS up")?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// The same, to speak one protocol only, by its name in ALPN.
    pub fn to_speak(&self, protocol: &str) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Self(Arc::new(config))
    }

    /// The handshake: the other end must have a certificate of that name. An address of IPv6 may be in brackets.
    ///
    /// # Errors
    /// When the name can be nobody's, or the handshake fails.
    pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> anyhow::Result<TlsStream<S>> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host:?} is no name for TLS"))?;
        Ok(TlsConnector::from(self.0.clone()).connect(name, stream).await?)
    }
}
