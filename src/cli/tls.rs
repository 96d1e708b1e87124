//! The flags that say which files a door's TLS comes from.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::app::TlsFiles;
use crate::serve::tls::Files;

/// All files are PEM, and re-read when they change; connections that are open stay.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Certificate chain of the gRPC door, its own first. With it, the door speaks TLS (1.2 or 1.3) and nothing else.
    /// Re-read when it changes, as all files of TLS are.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GRPC_TLS_CERT")]
    pub grpc_tls_cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GRPC_TLS_KEY")]
    pub grpc_tls_key: Option<PathBuf>,
    /// Who vouches for callers of the gRPC door (mTLS): without a certificate of theirs, nobody is answered.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_GRPC_CLIENT_CA")]
    pub grpc_client_ca: Option<PathBuf>,
    /// Certificate chain of the HTTP door.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_HTTP_TLS_CERT")]
    pub http_tls_cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_HTTP_TLS_KEY")]
    pub http_tls_key: Option<PathBuf>,
    /// Who vouches for callers of the HTTP door (mTLS): without a certificate of theirs, there are only /livez and
    /// /readyz, for a kubelet has none.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_HTTP_CLIENT_CA")]
    pub http_client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// What each door is to use.
    ///
    /// # Errors
    /// Half of what TLS needs was given.
    pub fn files(self) -> anyhow::Result<TlsFiles> {
        let TlsArgs { grpc_tls_cert, grpc_tls_key, grpc_client_ca, http_tls_cert, http_tls_key, http_client_ca } = self;
        Ok(TlsFiles {
            grpc: files("grpc", grpc_tls_cert, grpc_tls_key, grpc_client_ca)?,
            http: files("http", http_tls_cert, http_tls_key, http_client_ca)?,
        })
    }
}

fn files(
    door: &str,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> anyhow::Result<Option<Files>> {
    match (certificate, key, client_ca) {
        (Some(certificate), Some(key), client_ca) => Ok(Some(Files { certificate, key, client_ca })),
        (None, None, None) => Ok(None),
        (Some(_), None, _) => bail!("--{door}-tls-cert needs its key: add --{door}-tls-key FILE"),
        (None, Some(_), _) => bail!("--{door}-tls-key needs its certificate: add --{door}-tls-cert FILE"),
        (None, None, Some(_)) => {
            bail!("--{door}-client-ca needs TLS: add --{door}-tls-cert FILE and --{door}-tls-key FILE")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_it_is_an_error_that_says_what_to_add() {
        let path = || Some(PathBuf::from("x.pem"));
        let cases = [
            (TlsArgs { grpc_tls_cert: path(), ..TlsArgs::default() }, "add --grpc-tls-key"),
            (TlsArgs { http_tls_key: path(), ..TlsArgs::default() }, "add --http-tls-cert"),
            (TlsArgs { http_client_ca: path(), ..TlsArgs::default() }, "add --http-tls-cert FILE and --http-tls-key"),
        ];
        for (args, cure) in cases {
            let error = args.files().unwrap_err().to_string();
            assert!(error.contains(cure), "{error}");
        }
        let both = TlsArgs { grpc_tls_cert: path(), grpc_tls_key: path(), ..TlsArgs::default() };
        let both = both.files().unwrap();
        assert!(both.grpc.is_some() && both.http.is_none());
    }
}
