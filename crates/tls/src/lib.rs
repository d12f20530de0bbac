//! TLS without sockets: what certificates, keys and names of ciphers come to, and one side of a
//! connection between bytes in the clear and bytes on the wire. The protocol is rustls's, the
//! cryptography ring's.
//!
//! Files are read by whoever uses this, through [`Files`].
//! Messages are Redis's where it has one, as people and scripts look for them in the log.

mod channel;
mod ciphers;
mod der;
mod pem;
mod settings;
mod tickets;
mod trust;

pub use channel::{Channel, Wire};
pub use settings::{
    ClientAuth, ClientOptions, ClientSettings, Files, ServerOptions, ServerSettings, Settings,
};

/// Words for an error of the protocol. Certificates that are refused are named as OpenSSL names
/// them, which is what scripts look for.
pub fn error_text(error: &std::io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "unexpected eof while reading".into(),
            _ => error.to_string(),
        };
    };
    match tls {
        rustls::Error::InvalidCertificate(why) => format!("certificate verify failed: {why:?}"),
        rustls::Error::NoCertificatesPresented => "peer did not return a certificate".into(),
        rustls::Error::InvalidMessage(_) => format!("wrong version number or damaged bytes: {tls}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
