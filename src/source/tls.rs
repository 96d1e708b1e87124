//! TLS to any server: whom we trust, who we are, and what the least is that we accept.
//!
//! **The floor** is written here and nowhere else: TLS 1.3 and 1.2, with the suites of rustls on ring, whatever the
//! process' default provider is. These are, for 1.3, AES-256-GCM, AES-128-GCM and ChaCha20-Poly1305; for 1.2 the same
//! three with ECDHE and a certificate of either kind (ECDSA, RSA): forward secrecy and authenticated encryption,
//! always. There is no option that lowers it.
//!
//! The Redis library could speak TLS, too, with rustls as well. But it takes versions and provider as the process has
//! them by default, has no name of a server other than the address' host, and reads the system's authorities at every
//! connect even where it then trusts others; so it is given a stream that is encrypted already.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::material::{Credentials, Pem};
use crate::model::{FailureKind, ReadFailure};
use crate::source::network::io_failure;
use crate::spec::ClientTls;

/// Encrypts `stream`, which leads to `host`; `address` is for messages.
pub(in crate::source) async fn encrypt(
    stream: TcpStream,
    address: &str,
    host: &str,
    tls: &ClientTls,
    credentials: &Credentials,
) -> Result<TlsStream<TcpStream>, ReadFailure> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| {
        configuration(format!("{address}: a certificate cannot be checked for {name:?}; write `tls.serverName`"))
    })?;
    let config = config(address, tls, credentials)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| io_failure(address, &error))
}

fn config(address: &str, tls: &ClientTls, credentials: &Credentials) -> Result<ClientConfig, ReadFailure> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| configuration(format!("{address}: {error}")))?;
    let config = if tls.insecure_skip_verify {
        config.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
    } else {
        let Some(authorities) = &credentials.authorities else {
            return Err(configuration(format!(
                "{address}: `tls` needs `caFile` or `caFrom`, the authorities to trust"
            )));
        };
        config.with_root_certificates(trusted(authorities)?)
    };
    let Some((certificate, key)) = &credentials.client else {
        return Ok(config.with_no_client_auth());
    };
    // The library's own words about a key that it cannot read may quote it.
    let private = PrivateKeyDer::from_pem_slice(&key.bytes)
        .map_err(|_| configuration(format!("{}, {}, holds no private key in PEM", key.what, key.place)))?;
    config.with_client_auth_cert(certificates(certificate)?, private).map_err(|error| {
        configuration(match error {
            rustls::Error::InconsistentKeys(_) => {
                let (certified, certificate) = (certificate.what, &certificate.place);
                format!("{}, {}, is not the key of the certificate in {certified}, {certificate}", key.what, key.place)
            }
            _ => {
                let (certified, certificate) = (certificate.what, &certificate.place);
                format!(
                    "the certificate of {certified}, {certificate}, or its key, {}, cannot be used: {error}",
                    key.place
                )
            }
        })
    })
}

fn trusted(authorities: &Pem) -> Result<RootCertStore, ReadFailure> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        store.add(certificate).map_err(|error| {
            configuration(format!(
                "{}, {}, holds a certificate that cannot be used: {error}",
                authorities.what, authorities.place
            ))
        })?;
    }
    Ok(store)
}

/// At least one.
fn certificates(file: &Pem) -> Result<Vec<CertificateDer<'static>>, ReadFailure> {
    match CertificateDer::pem_slice_iter(&file.bytes).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        // Somebody may have put a key into this file: its words are not repeated.
        _ => Err(configuration(format!("{}, {}, holds no certificates in PEM", file.what, file.place))),
    }
}

fn configuration(sentence: String) -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, sentence)
}

/// `insecureSkipVerify`: whoever answers is believed, as long as the key is that of the certificate shown.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
