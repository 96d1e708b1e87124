//! A TCP proxy in front of one server, which passes everything on until it is told to do something else.
//!
//! What it makes up is never a right answer to another question: replies are held back, broken, cut short, or replaced by
//! what no count is. (Another whole number in the place of one could be told from the truth by nobody.)

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::luck::Luck;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Pass,
    /// Every reply is this late.
    Slow(Duration),
    /// Requests are taken and nothing ever comes back, nor does anything close.
    Hang,
    /// What comes back is no protocol.
    Garbage,
    /// A frame that announces two thousand million elements, or half a gigabyte, and goes on no further.
    Boast,
    /// Replies break off in the middle, and so does the connection.
    Truncate,
    /// A third of the replies are errors or of another type.
    Wrong,
    /// Nobody gets in, and who is in is thrown out.
    Shut,
}

pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    upstream: String,
    mode: watch::Sender<Mode>,
    /// Counts; each change throws everybody out.
    resets: watch::Sender<u64>,
    ended: watch::Sender<bool>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    luck: Mutex<Luck>,
}

impl Proxy {
    pub fn before(upstream: String, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream,
            mode: watch::Sender::new(Mode::Pass),
            resets: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            luck: Mutex::new(Luck::new(seed)),
        });
        let (shared, mut ended) = (Arc::clone(&state), state.ended.subscribe());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let client = tokio::select! {
                        _ = ended.wait_for(|ended| *ended) => return,
                        client = listener.accept() => client,
                    };
                    let (Ok((client, _)), state) = (client, Arc::clone(&shared)) else { continue };
                    tokio::spawn(async move {
                        state.accepted.fetch_add(1, Ordering::Relaxed);
                        state.open.fetch_add(1, Ordering::Relaxed);
                        let _ = state.serve(client).await;
                        state.open.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
        });
        Proxy { address, state, thread: Some(thread) }
    }

    pub fn set(&self, mode: Mode) {
        self.state.mode.send_replace(mode);
        if mode == Mode::Shut {
            self.reset();
        }
    }

    /// Closes all connections, whatever is under way on them.
    pub fn reset(&self) {
        self.state.resets.send_modify(|count| *count += 1);
    }

    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    async fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut resets = self.resets.subscribe();
        if self.mode() == Mode::Shut {
            return Ok(());
        }
        let mut server = TcpStream::connect(&self.upstream).await?;
        let (mut requests, mut replies) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut pending = Vec::new();
        loop {
            tokio::select! {
                _ = resets.changed() => return Ok(()),
                read = client.read(&mut requests) => match read? {
                    0 => return Ok(()),
                    _ if self.mode() == Mode::Hang => {}
                    count => server.write_all(&requests[..count]).await?,
                },
                read = server.read(&mut replies) => match read? {
                    0 => return Ok(()),
                    count => {
                        pending.extend_from_slice(&replies[..count]);
                        if !self.reply(&mut client, &mut pending).await? {
                            return Ok(());
                        }
                    }
                },
            }
        }
    }

    /// Passes on what is `pending`, in whatever way. `false`: and then closes.
    async fn reply(&self, client: &mut TcpStream, pending: &mut Vec<u8>) -> std::io::Result<bool> {
        match self.mode() {
            Mode::Pass | Mode::Shut => {}
            Mode::Slow(late) => tokio::time::sleep(late).await,
            Mode::Hang => {
                pending.clear();
                return Ok(true);
            }
            Mode::Garbage => {
                let noise: Vec<u8> = {
                    let mut luck = self.luck.lock().unwrap();
                    (0..pending.len().max(8)).map(|_| luck.next() as u8).collect()
                };
                pending.clear();
                client.write_all(&noise).await?;
                return Ok(true);
            }
            Mode::Boast => {
                let frame =
                    if self.luck.lock().unwrap().below(2) == 0 { "*2000000000\r\n:1\r\n" } else { "$536870912\r\nx" };
                pending.clear();
                client.write_all(frame.as_bytes()).await?;
                return Ok(true);
            }
            Mode::Truncate => {
                // Not at the end of a frame: cut in the middle of one.
                client.write_all(&pending[..pending.len().saturating_sub(2)]).await?;
                return Ok(false);
            }
            Mode::Wrong => {
                let mut out = Vec::new();
                while let Some(length) = frame(pending) {
                    let own: Vec<u8> = pending.drain(..length).collect();
                    let mut luck = self.luck.lock().unwrap();
                    match luck.below(3) {
                        0 => {
                            let wrong: &[&[u8]] = &[
                                b"-ERR injected\r\n",
                                b"-WRONGTYPE injected\r\n",
                                b"-NOPERM injected\r\n",
                                b"$5\r\nhello\r\n",
                                b"+OK\r\n",
                                b"$-1\r\n",
                                b"*-1\r\n",
                                b"*2\r\n:1\r\n:2\r\n",
                                b"-LOADING injected\r\n",
                                b"-X\r\n",
                            ];
                            out.extend_from_slice(wrong[luck.below(wrong.len())]);
                        }
                        _ => out.extend(own),
                    }
                }
                client.write_all(&out).await?;
                return Ok(true);
            }
        }
        client.write_all(pending).await?;
        pending.clear();
        Ok(true)
    }
}

/// The length of the first whole RESP2 frame.
fn frame(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => {
            let end = match number()? {
                count if count < 0 => line,
                count => line + count as usize + 2,
            };
            (bytes.len() >= end).then_some(end)
        }
        b'*' => {
            let mut end = line;
            for _ in 0..number()?.max(0) {
                end += frame(bytes.get(end..).filter(|rest| !rest.is_empty())?)?;
            }
            Some(end)
        }
        b'%' => {
            let mut end = line;
            for _ in 0..2 * number()?.max(0) {
                end += frame(bytes.get(end..).filter(|rest| !rest.is_empty())?)?;
            }
            Some(end)
        }
        _ => Some(line),
    }
}
