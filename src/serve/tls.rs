//! TLS of both doors: what is spoken, from which files, and how a change of files takes effect.
//!
//! **The floor.** TLS 1.2 and 1.3, nothing older. Key exchange is ephemeral (X25519, P-256, P-384), ciphers are
//! authenticated (AEAD), so that a key that leaks later opens no recording of today:
//!
//! | version | suites, in our order |
//! |---|---|
//! | 1.3 | `TLS13_AES_256_GCM_SHA384`, `TLS13_AES_128_GCM_SHA256`, `TLS13_CHACHA20_POLY1305_SHA256` |
//! | 1.2 | `TLS_ECDHE_{ECDSA,RSA}_WITH_AES_256_GCM_SHA384`, `.._AES_128_GCM_SHA256`, `.._CHACHA20_POLY1305_SHA256` |
//!
//! They are written out in [`SUITES`] rather than taken from the library, so that an update of it cannot lower the
//! floor unseen. No renegotiation, no compression, no early data.
//!
//! **No resumption.** Neither session tickets nor session ids are handed out: a resumed session skips the client's
//! certificate, and would let in for hours whom a replaced client CA no longer vouches for. KEDA connects rarely; a
//! handshake costs a fraction of a millisecond.
//!
//! **Files.** A certificate chain, its key (PKCS#8, SEC1 or PKCS#1) and, for mTLS, the client CA, all in PEM. See
//! [`reload`] for what happens when they change.

pub mod reload;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::listen::Door;

/// What may be spoken.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// What may encrypt, in our order.
pub const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What may agree on a key.
pub const GROUPS: [&dyn SupportedKxGroup; 3] = [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// More than any bundle of CAs, and little enough to read twice a second.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Where a door's TLS comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who vouches for callers. `None`: callers show no certificate.
    pub client_ca: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}; it must be there and readable for this process's user", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than 1 MiB, which no PEM file of certificates is", path = .0.display())]
    TooLarge(PathBuf),
    #[error("{path} holds no certificate; it must be PEM, with BEGIN CERTIFICATE", path = .0.display())]
    NoCertificate(PathBuf),
    #[error(
        "{path} holds no private key; it must be PEM, PKCS#8 or SEC1 or PKCS#1, without a passphrase",
        path = .0.display()
    )]
    NoKey(PathBuf),
    /// Without the library's own words: they quote the file, and a key whose newlines were lost is all in one line.
    #[error(
        "{path} is not PEM from beginning to end: a section does not begin or end on a line of its own, or holds what \
         is not base64",
        path = .0.display()
    )]
    Pem(PathBuf),
    #[error(
        "{certificate} and {key} cannot serve together; the key must be that of the first certificate",
        certificate = .certificate.display(), key = .key.display()
    )]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{path} holds a certificate that cannot be a client CA", path = .path.display())]
    Ca { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("no TLS configuration can be made")]
    Config(#[from] rustls::Error),
}

/// What the files said at one moment.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for Contents {
    /// A key is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contents")
    }
}

/// The ciphers, from ring.
fn provider() -> Arc<CryptoProvider> {
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(CryptoProvider { cipher_suites: SUITES.to_vec(), kx_groups: GROUPS.to_vec(), ..provider })
}

/// Blocks: files may lie on a slow disk.
fn read(files: &Files) -> Result<Contents, TlsError> {
    let one = |path: &Path| {
        use std::io::Read as _;
        let failed = |source| TlsError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= LARGEST_FILE => Ok(bytes),
            _ => Err(TlsError::TooLarge(path.to_owned())),
        }
    };
    Ok(Contents {
        certificate: one(&files.certificate)?,
        key: one(&files.key)?,
        client_ca: files.client_ca.as_deref().map(one).transpose()?,
    })
}

/// The configuration that `contents` describe, if they describe one.
fn build(door: Door, files: &Files, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let chain = certificates(&files.certificate, &contents.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::NoKey(files.key.clone()),
        _ => TlsError::Pem(files.key.clone()),
    })?;
    let pair = |source| {
        let (certificate, key) = (files.certificate.clone(), files.key.clone());
        TlsError::Pair { certificate, key, source }
    };
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(pair)?;
    // Not left to `from_der`, which lets a key pass that cannot say what its public half is.
    certified.keys_match().map_err(pair)?;

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&VERSIONS)?;
    let builder = match (&files.client_ca, &contents.client_ca) {
        (Some(path), Some(bytes)) => builder.with_client_cert_verifier(verifier(door, path, bytes, provider)?),
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![match door {
        // grpc-go insists on it.
        Door::Grpc => b"h2".to_vec(),
        Door::Http => b"http/1.1".to_vec(),
    }];
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_tls13_tickets = 0;
    Ok(config)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate(path.to_owned())),
        Ok(chain) => Ok(chain),
        Err(_) => Err(TlsError::Pem(path.to_owned())),
    }
}

/// gRPC lets nobody in without a certificate. HTTP asks for one and leaves it to the routes: a kubelet that probes has
/// none.
fn verifier(
    door: Door,
    path: &Path,
    bytes: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unfit = |source: Box<dyn std::error::Error + Send + Sync>| TlsError::Ca { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, bytes)? {
        roots.add(certificate).map_err(|error| unfit(error.into()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match door {
        Door::Grpc => builder,
        Door::Http => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| unfit(error.into()))
}

#[cfg(test)]
mod tests {
    use rustls::CipherSuite;

    use super::*;

    #[test]
    fn no_word_of_a_broken_key_is_repeated() {
        let files = Files { certificate: "tls.crt".into(), key: "tls.key".into(), client_ca: None };
        let pair = rcgen::generate_simple_self_signed(["tidegate".to_owned()]).unwrap();
        let certificate = pair.cert.pem().into_bytes();
        let key = pair.signing_key.serialize_pem();
        let lines: Vec<&str> = key.lines().collect();
        let secret = *lines.get(1).unwrap();
        let no_end = lines.split_last().map(|(_, rest)| rest.join("\n")).unwrap();
        let odd = key.replacen(secret, &format!("{secret}!"), 1);
        // Newlines that were lost on the way, as blanks or altogether; the last one only.
        for broken in
            [lines.concat(), lines.join(" "), lines.join("\\n"), format!("{no_end}\n{}", "-----END"), no_end, odd]
        {
            for (certificate, key) in
                [(&certificate, broken.as_bytes()), (&broken.clone().into_bytes(), key.as_bytes())]
            {
                let contents = Contents { certificate: certificate.clone(), key: key.to_vec(), client_ca: None };
                let error = build(Door::Grpc, &files, &contents).unwrap_err();
                let said = format!("{} {error:?}", reload::explain(&error));
                // As text, or as the numbers of its bytes.
                let numbers: Vec<String> = secret.bytes().take(8).map(|byte| byte.to_string()).collect();
                let beginning = secret.get(..8).unwrap();
                assert!(!said.contains(beginning) && !said.contains(&numbers.join(", ")), "{said}");
                assert!(said.contains("tls."), "{said}");
            }
        }
    }

    #[test]
    fn the_floor_is_what_is_written_down() {
        let provider = provider();
        let names: Vec<String> = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        assert_eq!(names.len(), 9);
        for name in &names {
            let ephemeral = name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_");
            let authenticated = name.contains("_GCM_") || name.contains("_POLY1305_");
            assert!(ephemeral && authenticated, "{name}");
        }
        assert!(!provider.cipher_suites.iter().any(|suite| suite.suite() == CipherSuite::TLS_NULL_WITH_NULL_NULL));
        let versions: Vec<_> = VERSIONS.iter().map(|version| version.version).collect();
        assert_eq!(versions, [rustls::ProtocolVersion::TLSv1_3, rustls::ProtocolVersion::TLSv1_2]);
    }
}
