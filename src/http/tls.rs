//! Encrypted connections: a certificate and its key, read again when their files change. tokio-rustls' one home.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::Failure;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The certificate in use, and where it comes from.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: RwLock<TlsAcceptor>,
    seen: RwLock<Seen>,
}

/// When the files were changed last.
type Seen = [Option<SystemTime>; 2];

impl Tls {
    pub(crate) fn open(certificate: PathBuf, key: PathBuf) -> Result<Tls, Failure> {
        let seen = changed(&certificate, &key);
        let acceptor = acceptor(&certificate, &key)?;
        Ok(Tls { certificate, key, acceptor: acceptor.into(), seen: seen.into() })
    }

    /// What takes connections now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again if they have changed; whether they hold a certificate to be used from now on. One that cannot be used
    /// leaves the former in its place.
    fn look(&self) -> Result<bool, Failure> {
        let now = changed(&self.certificate, &self.key);
        if *self.seen.read().unwrap_or_else(PoisonError::into_inner) == now {
            return Ok(false);
        }
        // What fails now, such as a key that nobody here may read yet, is tried again.
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor(&self.certificate, &self.key)?;
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(true)
    }

    /// Looks at the files for as long as it is let.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.look()).await {
                Ok(Ok(true)) => tracing::info!("another certificate is in use"),
                Ok(Ok(false)) => {}
                Ok(Err(failure)) => tracing::warn!(why = failure.message, "the former certificate stays in use"),
                Err(e) => tracing::error!("the certificate's files are not looked at: {e}"),
            }
        }
    }
}

fn changed(certificate: &Path, key: &Path) -> Seen {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|about| about.modified()).ok())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_changed_without_a_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let write = |second: u64, chain: &str, private: &str| {
            for (path, text) in [(&certificate, chain), (&key, private)] {
                std::fs::write(path, text).expect("written");
                let file = std::fs::File::options().append(true).open(path).expect("opens");
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).expect("is set");
            }
        };
        let made = || rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let (first, second) = (made(), made());
        write(1, &first.cert.pem(), &first.signing_key.serialize_pem());
        let tls = Tls::open(certificate.clone(), key.clone()).expect("opens");
        let before = Arc::as_ptr(tls.acceptor().config());
        assert_eq!(tls.look().ok(), Some(false));
        // The key is not there yet: as it is while both are being replaced.
        write(2, &second.cert.pem(), &first.signing_key.serialize_pem());
        assert!(tls.look().is_err_and(|failure| failure.message.contains("do not fit")));
        assert_eq!(Arc::as_ptr(tls.acceptor().config()), before);
        assert!(tls.look().is_err(), "it is tried again");
        write(3, &second.cert.pem(), &second.signing_key.serialize_pem());
        assert_eq!(tls.look().ok(), Some(true));
        assert_ne!(Arc::as_ptr(tls.acceptor().config()), before);
    }
}
