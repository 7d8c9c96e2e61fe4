//! Decodes frames of one length byte and a payload, of many connections, in 4 KiB of receive memory.

use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use std::io::{ErrorKind, Read};
use std::time::Instant;

struct Connection<T> {
    id: ReceiverId,
    transport: T,
    is_open: bool,
    is_armed: bool,
    is_scheduled: bool,
}

/// Does the pending actions of one connection, until it waits or is closed.
fn run<T: Read>(
    pool: &mut Pool,
    connection: &mut Connection<T>,
    mut actions: Actions,
    decoded: &mut impl FnMut(&[u8]),
) -> Result<(), PoolError> {
    let id = connection.id;
    let notices = Action::WantRecv | Action::StopRecv | Action::Reschedule;
    loop {
        if !actions.intersection(Action::End | Action::Shed | Action::CannotFit).is_empty() {
            pool.handle(id, Event::Close)?;
            connection.is_open = false;
            return Ok(());
        } else if actions.has(Action::Recv) {
            let event = match connection.transport.read(pool.receive_area(id)?) {
                Ok(0) => Event::EndOfStream,
                Ok(bytes) => Event::Received { bytes: bytes as u32 },
                Err(error) if error.kind() == ErrorKind::WouldBlock => Event::WouldBlock,
                Err(_) => Event::TransportError,
            };
            actions = pool.handle(id, event)?;
        } else if actions.has(Action::Decode) {
            let data = pool.data(id)?;
            let (frame_bytes, buffered_bytes) = (1 + u32::from(data[0]), data.len() as u32);
            actions = if buffered_bytes < frame_bytes {
                pool.decoded(id, 0, frame_bytes - buffered_bytes)?
            } else {
                decoded(&data[1..frame_bytes as usize]);
                pool.decoded(id, frame_bytes, 0)?
            };
        } else if !actions.intersection(notices).is_empty() {
            connection.is_armed |= actions.has(Action::WantRecv);
            connection.is_armed &= !actions.has(Action::StopRecv);
            connection.is_scheduled |= actions.has(Action::Reschedule);
            actions = pool.handle(id, Event::done(actions.intersection(notices)))?;
        } else {
            return Ok(());
        }
    }
}

/// Serves all connections to their ends.
pub(crate) fn serve<T: Read>(
    mode: Mode,
    transports: impl IntoIterator<Item = T>,
    mut decoded: impl FnMut(usize, &[u8]),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = PoolConfig::new(4096, 1000); // 4 KiB for up to 1000 connections
    config.buffer_bytes = 256; // the longest frame, with its header
    config.policy.mode = mode;
    let mut pool = Pool::new(&config)?;
    let mut connections = Vec::new();
    for (token, transport) in transports.into_iter().enumerate() {
        let id = pool.attach(&AttachOptions::new(0, token as u64))?;
        connections.push(Connection { id, transport, is_open: true, is_armed: false, is_scheduled: false });
        let actions = pool.pending(id)?;
        run(&mut pool, &mut connections[token], actions, &mut |frame| decoded(token, frame))?;
    }
    #[allow(clippy::disallowed_methods, reason = "the library has no clock, but its host does")]
    let start = Instant::now();
    while connections.iter().any(|connection| connection.is_open) {
        // A poller waits here, at most until `pool.poll_timeout()`; then the clock, the events, and the notices.
        pool.handle_timeout(start.elapsed().as_nanos() as u64);
        for (token, connection) in connections.iter_mut().enumerate().filter(|(_, connection)| connection.is_open) {
            let event = if std::mem::take(&mut connection.is_scheduled) {
                Event::Wake
            } else if connection.is_armed {
                connection.is_armed = matches!(mode, Mode::Level | Mode::Edge); // other modes report once
                Event::Readable
            } else {
                continue;
            };
            let actions = pool.handle(connection.id, event)?;
            run(&mut pool, connection, actions, &mut |frame| decoded(token, frame))?;
        }
        while let Some(granted) = pool.poll_notice() {
            if let Notice::Receiver { token, actions, .. } = granted {
                let token = token as usize;
                run(&mut pool, &mut connections[token], actions, &mut |frame| decoded(token, frame))?;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transports: [&[u8]; 2] = [b"\x05hello\x05world\x05ha", b"\x03foo\x03bar"];
    serve(Mode::Level, transports, |token, frame| println!("{token}: {}", String::from_utf8_lossy(frame)))
}
