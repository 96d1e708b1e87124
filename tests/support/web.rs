//! A scripted HTTP/1.1 server on a free port of loopback: what it answers, and how badly, is for the test to say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

/// What a client asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
    /// Bytes of the body that are sent before the connection is closed.
    pub cut: Option<usize>,
    /// Closed after the answer, without a word before.
    pub closes: bool,
    /// Nothing at all is sent.
    pub silent: bool,
    /// These bytes, and no HTTP.
    pub raw: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
pub enum Framing {
    Length,
    Chunked,
    /// Ends with the connection.
    Close,
}

impl Reply {
    pub fn of(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Reply {
            status: 200,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.into(),
            framing: Framing::Length,
            cut: None,
            closes: false,
            silent: false,
            raw: None,
        }
    }

    /// A page of metrics in format 0.0.4.
    pub fn page(text: &str) -> Self {
        Reply::of("text/plain; version=0.0.4; charset=utf-8", text)
    }

    pub fn json(text: &str) -> Self {
        Reply::of("application/json", text)
    }

    pub fn status(status: u16, body: &str) -> Self {
        Reply { status, ..Reply::of("text/plain", body) }
    }

    pub fn silent() -> Self {
        Reply { silent: true, ..Reply::page("") }
    }

    pub fn raw(bytes: &[u8]) -> Self {
        Reply { raw: Some(bytes.to_vec()), ..Reply::page("") }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn framed(self, framing: Framing) -> Self {
        Reply { framing, ..self }
    }

    pub fn cut(self, at: usize) -> Self {
        Reply { cut: Some(at), ..self }
    }

    pub fn closing(self) -> Self {
        Reply { closes: true, ..self }
    }

    /// Says that it is packed, and is.
    pub fn packed(self) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.body).unwrap();
        Reply { body: encoder.finish().unwrap(), ..self }.with("Content-Encoding", "gzip")
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running server. Ends on drop.
pub struct Web {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Arc<Script>>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

impl Web {
    pub fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Web::on(listener, script)
    }

    fn on(listener: TcpListener, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                own.connections.fetch_add(1, Ordering::Relaxed);
                let _ = stream.set_nodelay(true);
                own.open.lock().unwrap().push(stream.try_clone().unwrap());
                let own = Arc::clone(&own);
                std::thread::spawn(move || serve(&own, stream));
            }
        });
        Web { port, shared }
    }

    /// Answers the same to everybody.
    pub fn saying(reply: Reply) -> Self {
        Web::start(move |_| reply.clone())
    }

    /// Another script from now on.
    pub fn script(&self, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    pub fn say(&self, reply: Reply) {
        self.script(move |_| reply.clone());
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.shared.asked.lock().unwrap())
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Closes all connections that are open.
    pub fn hang_up(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.hang_up();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(asked) = read(&mut reader) {
        let script = Arc::clone(&shared.script.lock().unwrap());
        shared.asked.lock().unwrap().push(asked.clone());
        let reply = script(&asked);
        if reply.silent {
            // Until somebody closes it.
            let _ = reader.read(&mut [0]);
            return;
        }
        let keep = reply.cut.is_none() && !reply.closes && !matches!(reply.framing, Framing::Close);
        let sent = stream.write_all(&reply.raw.clone().unwrap_or_else(|| written(&reply)));
        if sent.is_err() || !keep || reply.raw.is_some() {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut asked = Asked { method: words.next()?, path: words.next()?, ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length: usize = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8_lossy(&body).into_owned();
    Some(asked)
}

fn written(reply: &Reply) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {} Whatever\r\n", reply.status).into_bytes();
    for (name, value) in &reply.headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    let cut = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
    match reply.framing {
        Framing::Length => {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", reply.body.len()).into_bytes());
            bytes.extend(&reply.body[..cut]);
        }
        Framing::Chunked => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in reply.body[..cut].chunks(1000) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            if reply.cut.is_none() {
                bytes.extend(b"0\r\n\r\n");
            }
        }
        Framing::Close => {
            bytes.extend(b"\r\n");
            bytes.extend(&reply.body[..cut]);
        }
    }
    bytes
}

/// Waits for as long as `patience` until `is_so`.
pub fn wait_until(what: &str, patience: Duration, is_so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + patience;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
