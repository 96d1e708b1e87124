//! What it takes to log in: user, password, authorities and certificate, as their files and variables have them now.
//!
//! Everything is read at every connect, so that a rotated secret needs no restart, and all files in one go, so that
//! what a rotation writes together is mostly read together. (Where it is not, the connect fails, and the next look
//! finds the rest.) The files may lie on a mount that hangs: they are read beside the runtime's thread, by one thread
//! at a time for each connection, so that a hanging mount costs one thread and not one for every attempt. The thread is
//! none of the runtime's, which could not end before it.
//!
//! Nothing of a file's contents is in a message, in a log or in a `Debug`: the types here that hold some have none.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, oneshot};

use crate::model::{FailureKind, ReadFailure};
use crate::source::Material;
use crate::spec::{RedisServer, Secret, SecretRef, UserRef};

/// The longest file that is read. Bundles of all public authorities are some 200 KiB; whoever names a device or a log
/// by mistake is told so, and does not fill the memory.
const LONGEST_FILE: u64 = 1024 * 1024;

/// What a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Username,
    Password,
    Authorities,
    Certificate,
    Key,
}

impl Part {
    fn what(self) -> &'static str {
        match self {
            Part::Username => "the file that holds the user's name",
            Part::Password => "the file that holds the password",
            Part::Authorities => "tls.caFile",
            Part::Certificate => "tls.certFile",
            Part::Key => "tls.keyFile",
        }
    }
}

/// Everything that one connect needs to know beyond the address.
pub(super) struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) authorities: Option<Pem>,
    pub(super) client: Option<(Pem, Pem)>,
    /// What they were read from; `None` if from no file.
    pub(super) material: Option<Material>,
}

/// A PEM file: where it is, for messages, and what it holds.
pub(super) struct Pem {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// Reads the credentials of one server, again and again.
#[derive(Clone)]
pub(super) struct Reader {
    server: Arc<RedisServer>,
    files: Arc<[(Part, PathBuf)]>,
    /// Whoever reads holds it, in the thread that may hang.
    turn: Arc<Mutex<()>>,
    hasher: RandomState,
}

type Contents = Vec<(Part, io::Result<Vec<u8>>)>;

impl Reader {
    pub(super) fn new(server: Arc<RedisServer>) -> Self {
        let mut files = Vec::new();
        if let Some(UserRef::File(path)) = &server.username {
            files.push((Part::Username, path.clone()));
        }
        if let Some(SecretRef::File(path)) = &server.password {
            files.push((Part::Password, path.clone()));
        }
        if let Some(tls) = &server.tls {
            files.extend(tls.ca_file.iter().map(|path| (Part::Authorities, path.clone())));
            if let Some(client) = &tls.client {
                files.push((Part::Certificate, client.cert_file.clone()));
                files.push((Part::Key, client.key_file.clone()));
            }
        }
        Reader { server, files: files.into(), turn: Arc::default(), hasher: RandomState::new() }
    }

    /// What [`Reader::read`] would be made from now.
    pub(super) async fn look(self) -> Option<Material> {
        let contents = self.contents().await.ok()?;
        self.material(&contents)
    }

    /// # Errors
    /// Something is not where the Connection says, or is empty.
    pub(super) async fn read(&self) -> Result<Credentials, ReadFailure> {
        let contents = self.contents().await?;
        let material = self.material(&contents);
        let mut bytes = [None, None, None, None, None];
        for ((part, contents), (_, path)) in contents.into_iter().zip(self.files.iter()) {
            let contents = contents.map_err(|error| {
                configuration(format!("{}, {}, cannot be read: {error}", part.what(), path.display()))
            })?;
            // An empty file is one that is being written: an empty password would be sent, and asked about for long.
            if contents.trim_ascii().is_empty() {
                return Err(configuration(format!("{}, {}, is empty", part.what(), path.display())));
            }
            if let Some(place) = bytes.get_mut(part as usize) {
                *place = Some(Pem { path: path.clone(), bytes: contents });
            }
        }
        let [username, password, authorities, certificate, key] = bytes;
        Ok(Credentials {
            username: self.username(username)?,
            password: self.password(password)?,
            authorities,
            client: certificate.zip(key),
            material,
        })
    }

    async fn contents(&self) -> Result<Contents, ReadFailure> {
        if self.files.is_empty() {
            return Ok(Vec::new());
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let files = Arc::clone(&self.files);
        let (done, contents) = oneshot::channel();
        let reading = std::thread::Builder::new().name("credentials".to_owned()).spawn(move || {
            let contents = files.iter().map(|(part, path)| (*part, read(path))).collect();
            drop(turn);
            // Whoever asked may have lost patience.
            let _ = done.send(contents);
        });
        let failed =
            |reason: &dyn fmt::Display| configuration(format!("the Connection's files cannot be read: {reason}"));
        reading.map_err(|error| failed(&error))?;
        contents.await.map_err(|error| failed(&error))
    }

    /// That a file cannot be read is a state like any other: it differs from the one before and the one after.
    fn material(&self, contents: &Contents) -> Option<Material> {
        if contents.is_empty() {
            return None;
        }
        let mut hasher = self.hasher.build_hasher();
        for (part, contents) in contents {
            part.hash(&mut hasher);
            contents.as_ref().map_err(io::Error::kind).hash(&mut hasher);
        }
        Some(Material::from_hash(hasher.finish()))
    }

    fn username(&self, file: Option<Pem>) -> Result<Option<String>, ReadFailure> {
        match &self.server.username {
            None => Ok(None),
            Some(UserRef::Inline(name)) => Ok(Some(name.clone())),
            Some(UserRef::Env(name)) => variable(name, "the user's name").map(Some),
            Some(UserRef::File(_)) => file.map(|file| text(file, "a user's name")).transpose(),
        }
    }

    fn password(&self, file: Option<Pem>) -> Result<Option<Secret>, ReadFailure> {
        match &self.server.password {
            None => Ok(None),
            Some(SecretRef::Inline(secret)) => Ok(Some(secret.clone())),
            Some(SecretRef::Env(name)) => variable(name, "the password").map(|text| Some(Secret::new(text))),
            Some(SecretRef::File(_)) => file.map(|file| text(file, "a password").map(Secret::new)).transpose(),
            Some(SecretRef::Kubernetes { namespace, name, key }) => Err(configuration(format!(
                "the password is key {key:?} of the Secret {namespace}/{name}, which only the Kubernetes door can \
                 read; without it, name an environment variable or a file"
            ))),
        }
    }
}

fn variable(name: &str, what: &str) -> Result<String, ReadFailure> {
    // Nor does this error carry what a variable that is no text holds.
    std::env::var(name)
        .map_err(|_| configuration(format!("the environment variable {name} that holds {what} is not set")))
}

/// An editor's newline at the end is not part of it.
fn text(file: Pem, what: &str) -> Result<String, ReadFailure> {
    match String::from_utf8(file.bytes) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(_) => Err(configuration(format!("{} holds {what} that is not text", file.path.display()))),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    Ok(bytes)
}

fn configuration(sentence: String) -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, sentence)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn server(username: Option<UserRef>, password: Option<SecretRef>) -> RedisServer {
        RedisServer {
            address: "redis:6379".to_owned(),
            database: 0,
            username,
            password,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn password(reference: SecretRef) -> Result<String, ReadFailure> {
        let reader = Reader::new(Arc::new(server(None, Some(reference))));
        block_on(reader.read()).map(|read| read.password.unwrap().reveal().to_owned())
    }

    #[test]
    fn secrets_are_resolved_or_say_how() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file\n").unwrap();
        assert_eq!(password(SecretRef::File(file.path().to_owned())).unwrap(), "from file");

        let missing = password(SecretRef::Env("TIDEGATE_NO_SUCH_VARIABLE".into())).unwrap_err();
        assert_eq!(missing.kind, FailureKind::Configuration);
        let failure =
            password(SecretRef::Kubernetes { namespace: "a".into(), name: "b".into(), key: "c".into() }).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Configuration);
        assert!(failure.message.contains("environment variable or a file"), "{failure}");

        let endless = password(SecretRef::File("/dev/zero".into())).unwrap_err();
        assert!(endless.message.contains("longer than 1 MiB"), "{endless}");
        std::fs::write(file.path(), "\n").unwrap();
        let empty = password(SecretRef::File(file.path().to_owned())).unwrap_err();
        assert!(empty.message.contains("is empty"), "{empty}");
        std::fs::write(file.path(), b"planted-secret\xff").unwrap();
        let binary = password(SecretRef::File(file.path().to_owned())).unwrap_err();
        assert!(binary.message.contains("not text") && !binary.message.contains("planted"), "{binary}");
    }

    #[test]
    fn material_differs_as_files_do_and_is_none_without_files() {
        let folder = tempfile::TempDir::new().unwrap();
        let (user, secret) = (folder.path().join("username"), folder.path().join("password"));
        let both = server(Some(UserRef::File(user.clone())), Some(SecretRef::File(secret.clone())));
        let reader = Reader::new(Arc::new(both));
        let look = || block_on(reader.clone().look()).unwrap();
        let missing = look();
        assert_eq!(missing, look());
        std::fs::write(&user, "a").unwrap();
        std::fs::write(&secret, "b").unwrap();
        let first = look();
        assert_ne!(first, missing);
        assert_eq!(block_on(reader.read()).unwrap().material, Some(first));
        std::fs::write(&user, "b").unwrap();
        std::fs::write(&secret, "a").unwrap();
        assert_ne!(look(), first, "the same contents, but in each other's place");
        std::fs::write(&user, "a").unwrap();
        std::fs::write(&secret, "b").unwrap();
        assert_eq!(look(), first);
        assert_eq!(format!("{first:?}"), "[redacted]");

        let none = Reader::new(Arc::new(server(Some("me".into()), Some(SecretRef::Inline(Secret::new("secret"))))));
        assert_eq!(block_on(none.look()), None);
    }
}
