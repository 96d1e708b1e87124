//! The body of an answer: received and unpacked within bounds, into memory that is used again.

use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Bytes of an answer on its way. The largest pages of real exporters have some megabytes unpacked.
pub(in crate::source::prometheus) const PACKED: usize = 8 << 20;

/// Bytes of an answer after unpacking: text of metrics shrinks to a tenth or a twentieth, and not to less.
pub(in crate::source::prometheus) const UNPACKED: usize = 64 << 20;

/// What is unpacked before others have their turn on this thread: a millisecond's work, about.
const TURN: usize = 256 << 10;

/// Memory that is kept between two answers. Rather a large page's than everybody's largest ever.
const KEPT: usize = 1 << 20;

/// Where answers are read into, one after the other.
#[derive(Default)]
pub(in crate::source::prometheus) struct Buffers {
    received: Vec<u8>,
    unpacked: Vec<u8>,
}

pub(super) enum Fault {
    TooLong,
    Broken(hyper::Error),
}

pub(super) fn too_long(how: &str, bound: usize) -> String {
    format!("answers with more than {} MiB{how}: name a path or a query that says less", bound >> 20)
}

impl Buffers {
    /// Takes all of a body in.
    pub(super) async fn receive(&mut self, mut body: Incoming) -> Result<(), Fault> {
        self.received.clear();
        self.received.shrink_to(KEPT);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Fault::Broken)?;
            let Some(data) = frame.data_ref() else { continue };
            if self.received.len() + data.len() > PACKED {
                return Err(Fault::TooLong);
            }
            self.received.extend_from_slice(data);
        }
        Ok(())
    }

    /// What was received, unpacked if it is `packed`.
    pub(super) async fn unpack(&mut self, packed: bool) -> Result<&[u8], String> {
        if !packed {
            return Ok(&self.received);
        }
        self.unpacked.clear();
        self.unpacked.shrink_to(KEPT);
        // Several members one after the other are one file, too.
        let mut decoder = MultiGzDecoder::new(self.received.as_slice());
        loop {
            let taken = decoder.by_ref().take(TURN as u64).read_to_end(&mut self.unpacked);
            match taken {
                Ok(0) => return Ok(&self.unpacked),
                Ok(_) if self.unpacked.len() > UNPACKED => return Err(too_long(" once they are unpacked", UNPACKED)),
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    return Err(format!("says that its answer is gzip, and it is not, or not all of it ({error})"));
                }
            }
        }
    }
}
