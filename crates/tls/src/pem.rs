//! Certificates and keys out of PEM files.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file that was read: where, for messages, and what is in it.
#[derive(Clone, Default)]
pub struct Pem {
    /// The path.
    pub path: String,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Pem {
    /// All certificates of the file, in its order.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(certificates) if certificates.is_empty() => Err("no certificate found".into()),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(format!("not PEM: {error}")),
        }
    }

    /// The first private key of the file.
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        match PrivateKeyDer::from_pem_slice(&self.bytes) {
            Ok(key) if !self.is_encrypted() => Ok(key),
            _ if self.is_encrypted() => {
                Err("the key is encrypted, which is not supported; write it without a password by \
                 `openssl pkey -in KEY -out PLAIN-KEY`, readable for the server alone"
                    .into())
            }
            Ok(_) => Err("no private key found".into()),
            Err(error) => Err(format!("no private key found: {error}")),
        }
    }

    /// Both kinds of encrypted keys: PKCS#8's, and the headers of older files.
    fn is_encrypted(&self) -> bool {
        let has = |mark: &[u8]| self.bytes.windows(mark.len()).any(|window| window == mark);
        has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
    }
}

impl std::fmt::Debug for Pem {
    /// The content may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pem({})", self.path)
    }
}
