//! Whose certificates are believed. As Redis does it, a chain must lead to a trusted certificate;
//! the names in it are not compared with the address that was connected to.

use crate::der;
use crate::pem::Pem;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use std::sync::Arc;

/// Certificates that are trusted.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    pub(crate) roots: Arc<RootCertStore>,
    /// The same as bytes: a certificate that is in the file itself needs no chain.
    own: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Those of `file`, which must have some, and of `folder`, where files without are passed over.
    pub(crate) fn new(file: Option<&Pem>, folder: &[Pem]) -> Result<Trusted, String> {
        let mut own = match file {
            Some(pem) => pem.certificates().map_err(|why| format!("{}: {why}", pem.path))?,
            None => Vec::new(),
        };
        for pem in folder {
            own.extend(pem.certificates().unwrap_or_default());
        }
        let mut roots = RootCertStore::empty();
        for certificate in &own {
            // One that cannot be read is as good as absent, if there are others.
            let _ = roots.add(certificate.clone());
        }
        if file.is_some() && roots.is_empty() {
            return Err("no certificate that can be used was found".into());
        }
        Ok(Trusted { roots: Arc::new(roots), own })
    }

    /// A self-signed certificate that is trusted itself: it proves itself although it is made as a
    /// CA's, which webpki refuses. OpenSSL takes it, too.
    fn has(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        if !self.own.iter().any(|own| own == certificate) {
            return Err(CertificateError::UnknownIssuer.into());
        }
        match der::fields(certificate) {
            Some(fields) if now.as_secs() < fields.not_before => {
                Err(CertificateError::NotValidYet.into())
            }
            Some(fields) if now.as_secs() > fields.not_after => {
                Err(CertificateError::Expired.into())
            }
            Some(_) => Ok(()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    /// What webpki says, unless the certificate is trusted itself.
    fn judge(
        &self,
        said: Result<(), Error>,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        said.or_else(|error| self.has(certificate, now).map_err(|_| error))
    }
}

/// How servers prove themselves to us.
#[derive(Debug)]
pub(crate) struct Servers {
    /// Nothing: any certificate will do.
    pub(crate) trusted: Option<Trusted>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        let said = ParsedCertificate::try_from(end_entity).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &trusted.roots,
                intermediates,
                now,
                self.algorithms.all,
            )
        });
        trusted.judge(said, end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// How clients prove themselves to us.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) trusted: Trusted,
    pub(crate) usual: Arc<dyn ClientCertVerifier>,
}

impl Clients {
    /// Clients must show a certificate, or may.
    pub(crate) fn new(
        trusted: Trusted,
        mandatory: bool,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Clients, String> {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&trusted.roots), provider);
        let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
        let usual = builder.build().map_err(|error| error.to_string())?;
        Ok(Clients { trusted, usual })
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.usual.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.usual.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let said = self.usual.verify_client_cert(end_entity, intermediates, now).map(|_| ());
        self.trusted.judge(said, end_entity, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
