//! What it takes to log in: user, password, authorities and certificate, as their files, variables and Secrets have them
//! now.
//!
//! Everything is read at every connect, so that a rotated secret needs no restart, and all files in one go, so that
//! what a rotation writes together is mostly read together. (Where it is not, the connect fails, and the next look
//! finds the rest.) The files may lie on a mount that hangs: they are read beside the runtime's thread, by one thread
//! at a time for each connection, so that a hanging mount costs one thread and not one for every attempt. The thread is
//! none of the runtime's, which could not end before it.
//!
//! Nothing of what is read is in a message, in a log or in a `Debug`: the types here that hold some have none.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot, watch};

use crate::model::{FailureKind, ReadFailure};
use crate::source::Material;
use crate::source::secrets::{Absent, Secrets};
use crate::spec::{Login, PemRef, Secret, SecretKey, SecretRef, UserRef};

/// The longest file that is read. Bundles of all public authorities are some 200 KiB; whoever names a device or a log
/// by mistake is told so, and does not fill the memory.
const LONGEST_FILE: u64 = 1024 * 1024;

/// How much of `connectTimeout` is left to the API server's first answer about a Secret: three quarters, so that the
/// sentence is about the Secret and not about the timeout.
const PATIENCE: f64 = 0.75;

/// What something is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Username,
    Password,
    Authorities,
    Certificate,
    Key,
}

impl Part {
    /// What it is, or the field that says where.
    fn what(self, place: &Place) -> &'static str {
        match (self, place) {
            (Part::Username, Place::Secret(_)) => "the user's name",
            (Part::Password, Place::Secret(_)) => "the password",
            (Part::Authorities, Place::Secret(_)) => "tls.caFrom",
            (Part::Certificate, Place::Secret(_)) => "tls.certFrom",
            (Part::Key, Place::Secret(_)) => "tls.keyFrom",
            (Part::Username, Place::File(_)) => "the file that holds the user's name",
            (Part::Password, Place::File(_)) => "the file that holds the password",
            (Part::Authorities, Place::File(_)) => "tls.caFile",
            (Part::Certificate, Place::File(_)) => "tls.certFile",
            (Part::Key, Place::File(_)) => "tls.keyFile",
        }
    }
}

/// Where something is that may change under a link.
#[derive(Clone)]
enum Place {
    File(PathBuf),
    Secret(SecretKey),
}

impl From<&PemRef> for Place {
    fn from(reference: &PemRef) -> Self {
        match reference {
            PemRef::File(path) => Place::File(path.clone()),
            PemRef::Kubernetes(key) => Place::Secret(key.clone()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Secret(key) => write!(f, "{key}"),
        }
    }
}

/// Everything that one connect needs to know beyond the address.
pub(in crate::source) struct Credentials {
    pub(in crate::source) username: Option<String>,
    pub(in crate::source) password: Option<Secret>,
    pub(in crate::source) authorities: Option<Pem>,
    pub(in crate::source) client: Option<(Pem, Pem)>,
    /// What they were read from; `None` if from nothing that may change.
    pub(in crate::source) material: Option<Material>,
}

/// Something in PEM, or any other thing that was read: what and where it is, for messages, and what it holds.
pub(in crate::source) struct Pem {
    pub(in crate::source) what: &'static str,
    pub(in crate::source) place: String,
    pub(in crate::source) bytes: Vec<u8>,
}

/// Reads the credentials of one server, again and again.
#[derive(Clone)]
pub(in crate::source) struct Reader {
    username: Option<UserRef>,
    password: Option<SecretRef>,
    patience: Duration,
    secrets: Secrets,
    places: Arc<[(Part, Place)]>,
    /// Whoever reads holds it, in the thread that may hang.
    turn: Arc<Mutex<()>>,
    hasher: RandomState,
}

/// In the order of the places.
type Contents = Vec<Result<Vec<u8>, Unread>>;

/// Why something could not be read.
enum Unread {
    File(io::Error),
    Secret(Absent),
}

impl Reader {
    pub(in crate::source) fn new(login: Login<'_>, connect_timeout: Duration, secrets: Secrets) -> Self {
        let mut places = Vec::new();
        match login.username {
            Some(UserRef::File(path)) => places.push((Part::Username, Place::File(path.clone()))),
            Some(UserRef::Kubernetes(key)) => places.push((Part::Username, Place::Secret(key.clone()))),
            Some(UserRef::Inline(_) | UserRef::Env(_)) | None => {}
        }
        match login.password {
            Some(SecretRef::File(path)) => places.push((Part::Password, Place::File(path.clone()))),
            Some(SecretRef::Kubernetes(key)) => places.push((Part::Password, Place::Secret(key.clone()))),
            Some(SecretRef::Inline(_) | SecretRef::Env(_)) | None => {}
        }
        if let Some(tls) = login.tls {
            places.extend(tls.authorities.iter().map(|authorities| (Part::Authorities, authorities.into())));
            if let Some(client) = &tls.client {
                places.push((Part::Certificate, (&client.certificate).into()));
                places.push((Part::Key, (&client.key).into()));
            }
        }
        Reader {
            username: login.username.cloned(),
            password: login.password.cloned(),
            patience: connect_timeout.mul_f64(PATIENCE),
            secrets,
            places: places.into(),
            turn: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    /// What [`Reader::read`] would be made from now.
    pub(in crate::source) async fn look(self) -> Option<Material> {
        let contents = self.contents().await.ok()?;
        self.material(&contents)
    }

    /// Tells of changed Secrets; `None` where there are none to wait for.
    pub(in crate::source) fn changes(&self) -> Option<watch::Receiver<u64>> {
        let needs_secrets = self.places.iter().any(|(_, place)| matches!(place, Place::Secret(_)));
        if needs_secrets { self.secrets.changes() } else { None }
    }

    /// # Errors
    /// Something is not where the Connection says, or is empty.
    pub(in crate::source) async fn read(&self) -> Result<Credentials, ReadFailure> {
        let contents = self.contents().await?;
        let material = self.material(&contents);
        let mut bytes = [None, None, None, None, None];
        for (contents, (part, place)) in contents.into_iter().zip(self.places.iter()) {
            let what = part.what(place);
            let contents = contents.map_err(|unread| match (unread, place) {
                (Unread::Secret(absent), Place::Secret(key)) => {
                    configuration(format!("{what} cannot be read: {}", absent.of(key)))
                }
                (Unread::Secret(absent), Place::File(_)) => configuration(format!("{what}: {absent:?}")),
                (Unread::File(error), _) => configuration(format!("{what}, {place}, cannot be read: {error}")),
            })?;
            // An empty file is one that is being written: an empty password would be sent, and asked about for long.
            if contents.trim_ascii().is_empty() {
                return Err(configuration(format!("{what}, {place}, is empty")));
            }
            if let Some(slot) = bytes.get_mut(*part as usize) {
                *slot = Some(Pem { what, place: place.to_string(), bytes: contents });
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
        let mut files = self.files().await?.into_iter();
        let mut contents = Vec::with_capacity(self.places.len());
        for (_, place) in self.places.iter() {
            contents.push(match place {
                Place::File(_) => {
                    files.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into())).map_err(Unread::File)
                }
                Place::Secret(key) => {
                    let secret = self.secrets.get_soon(key, self.patience).await;
                    secret.map(|secret| secret.reveal().as_bytes().to_vec()).map_err(Unread::Secret)
                }
            });
        }
        Ok(contents)
    }

    /// All files, in the order of their places.
    async fn files(&self) -> Result<Vec<io::Result<Vec<u8>>>, ReadFailure> {
        if !self.places.iter().any(|(_, place)| matches!(place, Place::File(_))) {
            return Ok(Vec::new());
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let places = Arc::clone(&self.places);
        let (done, contents) = oneshot::channel();
        let reading = std::thread::Builder::new().name("credentials".to_owned()).spawn(move || {
            let files = places.iter().filter_map(|(_, place)| match place {
                Place::File(path) => Some(read(path)),
                Place::Secret(_) => None,
            });
            let files = files.collect();
            drop(turn);
            // Whoever asked may have lost patience.
            let _ = done.send(files);
        });
        let failed =
            |reason: &dyn fmt::Display| configuration(format!("the Connection's files cannot be read: {reason}"));
        reading.map_err(|error| failed(&error))?;
        contents.await.map_err(|error| failed(&error))
    }

    /// That something cannot be read is a state like any other: it differs from the one before and the one after.
    fn material(&self, contents: &Contents) -> Option<Material> {
        if contents.is_empty() {
            return None;
        }
        let mut hasher = self.hasher.build_hasher();
        for (contents, (part, _)) in contents.iter().zip(self.places.iter()) {
            part.hash(&mut hasher);
            match contents {
                Ok(contents) => contents.hash(&mut hasher),
                Err(Unread::File(error)) => (1_u8, error.kind()).hash(&mut hasher),
                Err(Unread::Secret(absent)) => (2_u8, absent).hash(&mut hasher),
            }
        }
        Some(Material::from_hash(hasher.finish()))
    }

    fn username(&self, file: Option<Pem>) -> Result<Option<String>, ReadFailure> {
        match &self.username {
            None => Ok(None),
            Some(UserRef::Inline(name)) => Ok(Some(name.clone())),
            Some(UserRef::Env(name)) => variable(name, "the user's name").map(Some),
            Some(UserRef::File(_) | UserRef::Kubernetes(_)) => file.map(|file| text(file, "a user's name")).transpose(),
        }
    }

    fn password(&self, file: Option<Pem>) -> Result<Option<Secret>, ReadFailure> {
        match &self.password {
            None => Ok(None),
            Some(SecretRef::Inline(secret)) => Ok(Some(secret.clone())),
            Some(SecretRef::Env(name)) => variable(name, "the password").map(|text| Some(Secret::new(text))),
            Some(SecretRef::File(_) | SecretRef::Kubernetes(_)) => {
                file.map(|file| text(file, "a password").map(Secret::new)).transpose()
            }
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
        Err(_) => Err(configuration(format!("{} holds {what} that is not text", file.place))),
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
    use super::*;
    use crate::spec::SecretContent;

    #[expect(clippy::needless_pass_by_value, reason = "as tests have them")]
    fn reading(username: Option<UserRef>, password: Option<SecretRef>, secrets: Secrets) -> Reader {
        let login = Login { username: username.as_ref(), password: password.as_ref(), tls: None };
        Reader::new(login, Duration::from_secs(1), secrets)
    }

    fn key(key: &str) -> SecretKey {
        SecretKey { namespace: "a".into(), name: "b".into(), key: key.into() }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn password(reference: SecretRef) -> Result<String, ReadFailure> {
        let reader = reading(None, Some(reference), Secrets::default());
        block_on(reader.read()).map(|read| read.password.unwrap().reveal().to_owned())
    }

    #[test]
    fn secrets_are_resolved_or_say_how() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file\n").unwrap();
        assert_eq!(password(SecretRef::File(file.path().to_owned())).unwrap(), "from file");

        let missing = password(SecretRef::Env("TIDEGATE_NO_SUCH_VARIABLE".into())).unwrap_err();
        assert_eq!(missing.kind, FailureKind::Configuration);
        let failure = password(SecretRef::Kubernetes(key("c"))).unwrap_err();
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
        let both = (Some(UserRef::File(user.clone())), Some(SecretRef::File(secret.clone())));
        let reader = reading(both.0, both.1, Secrets::default());
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

        let none = reading(Some("me".into()), Some(SecretRef::Inline(Secret::new("secret"))), Secrets::default());
        assert_eq!(block_on(none.look()), None);
    }

    #[test]
    fn a_secret_of_the_cluster_is_read_like_a_file() {
        let both = (Some(UserRef::Kubernetes(key("user"))), Some(SecretRef::Kubernetes(key("password"))));
        let secrets = Secrets::of_cluster();
        let reader = reading(both.0, both.1, secrets.clone());
        let look = || block_on(reader.clone().look()).unwrap();
        let set = |user: &str, password: &str| {
            let keys = [("user", user), ("password", password)];
            let keys = keys.map(|(key, text)| (key.to_owned(), Some(Secret::new(text)))).into();
            secrets.set("a", "b", Some(SecretContent::Keys(keys)));
        };
        secrets.set("a", "b", Some(SecretContent::Missing));
        let missing = look();
        let failure = block_on(reader.read()).map(|_| ()).unwrap_err();
        assert!(failure.message.contains("the user's name cannot be read: there is no Secret a/b"), "{failure}");
        set("me\n", "planted-secret");
        let first = look();
        assert_ne!(first, missing);
        let read = block_on(reader.read()).unwrap();
        assert_eq!(read.username.as_deref(), Some("me"));
        assert_eq!(read.password.unwrap().reveal(), "planted-secret");
        assert_eq!(read.material, Some(first));
        set("planted-secret", "me\n");
        assert_ne!(look(), first);
        set("me\n", " ");
        let empty = block_on(reader.read()).map(|_| ()).unwrap_err();
        assert!(empty.message.contains("the password, key \"password\" of the Secret a/b, is empty"), "{empty}");
        assert!(reader.changes().is_some());
        assert!(reading(None, None, secrets).changes().is_none());
    }
}
