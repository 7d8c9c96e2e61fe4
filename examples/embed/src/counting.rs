//! Receivers that count, on sockets: while memory is short, a partial frame stays in the kernel until it is whole. It
//! is in Rust what `include/demuxbuf_posix.h` is in C, for pollers that are edge-triggered, as those of mio and tokio.
//!
//! Linux counts, on TCP. Elsewhere the same calls receive without counting.

mod option;

use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result, ioctl_fionread, retry_on_intr};
use rustix::net::{RecvFlags, recv};
use std::os::fd::{AsFd, BorrowedFd};

#[cfg(target_os = "linux")]
const CLOSED: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
#[cfg(not(target_os = "linux"))]
const CLOSED: PollFlags = PollFlags::HUP.union(PollFlags::ERR);

/// What a host keeps of a connected socket, beside its receiver.
#[derive(Debug)]
pub struct Counting {
    /// `SO_RCVLOWAT`, as it was set last.
    mark: u32,
    is_counting: bool,
}

impl Counting {
    /// Prepares a connected socket, and says in the policy whether its receiver may count: attach it with that.
    pub fn new(socket: impl AsFd, buffer_bytes: u32, policy: &mut Policy) -> Counting {
        let may_count = policy.mode != Mode::Optimistic && !policy.reads_ahead;
        policy.counting = can_hold(socket.as_fd(), buffer_bytes).unwrap_or(false) && may_count;
        Counting { mark: 1, is_counting: policy.counting }
    }

    /// For `WantRecv`: sets the mark that the pool asks for, before read interest is armed. One that the system does
    /// not take is found by `receive`: the kernel counts as full then.
    pub fn set_mark(&mut self, socket: impl AsFd, mark: u32) {
        let mark = if self.is_counting { mark } else { 1 };
        if mark != self.mark {
            let _ = option::set_mark(socket.as_fd(), mark);
            self.mark = mark;
        }
    }

    /// Does `Recv` or `Peek`; returns what to report. What is looked at whole is reported as received, and decoded;
    /// what was decoded so is received, and dropped. `frame_bytes` is the length of the frame that begins so, or of its
    /// header while that is not whole.
    pub fn receive(
        &self,
        socket: impl AsFd,
        area: &mut [u8],
        actions: Actions,
        frame_bytes: impl FnOnce(&[u8]) -> u32,
    ) -> Event {
        let socket = socket.as_fd();
        let is_whole = actions.has(Action::RecvWhole);
        if actions.has(Action::Peek) && !is_whole {
            return match try_receive(socket, area, RecvFlags::PEEK) {
                Ok(bytes @ 1..) => Event::NeedMore { bytes: frame_bytes(&area[..bytes]) },
                none => report_none(none),
            };
        }
        // What was decoded is there.
        let may_lack = is_whole && !actions.has(Action::Discard);
        let obstacle = if may_lack { self.obstacle(socket, area.len()) } else { None };
        obstacle.unwrap_or_else(|| match actions.has(Action::Peek) {
            true => look(socket, area),
            false => receive(socket, area, is_whole),
        })
    }

    /// What to report instead of a receive of this many bytes, if fewer are there.
    fn obstacle(&self, socket: BorrowedFd<'_>, bytes: usize) -> Option<Event> {
        if has(socket, bytes) {
            return None;
        }
        // An edge-triggered poller does not repeat a reset.
        let found = poll_now(socket);
        if found.intersects(CLOSED) {
            return Some(Event::PeerClosed);
        }
        // A lower mark can be reached by a part. The one for this frame is set next, and then the poller has more to
        // report.
        let is_marked = self.mark as usize >= bytes;
        if !is_marked || !found.contains(PollFlags::IN) {
            return Some(Event::WouldBlock);
        }
        // Counted after the poll: readable below the mark means that the kernel will hold no more.
        if has(socket, bytes) { None } else { Some(Event::KernelFull) }
    }
}

/// Whether this many bytes can be received; if they cannot be counted, the receive finds out why.
fn has(socket: BorrowedFd<'_>, bytes: usize) -> bool {
    ioctl_fionread(socket).map_or(true, |count| count >= bytes as u64)
}

fn poll_now(socket: BorrowedFd<'_>) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::IN | CLOSED)];
    let is_found = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
    if is_found { polled[0].revents() } else { PollFlags::empty() }
}

fn try_receive(socket: BorrowedFd<'_>, area: &mut [u8], flags: RecvFlags) -> Result<usize> {
    retry_on_intr(|| recv(socket, &mut *area, flags | RecvFlags::DONTWAIT)).map(|(bytes, _)| bytes)
}

/// A look ends before an urgent byte: the kernel cannot show all, and so holds no more that could be shown.
fn look(socket: BorrowedFd<'_>, area: &mut [u8]) -> Event {
    match try_receive(socket, area, RecvFlags::PEEK) {
        Ok(bytes) if bytes == area.len() => Event::Received { bytes: bytes as u32 },
        Ok(1..) => Event::KernelFull,
        none => report_none(none),
    }
}

/// A receive ends before an urgent byte, so that a whole may need several.
fn receive(socket: BorrowedFd<'_>, area: &mut [u8], is_whole: bool) -> Event {
    let mut bytes = 0;
    loop {
        match try_receive(socket, &mut area[bytes..], RecvFlags::empty()) {
            Ok(more @ 1..) => bytes += more,
            none if bytes == 0 => return report_none(none),
            _ => break,
        }
        if !is_whole || bytes == area.len() {
            break;
        }
    }
    Event::Received { bytes: bytes as u32 }
}

fn report_none(outcome: Result<usize>) -> Event {
    match outcome {
        Ok(_) => Event::EndOfStream,
        Err(Errno::AGAIN) => Event::WouldBlock,
        Err(_) => Event::TransportError,
    }
}

/// Prepares a socket to hold frames of up to this many bytes; whether it will wake the host when one is whole.
#[cfg(target_os = "linux")]
fn can_hold(socket: BorrowedFd<'_>, buffer_bytes: u32) -> Result<bool> {
    use rustix::net::{ipproto, sockopt};
    /// Below that, Linux closes the window inside of frames that follow each other.
    const HOLD_BYTES_MIN: u32 = 262_144;
    // The poll of other sockets ignores the mark.
    if sockopt::socket_protocol(socket)? != Some(ipproto::TCP) {
        return Ok(false);
    }
    // An urgent byte outside of the stream is counted, and cannot be received: the poller would report it always.
    sockopt::set_socket_oobinline(socket, true)?;
    // A mark makes the kernel's buffer grow, and is capped without an error where that cannot grow.
    option::set_mark(socket, HOLD_BYTES_MIN.max(16 * buffer_bytes))?;
    let held = option::mark(socket)?;
    option::set_mark(socket, 1)?;
    Ok(held >= buffer_bytes)
}

#[cfg(not(target_os = "linux"))]
fn can_hold(_socket: BorrowedFd<'_>, _buffer_bytes: u32) -> Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use demuxbuf_ffi_tests::skip;
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    /// A client, and the server's socket with what it counts by; `None`, and a line, where the kernel does not count.
    fn connected() -> Option<(TcpStream, TcpStream, Counting)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let client = listener.local_addr().and_then(TcpStream::connect).expect("it listens");
        let (server, _) = listener.accept().expect("a client");
        let mut policy = Policy::default();
        let counting = Counting::new(&server, 16_448, &mut policy);
        if !policy.counting {
            skip("sockets that count: the kernel does not take SO_RCVLOWAT");
        }
        policy.counting.then_some((client, server, counting))
    }

    fn wait(socket: &TcpStream, flags: PollFlags) {
        let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(socket, flags)], Some(&limit)), Ok(1));
    }

    #[test]
    fn partial_frame_waits_for_its_rest_or_its_end() {
        let Some((mut client, server, mut counting)) = connected() else { return };
        let (mut area, whole) = ([0; 100], Action::Recv | Action::RecvWhole);
        let mut receive = |counting: &Counting, actions: Actions| {
            counting.receive(&server, &mut area, actions, |seen| seen.len() as u32 + 40)
        };
        client.write_all(&[7; 60]).expect("there is room");
        wait(&server, PollFlags::IN);
        assert_eq!(receive(&counting, Action::Peek.into()), Event::NeedMore { bytes: 100 });
        assert_eq!(receive(&counting, whole), Event::WouldBlock);
        counting.set_mark(&server, 100);
        assert_eq!(poll_now(server.as_fd()), PollFlags::empty());
        assert_eq!(receive(&counting, whole), Event::WouldBlock);
        client.write_all(&[7; 40]).expect("there is room");
        wait(&server, PollFlags::IN);
        assert_eq!(receive(&counting, whole), Event::Received { bytes: 100 });
        client.write_all(&[7; 30]).expect("there is room");
        drop(client);
        wait(&server, CLOSED);
        assert_eq!(receive(&counting, whole), Event::PeerClosed);
        assert_eq!(receive(&counting, Action::Recv.into()), Event::Received { bytes: 30 });
        assert_eq!(receive(&counting, Action::Recv.into()), Event::EndOfStream);
    }

    #[test]
    fn kernel_that_holds_no_more_is_full() {
        let Some((mut client, server, mut counting)) = connected() else { return };
        rustix::net::sockopt::set_socket_recv_buffer_size(&server, 8192).expect("an option");
        counting.set_mark(&server, 1_000_000);
        client.set_nonblocking(true).expect("an option");
        while client.write(&[7; 1000]).is_ok() {}
        wait(&server, PollFlags::IN);
        let whole = Action::Recv | Action::RecvWhole;
        assert_eq!(counting.receive(&server, &mut vec![0; 1_000_000], whole, |_| 0), Event::KernelFull);
    }
}
