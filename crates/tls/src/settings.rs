//! From directives and files to the settings of new connections.

use crate::ciphers;
use crate::der;
use crate::pem::Pem;
use crate::tickets::Sessions;
use crate::trust::{Clients, Servers, Trusted};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoClientAuth, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;

/// Reads what the directives name.
pub trait Files {
    /// The content of a file, or why there is none.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// The paths of the files in a folder.
    fn list(&self, folder: &str) -> Result<Vec<String>, String>;
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    No,
    /// They are asked; one that is shown must be good.
    Optional,
    /// They must.
    #[default]
    Required,
}

/// The directives `tls-*` of a server. Empty texts mean 'not set'.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// `tls-cert-file`
    pub cert_file: String,
    /// `tls-key-file`
    pub key_file: String,
    /// `tls-client-cert-file`; without it the server's own is shown to others.
    pub client_cert_file: String,
    /// `tls-client-key-file`
    pub client_key_file: String,
    /// `tls-ca-cert-file`
    pub ca_cert_file: String,
    /// `tls-ca-cert-dir`
    pub ca_cert_dir: String,
    /// `tls-auth-clients`
    pub auth_clients: ClientAuth,
    /// Connections to others are made with TLS (`tls-replication`, `tls-cluster`).
    pub connects: bool,
    /// `tls-protocols`
    pub protocols: String,
    /// `tls-ciphers`
    pub ciphers: String,
    /// `tls-ciphersuites`
    pub ciphersuites: String,
    /// `tls-prefer-server-ciphers`
    pub prefer_server_ciphers: bool,
    /// `tls-session-caching`
    pub session_caching: bool,
    /// `tls-session-cache-size`
    pub session_cache_size: u32,
    /// `tls-session-cache-timeout`, in seconds
    pub session_cache_timeout: u32,
}

/// What a client is told on its command line. Empty texts mean 'not set'.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientOptions {
    /// Trusted certificates, a file.
    pub cacert: String,
    /// Trusted certificates, a folder.
    pub cacertdir: String,
    /// What the system trusts, if neither is set: files, of which one has to exist.
    pub system_trust: Vec<String>,
    /// Any certificate will do.
    pub insecure: bool,
    /// Our certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// Names of ciphers up to TLS 1.2.
    pub ciphers: String,
    /// Names of cipher suites of TLS 1.3.
    pub ciphersuites: String,
    /// A name is told to the server.
    pub with_name: bool,
}

/// How connections of clients are taken.
#[derive(Clone, Debug)]
pub struct ServerSettings(pub(crate) Arc<ServerConfig>);

/// How connections to servers are made.
#[derive(Clone, Debug)]
pub struct ClientSettings(pub(crate) Arc<ClientConfig>);

/// Everything that a server's directives come to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For clients of ours.
    pub server: ServerSettings,
    /// For servers that we connect to.
    pub client: ClientSettings,
    /// What the operator should know, for the log.
    pub notes: Vec<String>,
}

impl Settings {
    /// Reads the files and puts everything together. The error is a line for the log; it is Redis's
    /// where Redis has one. Source: redis 7.0 `tls.c:tlsConfigure`. `now` tells seconds of a clock
    /// that does not go back.
    pub fn new(
        options: &ServerOptions,
        files: &dyn Files,
        now: fn() -> u64,
    ) -> Result<Settings, String> {
        if options.cert_file.is_empty() {
            return Err("No tls-cert-file configured!".into());
        }
        if options.key_file.is_empty() {
            return Err("No tls-key-file configured!".into());
        }
        let asks = options.auth_clients != ClientAuth::No;
        if (asks || options.connects)
            && options.ca_cert_file.is_empty()
            && options.ca_cert_dir.is_empty()
        {
            return Err("Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or tls-auth-clients are enabled!".into());
        }
        let versions = ciphers::versions(&options.protocols)?;
        let provider = Arc::new(ciphers::provider(&options.ciphers, &options.ciphersuites)?);
        let own = identity(&options.cert_file, &options.key_file, files, &provider)?;
        let others = if options.client_cert_file.is_empty() {
            Arc::clone(&own)
        } else {
            identity(&options.client_cert_file, &options.client_key_file, files, &provider)?
        };
        let trusted = trusted(&options.ca_cert_file, &options.ca_cert_dir, files)?;
        let server =
            server(options, &versions, &provider, own, trusted.clone(), now).map_err(mismatch)?;
        let client = client(&versions, &provider, Some(others), Some(trusted), false)?;
        let notes = ciphers::unknown(&options.ciphers, &options.ciphersuites)
            .into_iter()
            .map(|name| {
                format!(
                    "The cipher '{name}' is not one of those that this server has; it is left out."
                )
            })
            .collect();
        Ok(Settings { server: ServerSettings(Arc::new(server)), client, notes })
    }
}

impl ClientSettings {
    /// Settings of a command line. The error is what redis-cli would say.
    pub fn new(options: &ClientOptions, files: &dyn Files) -> Result<ClientSettings, String> {
        let provider = ciphers::provider("", &options.ciphersuites)
            .map_err(|_| "Error while configuring ciphersuites")?;
        let suites = provider.cipher_suites;
        let mut provider = ciphers::provider(&options.ciphers, "")
            .map_err(|_| "Error while configuring ciphers")?;
        provider.cipher_suites.retain(|suite| suite.tls13().is_none());
        provider.cipher_suites.extend(suites.into_iter().filter(|suite| suite.tls13().is_some()));
        let provider = Arc::new(provider);
        let versions = ciphers::versions("")?;
        let trusted = match options {
            _ if options.insecure => None,
            _ if options.cacert.is_empty() && options.cacertdir.is_empty() => {
                let found =
                    options.system_trust.iter().find_map(|path| trusted(path, "", files).ok());
                Some(found.map_or_else(|| Trusted::new(None, &[]), Ok)?)
            }
            _ => Some(
                trusted(&options.cacert, &options.cacertdir, files)
                    .map_err(|_| "Invalid CA Certificate File/Directory")?,
            ),
        };
        let identity = match (options.cert.is_empty(), options.key.is_empty()) {
            (true, true) => None,
            (false, false) => Some(
                identity(&options.cert, &options.key, files, &provider)
                    .map_err(|why| format!("Invalid client certificate ({why})"))?,
            ),
            _ => return Err("Client cert and key must both be specified or skipped".into()),
        };
        client(&versions, &provider, identity, trusted, options.with_name)
    }
}

fn mismatch(error: rustls::Error) -> String {
    format!("Failed to configure TLS: {error}")
}

fn server(
    options: &ServerOptions,
    versions: &[&'static SupportedProtocolVersion],
    provider: &Arc<CryptoProvider>,
    own: Arc<SingleCertAndKey>,
    trusted: Trusted,
    now: fn() -> u64,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?;
    let builder = match options.auth_clients {
        ClientAuth::No => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
        auth => {
            let mandatory = auth == ClientAuth::Required;
            let clients = Clients::new(trusted, mandatory, Arc::clone(provider))
                .map_err(rustls::Error::General)?;
            builder.with_client_cert_verifier(Arc::new(clients))
        }
    };
    let mut config = builder.with_cert_resolver(own);
    config.ignore_client_order = options.prefer_server_ciphers;
    config.session_storage = if options.session_caching {
        Arc::new(Sessions::new(options.session_cache_size, options.session_cache_timeout, now))
    } else {
        config.send_tls13_tickets = 0;
        Arc::new(NoServerSessionStorage {})
    };
    Ok(config)
}

fn client(
    versions: &[&'static SupportedProtocolVersion],
    provider: &Arc<CryptoProvider>,
    identity: Option<Arc<SingleCertAndKey>>,
    trusted: Option<Trusted>,
    with_name: bool,
) -> Result<ClientSettings, String> {
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(mismatch)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Servers { trusted, algorithms }));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = with_name;
    // Each connection proves itself anew: trust may have changed meanwhile.
    config.resumption = Resumption::disabled();
    Ok(ClientSettings(Arc::new(config)))
}

/// A certificate with its chain, and its key.
fn identity(
    cert: &str,
    key: &str,
    files: &dyn Files,
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, String> {
    let read = |path: &str| files.read(path).map(|bytes| Pem { path: path.to_owned(), bytes });
    let chain = read(cert)
        .and_then(|pem| pem.certificates())
        .map_err(|why| format!("Failed to load certificate: {cert}: {why}"))?;
    let failed = |why: String| format!("Failed to load private key: {key}: {why}");
    let private = read(key).and_then(|pem| pem.key()).map_err(failed)?;
    let private = provider
        .key_provider
        .load_private_key(private)
        .map_err(|error| failed(error.to_string()))?;
    let fields = der::fields(&chain[0])
        .ok_or_else(|| format!("Failed to load certificate: {cert}: damaged"))?;
    // Not by rustls's own check, which does not read certificates of version 1.
    if private.public_key().is_some_and(|own| own.as_ref() != fields.public_key) {
        return Err(failed("key values mismatch".into()));
    }
    Ok(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, private))))
}

/// The certificates that `file` and `folder` hold; both may be empty.
fn trusted(file: &str, folder: &str, files: &dyn Files) -> Result<Trusted, String> {
    let failed =
        |why: String| format!("Failed to configure CA certificate(s) file/directory: {why}");
    let read = |path: &str| files.read(path).map(|bytes| Pem { path: path.to_owned(), bytes });
    let one = match file {
        "" => None,
        path => Some(read(path).map_err(|why| failed(format!("{path}: {why}")))?),
    };
    let mut many = Vec::new();
    if !folder.is_empty() {
        let paths = files.list(folder).map_err(|why| failed(format!("{folder}: {why}")))?;
        // What cannot be read there is not trusted.
        many.extend(paths.iter().filter_map(|path| read(path).ok()));
    }
    Trusted::new(one.as_ref(), &many).map_err(failed)
}
