//! What a socket of the kit reports, and when.

use demuxbuf::connection::{Action, EndKind, Event, Mode};
use demuxbuf_testkit::{Rng, Socket, check_in_flight, in_modes};
use std::ptr::NonNull;

const ROOM: usize = 8;

/// Memory that receives are submitted into. It is only used through its pointer, so that the system may keep that.
struct Memory(NonNull<[u8; ROOM]>);

impl Memory {
    fn new() -> Memory {
        Memory(NonNull::from(Box::leak(Box::new([0; ROOM]))))
    }

    /// What is in it, seen as a system call would see it.
    fn read(&self) -> [u8; ROOM] {
        // SAFETY: it is allocated until it is dropped, and nothing borrows it.
        unsafe { self.0.read() }
    }

    fn submit(&mut self, socket: &mut Socket) {
        // SAFETY: the memory is dropped after the socket, and nothing borrows it.
        let event = unsafe { socket.submit(self.0.as_mut()) };
        assert_eq!(event, Event::done(Action::Recv));
        assert!(socket.is_submitted());
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated in `new`, and its pointer is no longer used.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

#[test]
fn submitted_receive_writes_at_its_outcome() {
    let mut memory = Memory::new();
    let mut socket = Socket::new(Mode::Completion, &[]);
    memory.submit(&mut socket);
    assert_eq!((socket.is_due(), socket.poll()), (false, None));
    socket.send(b"0123456789");
    check_in_flight([&socket].into_iter());
    assert!(socket.is_due() && !memory.read().starts_with(b"0"), "the bytes are not there before the outcome");
    assert_eq!(socket.poll(), Some(Event::Received { bytes: ROOM as u32 }));
    assert_eq!((&memory.read(), socket.buffered()), (b"01234567", &b"01234567"[..]));
    assert!(!socket.is_submitted() && socket.unread() == 2);
}

#[test]
fn cancelled_receive_has_an_outcome() {
    for (sent, outcome) in [(&b""[..], Event::WouldBlock), (b"abc", Event::Received { bytes: 3 })] {
        let mut memory = Memory::new();
        let mut socket = Socket::new(Mode::Completion, &[]);
        memory.submit(&mut socket);
        socket.acknowledge(Action::StopRecv.into());
        socket.send(sent);
        assert!(socket.is_submitted(), "its memory is in use until then");
        assert_eq!((socket.poll(), socket.is_submitted(), socket.poll()), (Some(outcome), false, None));
    }
    // With both at once, either may be first.
    let mut outcomes = [false; 2];
    for seed in 0..20 {
        let mut memory = Memory::new();
        let mut socket = Socket::random(Mode::Completion, &[], Rng::with_seed(seed));
        memory.submit(&mut socket);
        socket.send(b"a");
        socket.acknowledge(Action::StopRecv.into());
        let outcome = std::iter::repeat_with(|| socket.poll()).find_map(|outcome| outcome);
        outcomes[usize::from(outcome == Some(Event::WouldBlock))] = true;
    }
    assert_eq!(outcomes, [true; 2]);
}

#[test]
fn end_completes_a_submitted_receive() {
    for (end, outcome) in [(EndKind::Stream, Event::EndOfStream), (EndKind::Error, Event::TransportError)] {
        let mut memory = Memory::new();
        let mut socket = Socket::new(Mode::Completion, &[]);
        memory.submit(&mut socket);
        socket.send(b"abc");
        socket.finish(end);
        assert_eq!(socket.poll(), Some(Event::Received { bytes: 3 }), "bytes come first");
        memory.submit(&mut socket);
        assert_eq!((socket.poll(), socket.is_submitted()), (Some(outcome), false));
        memory.submit(&mut socket);
        assert_eq!((socket.hang_up(end), socket.is_submitted()), (outcome, false));
    }
}

#[test]
#[should_panic(expected = "is not the outcome of the submitted receive")]
fn outcome_that_the_system_did_not_report_is_refused() {
    let mut memory = Memory::new();
    let mut socket = Socket::new(Mode::Completion, &[]);
    memory.submit(&mut socket);
    socket.follow(Event::WouldBlock);
}

#[test]
#[should_panic(expected = "there is something to stop")]
fn receive_is_cancelled_once() {
    let mut memory = Memory::new();
    let mut socket = Socket::new(Mode::Completion, &[]);
    memory.submit(&mut socket);
    socket.acknowledge(Action::StopRecv.into());
    socket.acknowledge(Action::StopRecv.into());
}

/// Level-triggered interest reports again, an edge once for each change, and the others once for each time they are
/// armed.
#[test]
fn readiness_is_reported_as_in_its_mode() {
    let reports = |mode: Mode| {
        let mut socket = Socket::new(mode, &[]);
        socket.acknowledge(Action::WantRecv.into());
        let mut reports = Vec::new();
        for step in 0..4 {
            if step == 1 || step == 3 {
                socket.send(b"a");
            }
            reports.push(socket.poll().is_some());
            if mode == Mode::OneShot && step == 2 {
                socket.acknowledge(Action::WantRecv.into());
            }
        }
        reports
    };
    assert_eq!(reports(Mode::Level), [false, true, true, true]);
    assert_eq!(reports(Mode::Edge), [false, true, false, true]);
    assert_eq!(reports(Mode::OneShot), [false, true, false, true]);
    in_modes(&[Mode::Optimistic, Mode::Completion], |mode| {
        assert_eq!(reports(mode), [false, true, false, false]);
    });
}

/// What a layer took from the transport is not reported, and comes in pieces.
#[test]
fn layer_hides_what_it_took() {
    let mut socket = Socket::new(Mode::Level, &[]).behind_a_layer(2);
    socket.acknowledge(Action::WantRecv.into());
    socket.send(b"abc");
    assert!(socket.poll().is_some(), "nothing is taken yet");
    let mut area = [0; 3];
    assert_eq!(socket.receive(&mut area), Event::Received { bytes: 2 });
    assert_eq!((socket.poll(), socket.is_readable(), socket.unread()), (None, true, 1), "the layer has the rest");
    socket.send(b"de");
    assert!(socket.poll().is_some(), "the transport has more");
    for (event, bytes) in
        [(Event::Received { bytes: 1 }, &b"c"[..]), (Event::Received { bytes: 2 }, b"de"), (Event::WouldBlock, b"")]
    {
        assert_eq!((socket.receive(&mut area), &area[..bytes.len()]), (event, bytes));
    }
    socket.finish(EndKind::Stream);
    assert!(socket.poll().is_some(), "an end is reported");
    assert_eq!(socket.receive(&mut area), Event::EndOfStream);
    socket.consume(5);
}
