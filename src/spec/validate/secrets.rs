//! Where a connection's user, password and certificates are, or the password itself.
//!
//! A manifest file belongs to whoever runs tidegate: it may name tidegate's own variables and files. A custom resource
//! belongs to whoever may write into its namespace: it may name Secrets of that namespace and nothing else, or one team
//! could have another's password sent to a server of its own.

use std::path::PathBuf;

use super::connection::{DEFAULT_PORT, Declarer};
use super::values;
use crate::spec::address;
use crate::spec::manifest::{self, PasswordFrom, PemFrom, SecretKeyRef, Tls, UsernameFrom};
use crate::spec::report::{Report, join};
use crate::spec::{ClientCertificate, ClientTls, Origin, PemRef, Secret, SecretKey, SecretRef, UserRef};

/// Who logs in, and whom to trust.
pub(super) struct Login {
    pub(super) username: Option<UserRef>,
    pub(super) password: Option<SecretRef>,
    pub(super) tls: Option<ClientTls>,
}

/// The login that is `written` in the block at `at`.
pub(super) fn login(declarer: Declarer<'_>, at: &str, written: &manifest::Login, report: &mut Report<'_>) -> Login {
    Login {
        username: username(declarer, at, written, report),
        password: password(declarer, at, written, report),
        tls: written.tls.as_ref().map(|written| tls(declarer, written, at, report)),
    }
}

fn username(declarer: Declarer<'_>, at: &str, written: &manifest::Login, report: &mut Report<'_>) -> Option<UserRef> {
    let path = join(at, "username");
    match (&written.username, &written.username_from) {
        (Some(_), Some(_)) => {
            report.problem(&path, "both username and usernameFrom are written", "keep one of the two");
            None
        }
        (Some(name), None) => {
            if name.trim().is_empty() {
                report.problem(&path, "empty", "write the user's name, or take the line out");
            }
            Some(UserRef::Inline(name.clone()))
        }
        (None, Some(from)) => username_from(declarer, from, &join(at, "usernameFrom"), report),
        (None, None) => None,
    }
}

fn username_from(declarer: Declarer<'_>, from: &UsernameFrom, at: &str, report: &mut Report<'_>) -> Option<UserRef> {
    const SECRET: &str = "secretKeyRef: { name: redis, key: username }";
    let example = match declarer.origin {
        Origin::Resource => SECRET,
        Origin::Manifest | Origin::KedaMetadata => "file: /run/secrets/redis-username",
    };
    report.exactly_one(
        at,
        "place of the user's name",
        &[("secretKeyRef", from.secret_key_ref.is_some()), ("env", from.env.is_some()), ("file", from.file.is_some())],
        example,
    );
    if let Some(reference) = &from.secret_key_ref {
        return Some(UserRef::Kubernetes(secret_key(declarer, reference, at, "username", report)));
    }
    if let Some(env) = &from.env {
        let path = join(at, "env");
        refuse_what_is_ours(declarer, &path, VARIABLE, SECRET, report);
        return Some(UserRef::Env(values::text(Some(env), &path, "env: REDIS_USERNAME", report)));
    }
    let file = from.file.as_ref()?;
    let path = join(at, "file");
    refuse_what_is_ours(declarer, &path, FILE, SECRET, report);
    Some(UserRef::File(PathBuf::from(values::text(Some(file), &path, "file: /run/secrets/redis-username", report))))
}

fn password(declarer: Declarer<'_>, at: &str, written: &manifest::Login, report: &mut Report<'_>) -> Option<SecretRef> {
    let path = join(at, "password");
    match (&written.password, &written.password_from) {
        (Some(_), Some(_)) => {
            report.problem(&path, "both password and passwordFrom are written", "keep passwordFrom");
            None
        }
        (Some(_), None) if declarer.origin == Origin::Resource => {
            report.problem(
                &path,
                "a custom resource is no place for a password: too many may read it",
                "put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
            );
            None
        }
        (Some(password), None) if password.0.is_empty() => {
            report.problem(&path, "empty", "write the password in quotes, or take the line out");
            None
        }
        (Some(password), None) => {
            report.warn(
                &path,
                "the password itself is in this file",
                "e.g. passwordFrom: { env: REDIS_PASSWORD }, or { file: /path }, or { secretKeyRef: { name: redis, key: password } }",
            );
            Some(SecretRef::Inline(Secret::new(password.0.clone())))
        }
        (None, Some(from)) => password_from(declarer, from, &join(at, "passwordFrom"), report),
        (None, None) => None,
    }
}

fn password_from(declarer: Declarer<'_>, from: &PasswordFrom, at: &str, report: &mut Report<'_>) -> Option<SecretRef> {
    secret_from(declarer, from, at, "password", "password", report)
}

/// Where `what` is: a password, or something else that nobody else may read; `example` is a key of a Secret.
pub(super) fn secret_from(
    declarer: Declarer<'_>,
    from: &PasswordFrom,
    at: &str,
    what: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<SecretRef> {
    let name = if what == "password" { "redis" } else { "credentials" };
    let secret = format!("secretKeyRef: {{ name: {name}, key: {example} }}");
    report.exactly_one(
        at,
        &format!("place of the {what}"),
        &[("secretKeyRef", from.secret_key_ref.is_some()), ("env", from.env.is_some()), ("file", from.file.is_some())],
        &secret,
    );
    if let Some(reference) = &from.secret_key_ref {
        return Some(SecretRef::Kubernetes(secret_key(declarer, reference, at, example, report)));
    }
    if let Some(env) = &from.env {
        let path = join(at, "env");
        refuse_what_is_ours(declarer, &path, VARIABLE, &secret, report);
        let usual = if what == "password" { "env: REDIS_PASSWORD" } else { "env: A_VARIABLE" };
        return Some(SecretRef::Env(values::text(Some(env), &path, usual, report)));
    }
    let file = from.file.as_ref()?;
    let path = join(at, "file");
    refuse_what_is_ours(declarer, &path, FILE, &secret, report);
    let usual = if what == "password" { "file: /run/secrets/redis-password" } else { "file: /run/secrets/token" };
    Some(SecretRef::File(PathBuf::from(values::text(Some(file), &path, usual, report))))
}

const VARIABLE: &str = "an environment variable";
const FILE: &str = "a file";

/// Variables and files are tidegate's own, and no business of whoever may write a custom resource.
fn refuse_what_is_ours(declarer: Declarer<'_>, path: &str, what: &str, instead: &str, report: &mut Report<'_>) {
    if declarer.origin == Origin::Resource {
        report.problem(
            path,
            format!("a custom resource may not name {what} of tidegate's"),
            format!("put the value into a Secret and write {instead}"),
        );
    }
}

/// The `secretKeyRef` of the block at `parent`; `example` is a key.
fn secret_key(
    declarer: Declarer<'_>,
    reference: &SecretKeyRef,
    parent: &str,
    example: &str,
    report: &mut Report<'_>,
) -> SecretKey {
    let path = join(parent, "secretKeyRef");
    let namespace_path = join(&path, "namespace");
    let namespace = match (declarer.namespace, reference.namespace.as_deref()) {
        (Some(own), None) => own.to_owned(),
        (Some(own), Some(written)) => {
            if own != written {
                let message = format!("a Connection reads Secrets of its own namespace, `{own}`, only");
                report.problem(&namespace_path, message, "take namespace out, or declare a ClusterConnection");
            }
            own.to_owned()
        }
        (None, written) => values::text(written, &namespace_path, "namespace: redis, the Secret's own", report),
    };
    SecretKey {
        namespace,
        name: values::text(reference.name.as_deref(), &join(&path, "name"), "name: redis", report),
        key: values::text(reference.key.as_deref(), &join(&path, "key"), &format!("key: {example}"), report),
    }
}

// === TLS ===

/// One thing in PEM: the two fields that may say where it is, the second of them with its example.
struct Pem<'a> {
    /// The path of the `tls` block.
    at: &'a str,
    file: (&'static str, Option<&'a str>, &'static str),
    from: (&'static str, Option<&'a PemFrom>, &'static str),
}

impl Pem<'_> {
    fn is_written(&self) -> bool {
        self.file.1.is_some() || self.from.1.is_some()
    }

    /// The field to name where neither is written.
    fn usual(&self, declarer: Declarer<'_>) -> (String, String) {
        match declarer.origin {
            Origin::Resource => {
                (join(self.at, self.from.0), format!("{}: {{ {} }}", self.from.0, secret_example(self.from.2)))
            }
            Origin::Manifest | Origin::KedaMetadata => {
                (join(self.at, self.file.0), format!("{}: {}", self.file.0, self.file.2))
            }
        }
    }

    /// The field that is written.
    fn field(&self) -> &'static str {
        if self.file.1.is_some() { self.file.0 } else { self.from.0 }
    }

    fn read(&self, declarer: Declarer<'_>, report: &mut Report<'_>) -> Option<PemRef> {
        let (file_field, file, file_example) = self.file;
        let (from_field, from, key) = self.from;
        let from_path = join(self.at, from_field);
        match (file, from) {
            (Some(_), Some(_)) => {
                let message = format!("both {file_field} and {from_field} are written");
                report.problem(&join(self.at, file_field), message, "keep one of the two");
                None
            }
            (Some(file), None) => {
                let path = join(self.at, file_field);
                let instead = format!("{from_field}: {{ {} }}", secret_example(key));
                refuse_what_is_ours(declarer, &path, FILE, &instead, report);
                let file = values::text(Some(file), &path, &format!("{file_field}: {file_example}"), report);
                Some(PemRef::File(PathBuf::from(file)))
            }
            (None, Some(PemFrom { secret_key_ref: Some(reference) })) => {
                Some(PemRef::Kubernetes(secret_key(declarer, reference, &from_path, key, report)))
            }
            (None, Some(PemFrom { secret_key_ref: None })) => {
                report.problem(&join(&from_path, "secretKeyRef"), "missing", format!("e.g. {}", secret_example(key)));
                None
            }
            (None, None) => None,
        }
    }
}

/// With the keys that Secrets of type kubernetes.io/tls have.
fn secret_example(key: &str) -> String {
    format!("secretKeyRef: {{ name: redis-tls, key: {key} }}")
}

fn tls(declarer: Declarer<'_>, written: &Tls, parent: &str, report: &mut Report<'_>) -> ClientTls {
    let at = join(parent, "tls");
    let at = at.as_str();
    let insecure_skip_verify = written.insecure_skip_verify.unwrap_or(false);
    let authorities = Pem {
        at,
        file: ("caFile", written.ca_file.as_deref(), "/etc/redis-tls/ca.crt"),
        from: ("caFrom", written.ca_from.as_ref(), "ca.crt"),
    };
    if !authorities.is_written() && !insecure_skip_verify {
        let (path, example) = authorities.usual(declarer);
        let message = "missing: the authority whose certificates are to be trusted";
        report.problem(&path, message, format!("e.g. {example}"));
    }
    if insecure_skip_verify {
        report.warn(
            &join(at, "insecureSkipVerify"),
            "the server's certificate is not checked: anybody in between can read the password",
            match declarer.origin {
                Origin::Resource => "write caFrom instead",
                Origin::Manifest | Origin::KedaMetadata => "write caFile instead",
            },
        );
    }
    ClientTls {
        authorities: authorities.read(declarer, report),
        client: client_certificate(declarer, written, at, report),
        server_name: server_name(written, insecure_skip_verify, at, report),
        insecure_skip_verify,
    }
}

fn client_certificate(
    declarer: Declarer<'_>,
    written: &Tls,
    at: &str,
    report: &mut Report<'_>,
) -> Option<ClientCertificate> {
    let certificate = Pem {
        at,
        file: ("certFile", written.cert_file.as_deref(), "/etc/redis-tls/tls.crt"),
        from: ("certFrom", written.cert_from.as_ref(), "tls.crt"),
    };
    let key = Pem {
        at,
        file: ("keyFile", written.key_file.as_deref(), "/etc/redis-tls/tls.key"),
        from: ("keyFrom", written.key_from.as_ref(), "tls.key"),
    };
    let mut missing = |what: &Pem<'_>, there: &Pem<'_>| {
        if !what.is_written() && there.is_written() {
            let (path, example) = what.usual(declarer);
            let there = there.field();
            let message = format!("missing: {there} is written, and a certificate goes with its key");
            report.problem(&path, message, format!("e.g. {example}, or take {there} out"));
        }
    };
    missing(&certificate, &key);
    missing(&key, &certificate);
    let (certificate, key) = (certificate.read(declarer, report), key.read(declarer, report));
    certificate.zip(key).map(|(certificate, key)| ClientCertificate { certificate, key })
}

fn server_name(written: &Tls, insecure_skip_verify: bool, at: &str, report: &mut Report<'_>) -> Option<String> {
    let path = join(at, "serverName");
    let name = written.server_name.as_ref()?;
    if address::split(&address::join(name, DEFAULT_PORT)).is_none() {
        // Not repeated: where a whole URL was pasted, its password would be.
        let message = if name.is_empty() { "empty" } else { "not a name of a host" };
        report.problem(&path, message, "write what stands in the server's certificate, such as redis.example.com");
    } else if insecure_skip_verify {
        report.warn(&path, "nobody compares it: insecureSkipVerify is written", "take insecureSkipVerify out");
    }
    Some(name.clone())
}
