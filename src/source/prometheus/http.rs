//! A small HTTP client: one question after the other over connections that are kept, with bounds on everything.
//!
//! It is as much as asking for metrics takes, on hyper: HTTP/1.1, kept connections, our floor of TLS, a login, headers
//! of the user's, gzip. What a server may do to whoever asks has a bound: a whole answer has `responseTimeout`, its
//! body [`PACKED`] on its way and eight times that after it, and redirects are not followed, because where they lead
//! nobody has allowed.
//!
//! A connection that was closed while nobody used it is opened again, once, and without a word: servers close idle
//! connections as they like. What is asked changes nothing on the server, so that it may be asked twice.
//!
//! The parts: `place` is where to ask, `wire` opens and counts, `body` reads what comes, `refused` says what statuses
//! mean.

mod body;
mod place;
mod refused;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::body::Buffers;
use self::body::PACKED;
pub(super) use self::place::Place;
pub(super) use self::refused::refused;
use crate::model::{FailureKind, ReadFailure};
use crate::source::material::{Credentials, Reader};
use crate::source::network::{self, plain};
use crate::source::secrets::Secrets;
use crate::source::{Load, Material};
use crate::spec::grants::Fence;
use crate::spec::{HttpServer, Secret};

const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// Holds what a connect needs, so that its future borrows nothing.
#[derive(Clone)]
pub(super) struct Caller {
    server: Arc<HttpServer>,
    reader: Reader,
    fence: Fence,
}

/// Who we are to a server and whom we trust, as it was read for one link.
pub(super) struct Identity {
    server: Arc<HttpServer>,
    fence: Fence,
    credentials: Credentials,
    /// Login, and what the user wants to be sent.
    headers: HeaderMap,
    tally: Tally,
}

/// What everything that belongs to one link has cost.
#[derive(Default)]
struct Tally {
    requests: AtomicU64,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Caller {
    pub(super) fn new(server: HttpServer, secrets: Secrets) -> Self {
        let reader = Reader::new(server.login(), server.connect_timeout, secrets);
        Caller { server: Arc::new(server), reader, fence: Fence::default() }
    }

    pub(super) fn behind(self, fence: Fence) -> Self {
        Caller { fence, ..self }
    }

    pub(super) fn server(&self) -> &HttpServer {
        &self.server
    }

    /// What a link opened now would be made of.
    pub(super) async fn look(self) -> Option<Material> {
        self.reader.look().await
    }

    pub(super) fn changes(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.reader.changes()
    }

    /// Reads secrets and certificates; asks nobody.
    pub(super) async fn identify(&self) -> Result<Arc<Identity>, ReadFailure> {
        let bound = self.server.connect_timeout;
        let credentials = tokio::time::timeout(bound * 15 / 16, self.reader.read()).await.unwrap_or_else(|_| {
            Err(configuration(format!(
                "{}: its secrets and certificates could not be read within connectTimeout ({} ms): does the mount of \
                 their files hang?",
                self.server.url.text(),
                bound.as_millis()
            )))
        })?;
        let headers = headers(&self.server, &credentials)?;
        let (server, fence) = (Arc::clone(&self.server), self.fence.clone());
        Ok(Arc::new(Identity { server, fence, credentials, headers, tally: Tally::default() }))
    }
}

impl Identity {
    pub(super) fn material(&self) -> Option<Material> {
        self.credentials.material
    }

    pub(super) fn take_load(&self) -> Load {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let Tally { requests, sent, received } = &self.tally;
        Load { commands: take(requests), sent: take(sent), received: take(received) }
    }
}

fn headers(server: &HttpServer, credentials: &Credentials) -> Result<HeaderMap, ReadFailure> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in &server.headers {
        let no_header = || configuration(format!("the header {name:?} of {} cannot be sent", server.url.text()));
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| no_header())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| no_header())?;
        // A proxy's tenant may be a secret, for all we know.
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    let password = credentials.password.as_ref().map(Secret::reveal);
    let login = match (&credentials.username, password) {
        (None, None) => return Ok(headers),
        (None, Some(token)) => format!("Bearer {token}"),
        (Some(user), password) => {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.unwrap_or_default())))
        }
    };
    let unfit = || configuration(format!("the token for {} has characters that no header has", server.url.text()));
    let mut login = HeaderValue::from_str(&login).map_err(|_| unfit())?;
    login.set_sensitive(true);
    headers.insert(AUTHORIZATION, login);
    Ok(headers)
}

/// One question.
pub(super) struct Question<'q> {
    /// Below the place's own path, and with a slash before it; or nothing.
    pub(super) path: &'q str,
    /// A form to be posted; `None`: it is a mere GET.
    pub(super) form: Option<Bytes>,
    pub(super) accept: &'static str,
    /// Whether the answer may come packed. Not worth it where answers are short.
    pub(super) packed: bool,
}

/// What came, whatever its status.
pub(super) struct Answer<'b> {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<String>,
    /// Where a redirect leads.
    pub(super) location: Option<String>,
    pub(super) body: &'b [u8],
    /// Whether HTTP said how long it would be, so that it is all there.
    pub(super) whole: bool,
}

/// One kept connection to one place: asks one thing after the other.
pub(super) struct Channel {
    place: Arc<Place>,
    identity: Arc<Identity>,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes, and ends with this.
    _driver: AbortOnDropHandle<()>,
}

/// Why there is no answer.
enum Lost {
    /// The connection ended before anything came over it: if it had been idle, that is no news.
    Silently(ReadFailure),
    Failed(ReadFailure),
}

impl Channel {
    pub(super) fn new(place: Arc<Place>, identity: Arc<Identity>) -> Self {
        Channel { place, identity, open: None }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Opens the connection, if it is not open; within `connectTimeout`.
    pub(super) async fn connect(&mut self) -> Result<(), ReadFailure> {
        if self.open.is_none() {
            let bound = self.identity.server.connect_timeout;
            let opening = wire::open(&self.place, &self.identity);
            let late = || Err(network::timeout(&self.place.name, "connectTimeout", bound));
            self.open = Some(tokio::time::timeout(bound, opening).await.unwrap_or_else(|_| late())?);
        }
        Ok(())
    }

    /// Asks, and reads the whole answer into `buffers`.
    ///
    /// # Errors
    /// No answer came, or none that could be read to its end. A status is none of these errors.
    pub(super) async fn ask<'b>(
        &mut self,
        question: &Question<'_>,
        buffers: &'b mut Buffers,
    ) -> Result<Answer<'b>, ReadFailure> {
        let kept = self.open.is_some();
        let head = match self.attempt(question, buffers).await {
            Err(Lost::Silently(_)) if kept => self.attempt(question, buffers).await,
            other => other,
        };
        let head = head.map_err(|(Lost::Silently(failure) | Lost::Failed(failure))| failure)?;
        let body = buffers.unpack(head.packed).await.map_err(|fault| self.protocol(&fault))?;
        let Head { status, content_type, location, whole, .. } = head;
        Ok(Answer { status, content_type, location, body, whole })
    }

    fn protocol(&self, fault: &str) -> ReadFailure {
        ReadFailure::new(FailureKind::Protocol, format!("{} {fault}", self.place.name))
    }

    /// Tries once. A connection that failed, or that somebody lost patience with, is not kept.
    async fn attempt(&mut self, question: &Question<'_>, buffers: &mut Buffers) -> Result<Head, Lost> {
        self.connect().await.map_err(Lost::Failed)?;
        let Some(mut open) = self.open.take() else {
            return Err(Lost::Failed(self.protocol("could not be connected to")));
        };
        let request = self.request(question).map_err(Lost::Failed)?;
        self.identity.tally.requests.fetch_add(1, Ordering::Relaxed);
        let bound = self.identity.server.response_timeout;
        let late = || Err(Lost::Failed(network::timeout(&self.place.name, "responseTimeout", bound)));
        let asking = self.exchange(&mut open, request, buffers);
        let head = tokio::time::timeout(bound, asking).await.unwrap_or_else(|_| late())?;
        if head.keep {
            self.open = Some(open);
        }
        Ok(head)
    }

    async fn exchange(
        &self,
        open: &mut Open,
        request: Request<Full<Bytes>>,
        buffers: &mut Buffers,
    ) -> Result<Head, Lost> {
        let lost = |error: hyper::Error| wire::lost(&self.place.name, &error);
        open.sender.ready().await.map_err(lost)?;
        let response = open.sender.send_request(request).await.map_err(lost)?;
        let head = Head::of(&response).map_err(|fault| Lost::Failed(self.protocol(&fault)))?;
        match buffers.receive(response.into_body()).await {
            Ok(()) => Ok(head),
            Err(body::Fault::TooLong) => Err(Lost::Failed(self.protocol(&body::too_long("", PACKED)))),
            Err(body::Fault::Broken(error)) => Err(Lost::Failed(wire::broken_off(&self.place.name, &error))),
        }
    }

    fn request(&self, question: &Question<'_>) -> Result<Request<Full<Bytes>>, ReadFailure> {
        let place = &self.place;
        let path = format!("{}{}", place.path, question.path);
        let uri = if path.is_empty() { "/".to_owned() } else { path };
        let mut request = Request::new(Full::new(question.form.clone().unwrap_or_default()));
        *request.uri_mut() =
            uri.parse().map_err(|_| configuration(format!("{}: {:?} is no path", place.name, plain(&uri))))?;
        let headers = request.headers_mut();
        headers.insert(HOST, place.authority.clone());
        headers.insert(hyper::header::ACCEPT, HeaderValue::from_static(question.accept));
        if question.packed {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(form) = &question.form {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(form.len()));
        }
        // The user's own last: whoever writes `Accept-Encoding: identity` means it.
        for (name, value) in &self.identity.headers {
            headers.insert(name, value.clone());
        }
        if question.form.is_some() {
            *request.method_mut() = Method::POST;
        }
        Ok(request)
    }
}

/// What the head of an answer says.
struct Head {
    status: StatusCode,
    content_type: Option<String>,
    location: Option<String>,
    /// In gzip.
    packed: bool,
    whole: bool,
    keep: bool,
}

impl Head {
    fn of(response: &Response<hyper::body::Incoming>) -> Result<Self, String> {
        use hyper::header::{CONNECTION, CONTENT_ENCODING, TRANSFER_ENCODING};
        let text = |name: HeaderName| {
            let value = response.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let packed = match text(CONTENT_ENCODING).as_deref().map(str::trim) {
            None | Some("" | "identity") => false,
            Some("gzip" | "x-gzip") => true,
            Some(other) => return Err(format!("packs its answer in a way that was not asked for ({})", plain(other))),
        };
        if let Some(length) = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok())
            && length > PACKED as u64
        {
            return Err(body::too_long("", PACKED));
        }
        let told =
            response.headers().contains_key(CONTENT_LENGTH) || response.headers().contains_key(TRANSFER_ENCODING);
        let closes = text(CONNECTION).is_some_and(|text| text.eq_ignore_ascii_case("close"));
        Ok(Head {
            status: response.status(),
            content_type: text(CONTENT_TYPE),
            location: text(LOCATION),
            packed,
            whole: told,
            keep: told && !closes,
        })
    }
}

fn configuration(sentence: String) -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, sentence)
}

/// How long one answer may take, as servers are told it.
pub(super) fn duration(bound: Duration) -> String {
    format!("{}ms", bound.as_millis())
}
