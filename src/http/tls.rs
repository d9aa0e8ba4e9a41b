//! Encrypted connections: a certificate and its key, read once at the start. tokio-rustls' one home.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::Failure;

/// Takes connections with this certificate: TLS 1.2 and 1.3, HTTP/1.1 within.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Failure> {
    let unread = |path: &Path, why: String| Failure::usage(format!("{} cannot be read: {why}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain =
        chain.map_err(|e| unread(certificate, e.to_string()).help("it is a file of PEM, the server's own certificate first"))?;
    if chain.is_empty() {
        return Err(unread(certificate, "it holds no certificate".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unread(key, e.to_string()).help("it is a file of PEM"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = config.map_err(Failure::usage)?.with_no_client_auth().with_single_cert(chain, private);
    let mut config = config.map_err(|e| Failure::usage(format!("certificate and key do not fit: {e}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
