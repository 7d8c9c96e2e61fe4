//! The loop that the crate documentation prints, in every mode: transports that are slow, end inside of a frame, or
//! break.
#![allow(clippy::disallowed_methods, reason = "a loop that stalls is noticed")]

#[path = "../examples/minimal.rs"]
#[allow(dead_code, reason = "its `main` is not for tests")]
mod minimal;

use demuxbuf::connection::Mode;
use std::io::{Error, ErrorKind, Read};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Gives what it has in pieces; between them, and some times before them, there is nothing.
struct Slow {
    bytes: Vec<u8>,
    given: usize,
    piece_bytes: usize,
    /// Number of reads in a row that find nothing before the next piece.
    pauses: usize,
    paused: usize,
    breaks: bool,
}

impl Read for Slow {
    fn read(&mut self, area: &mut [u8]) -> Result<usize, Error> {
        assert!(!area.is_empty(), "a receive of nothing");
        if self.paused < self.pauses {
            self.paused += 1;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.paused = 0;
        let bytes = area.len().min(self.piece_bytes).min(self.bytes.len() - self.given);
        if bytes == 0 && self.breaks {
            return Err(ErrorKind::ConnectionReset.into());
        }
        area[..bytes].copy_from_slice(&self.bytes[self.given..][..bytes]);
        self.given += bytes;
        Ok(bytes)
    }
}

const CONNECTIONS: usize = 40;

#[test]
fn s67_minimal_example_drains_in_every_mode() {
    for mode in Mode::ALL {
        let (done, end) = mpsc::channel();
        let served = thread::spawn(move || (drain(mode), done.send(()).expect("the receiver exists")));
        // A loop that stalls never ends, and one that panics sends nothing.
        let end = end.recv_timeout(Duration::from_secs(120));
        assert!(end != Err(mpsc::RecvTimeoutError::Timeout), "{mode:?}: it stalls");
        served.join().expect("all is drained");
    }
}

fn drain(mode: Mode) {
    let frames = |token: usize| -> Vec<Vec<u8>> {
        (0..token * 5).map(|at| vec![(token + at) as u8; (token * 31 + at * 7) % 256]).collect()
    };
    let transports = (0..CONNECTIONS).map(|token| {
        let mut bytes: Vec<u8> =
            frames(token).iter().flat_map(|frame| [&[frame.len() as u8], frame.as_slice()].concat()).collect();
        if token % 3 == 0 {
            bytes.extend_from_slice(&[200; 60]);
        }
        let piece_bytes = [1000, 100_000, 13][token % 3];
        Slow { bytes, given: 0, piece_bytes, pauses: token % 4, paused: 0, breaks: token % 5 == 0 }
    });
    let mut seen = vec![Vec::new(); CONNECTIONS];
    minimal::serve(mode, transports, |token, frame| seen[token].push(frame.to_vec())).expect("no event is refused");
    for (token, seen) in seen.iter().enumerate() {
        assert!(seen == &frames(token), "{mode:?}: connection {token} saw {} frames", seen.len());
    }
}
