//! A server that answers whatever the test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ends with its process: its threads wait for clients.
pub struct Liar {
    pub address: String,
    connections: Arc<AtomicUsize>,
}

impl Liar {
    /// `answer` is given the words of a command and the liar's own address, and says the whole reply.
    pub fn start(answer: impl Fn(&[String], &str) -> String + Send + Sync + 'static) -> Liar {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (answer, own, count) = (Arc::new(answer), address.clone(), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let (answer, own) = (Arc::clone(&answer), own.clone());
                std::thread::spawn(move || serve(stream, |words| answer(words, &own)));
            }
        });
        Liar { address, connections }
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, answer: impl Fn(&[String]) -> String) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(words) = command(&mut reader) {
        if writer.write_all(answer(&words).as_bytes()).is_err() {
            return;
        }
    }
}

fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let number = |reader: &mut dyn BufRead, mark: char| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim_end().strip_prefix(mark)?.parse::<usize>().ok()
    };
    let count = number(reader, '*')?;
    (0..count)
        .map(|_| {
            let length = number(reader, '$')?;
            let mut bytes = vec![0; length + 2];
            reader.read_exact(&mut bytes).ok()?;
            bytes.truncate(length);
            String::from_utf8(bytes).ok()
        })
        .collect()
}
