//! Bodies of gRPC calls: right ones, and what is wrong in messages, in frames, and in how they arrive.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame};
use prost::Message;
use tidegate::proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use tonic::codegen::Bytes;

use super::metadata::{Maps, Object};
use super::mutate::{self, Rng};

pub const METHODS: [&str; 5] = ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics", "StreamMetricSpec"];

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: &'static str,
    pub encoding: Option<&'static str>,
    /// What arrives, piece by piece.
    pub pieces: Vec<Vec<u8>>,
    /// Nothing comes after the last piece, not even an end.
    pub hangs: bool,
    /// Whether a planted password stands where none may be shown, and nowhere else.
    pub keeps_a_secret: bool,
}

/// A body that arrives as a call says.
pub struct Arriving {
    pieces: VecDeque<Vec<u8>>,
    hangs: bool,
}

impl Call {
    pub fn make(rng: &mut Rng, maps: &Maps) -> Self {
        let method = *rng.pick(&METHODS);
        let object = object(rng, maps);
        let mut keeps_a_secret = object.keeps_a_secret();
        let metric = if rng.once_in(3) { "redis-celery".to_owned() } else { maps.word(rng) };
        // Either message, whatever the method asks for: the fields of one are types of the other.
        let mistaken = rng.once_in(20);
        keeps_a_secret &= !mistaken;
        let as_metrics = (method == "GetMetrics") ^ mistaken;
        let mut message = encode(&object, as_metrics.then_some(metric));
        if rng.once_in(5) {
            keeps_a_secret = false;
            for _ in 0..1 + rng.below(3) {
                mangle(rng, &mut message);
            }
        }
        let mut bytes = frame(rng, &message);
        if rng.once_in(12) {
            keeps_a_secret = false;
            mutate::bytes(rng, &mut bytes);
        }
        if rng.once_in(20) {
            bytes.extend(frame(rng, &message));
        }
        let mut pieces = vec![bytes];
        while rng.once_in(3) {
            let last = pieces.pop().unwrap_or_default();
            let at = rng.below(last.len() + 1);
            pieces.push(last[..at].to_vec());
            pieces.push(last[at..].to_vec());
        }
        let encoding = rng.once_in(30).then(|| *rng.pick(&["gzip", "zstd", "identity", "x\u{7f}", ""]));
        Call { method, encoding, pieces, hangs: rng.once_in(30), keeps_a_secret }
    }

    pub fn body(&self) -> Arriving {
        Arriving { pieces: self.pieces.clone().into(), hangs: self.hangs }
    }

    pub fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            None if self.hangs => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// Mostly one that is on the board, or can come there.
fn object(rng: &mut Rng, maps: &Maps) -> Object {
    let mut object = maps.object(rng);
    if rng.once_in(6) {
        object.map.clear();
        object.map.insert("autoscaler".to_owned(), (*rng.pick(&["orders", "nobody"])).to_owned());
        object.map.insert("serve".to_owned(), (*rng.pick(&["backlog", "replicas"])).to_owned());
    }
    object
}

fn encode(object: &Object, metric: Option<String>) -> Vec<u8> {
    let Object { namespace, name, map } = object.clone();
    let object = ScaledObjectRef { name, namespace, scaler_metadata: map.into_iter().collect() };
    match metric {
        Some(metric_name) => GetMetricsRequest { scaled_object_ref: Some(object), metric_name }.encode_to_vec(),
        None => object.encode_to_vec(),
    }
}

/// Breaks the protobuf of a message in its own ways.
fn mangle(rng: &mut Rng, message: &mut Vec<u8>) {
    match rng.below(9) {
        // A field: of a number and a type that are known or not, with a length that is true or not.
        0 | 1 => {
            let mut field = Vec::new();
            let number = *rng.pick(&[0, 1, 2, 3, 4, 15, 16, 1 << 20, (1 << 29) - 1, 1 << 29, u64::from(u32::MAX)]);
            varint(&mut field, (number << 3) | rng.below(8) as u64);
            let length = *rng.pick(&[0, 1, 5, 127, 128, 1 << 14, u64::from(u32::MAX), u64::MAX, 1 << 63]);
            varint(&mut field, length);
            field.extend(std::iter::repeat_n(b'x', rng.below(10)));
            insert(rng, message, &field);
        }
        // Groups, begun and never ended: each is a step of recursion.
        2 => {
            let depth = rng.length().min(50_000);
            insert(rng, message, &[0x1b].repeat(depth));
        }
        // Messages in messages, as deep.
        3 => {
            for _ in 0..rng.below(120) {
                let mut outer = vec![0x0a];
                varint(&mut outer, message.len() as u64);
                outer.append(message);
                *message = outer;
            }
        }
        // A varint that never ends.
        4 => {
            let length = rng.below(20);
            insert(rng, message, &[0xff].repeat(length));
        }
        // The same fields again: the last one counts, and maps grow.
        5 => {
            let times = 1 + rng.below(4);
            *message = message.repeat(times);
        }
        // A name that is no UTF-8.
        6 => insert(rng, message, &[0x0a, 3, 0xff, 0xc0, 0x80]),
        7 => {
            let entry = [0x1a, 4, 0x0a, 2, 0xed, 0xa0];
            let times = rng.length().min(2000);
            insert(rng, message, &entry.repeat(times));
        }
        _ => mutate::bytes(rng, message),
    }
}

/// The five bytes before each message: whether it is compressed, and its length; either may be a lie.
fn frame(rng: &mut Rng, message: &[u8]) -> Vec<u8> {
    let compressed = if rng.once_in(25) { *rng.pick(&[1, 2, 255]) } else { 0 };
    let length = message.len() as u32;
    let length = if rng.once_in(25) {
        *rng.pick(&[0, 1, length / 2, length.saturating_sub(1), length + 1, 4 << 20, (4 << 20) + 1, u32::MAX])
    } else {
        length
    };
    let mut bytes = vec![compressed];
    bytes.extend(length.to_be_bytes());
    bytes.extend(message);
    if rng.once_in(50) {
        bytes.truncate(rng.below(6));
    }
    bytes
}

fn insert(rng: &mut Rng, message: &mut Vec<u8>, piece: &[u8]) {
    let at = if rng.once_in(2) { message.len() } else { rng.below(message.len() + 1) };
    message.splice(at..at, piece.iter().copied());
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}
