//! Certificates made as the test runs, and the ways in which they get to their files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

/// A CA.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// For `localhost` and 127.0.0.1.
    pub fn server(&self) -> Pair {
        self.pair(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self) -> Pair {
        self.pair(&["keda"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn pair(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Pair {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.serial_number = Some(SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed)));
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that trusts this CA and shows `own`, if that is something.
    pub fn trusting(
        &self,
        own: Option<&Pair>,
        alpn: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap())
            }
            None => Ok(builder.with_no_client_auth()),
        }
        .unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Arc::new(config)
    }
}

/// A folder like a Secret's mount: `tls.crt` and `tls.key` are links into `..data`, which is a link itself.
pub struct Mount {
    folder: TempDir,
    turn: u64,
}

/// How somebody replaces the files.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// As the kubelet does: everything at once.
    Swap,
    /// As a script does: certificate, a moment of disagreement, key.
    Rewrite,
    /// As a careful script does, file by file.
    Rename,
}

impl Mount {
    pub fn new(pair: &Pair) -> Self {
        let mut mount = Mount { folder: TempDir::new().unwrap(), turn: 0 };
        mount.replace(pair, Style::Swap);
        mount
    }

    pub fn certificate(&self) -> PathBuf {
        self.path().join("tls.crt")
    }

    pub fn key(&self) -> PathBuf {
        self.path().join("tls.key")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Another file beside them.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub fn replace(&mut self, pair: &Pair, style: Style) {
        self.turn += 1;
        let files = [(self.certificate(), &pair.certificate), (self.key(), &pair.key)];
        match style {
            Style::Swap => {
                let data = self.path().join(format!("..{}", self.turn));
                fs::create_dir(&data).unwrap();
                fs::write(data.join("tls.crt"), &pair.certificate).unwrap();
                fs::write(data.join("tls.key"), &pair.key).unwrap();
                self.link(&data, "..data");
                for name in ["tls.crt", "tls.key"] {
                    if !self.path().join(name).is_symlink() {
                        self.link(&Path::new("..data").join(name), name);
                    }
                }
            }
            Style::Rewrite => {
                for (path, text) in files {
                    fs::write(path, text).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Style::Rename => {
                for (path, text) in files {
                    let beside = path.with_extension("new");
                    fs::write(&beside, text).unwrap();
                    fs::rename(beside, path).unwrap();
                }
            }
        }
    }

    /// In one step, whatever stood there.
    fn link(&self, to: &Path, name: &str) {
        let beside = self.path().join("..new");
        symlink(to, &beside).unwrap();
        fs::rename(beside, self.path().join(name)).unwrap();
    }
}
