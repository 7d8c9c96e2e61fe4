//! Frames as clients send them.

/// Length of a frame's header.
pub const HEADER_BYTES: usize = 4;
/// The largest payload that fits a default buffer with its header.
pub const PAYLOAD_BYTES_MAX: usize = 16_448 - HEADER_BYTES;

/// A frame with a random payload.
pub fn frame(random: &mut fastrand::Rng, payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; HEADER_BYTES + payload_bytes];
    random.fill(&mut frame[HEADER_BYTES..]);
    frame[..HEADER_BYTES].copy_from_slice(&(payload_bytes as u32).to_be_bytes());
    frame
}

/// A frame of any length: often short, sometimes the largest.
pub fn any_frame(random: &mut fastrand::Rng) -> Vec<u8> {
    let payload_bytes = match random.u32(0..8) {
        0 => 0,
        1 => PAYLOAD_BYTES_MAX,
        2 | 3 => random.usize(0..PAYLOAD_BYTES_MAX),
        _ => random.usize(1..200),
    };
    frame(random, payload_bytes)
}

/// Frames of any length, together at least so long.
pub fn many_frames(random: &mut fastrand::Rng, bytes: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    while frames.len() < bytes {
        frames.extend(any_frame(random));
    }
    frames
}

/// Hundreds of frames that fit into a buffer together.
pub fn small_frames(random: &mut fastrand::Rng) -> Vec<u8> {
    (0..1000).flat_map(|at| frame(random, at % 9)).collect()
}
