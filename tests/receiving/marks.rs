//! The mark of a host that counts, on a socket whose kernel has one: it is set, reached, not reached, and lowered
//! again.

use crate::counting::{COUNTING_MODES, policy};
use crate::{MS, pool_of_eight_with};
use demuxbuf::connection::{Action, Actions, EndKind, Event, Mode};
use demuxbuf::pool::{AttachOptions, Notice, Pool, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Request};
use demuxbuf_testkit::{EventLoop, Socket, in_modes};

/// One connection, whose frames begin with their length in one byte.
struct Host {
    pool: Pool,
    id: ReceiverId,
    socket: Socket,
    leases: Vec<LeaseId>,
    frames: Vec<usize>,
    /// Reports of the poller.
    reports: usize,
    /// What the end cut off.
    truncated_bytes: Option<u32>,
    now_ns: u64,
}

impl Host {
    /// While memory is short; the kernel holds this number of bytes.
    fn new(mode: Mode, kernel_bytes: usize) -> Host {
        let mut pool = pool_of_eight_with(policy(mode), 0);
        pool.handle_timeout(0);
        let lease = || pool.try_request(&Request::new(0, 0)).expect("the class exists");
        let leases = std::iter::from_fn(lease).collect();
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
        let socket = Socket::new(mode, &[]).counting(kernel_bytes);
        let (frames, reports, truncated_bytes, now_ns) = (Vec::new(), 0, None, 0);
        let mut host = Host { pool, id, socket, leases, frames, reports, truncated_bytes, now_ns };
        host.run(0);
        host
    }

    /// The peer sends a frame, or the first bytes of one.
    fn send(&mut self, frame_bytes: usize, bytes: usize) {
        let frame = [&[frame_bytes as u8][..], &vec![7; frame_bytes - 1]].concat();
        self.socket.send(&frame[..bytes]);
        self.settle();
    }

    /// The peer sends what is missing of a frame.
    fn send_rest(&mut self, bytes: usize) {
        self.socket.send(&vec![7; bytes]);
        self.settle();
    }

    fn settle(&mut self) {
        self.run_to_rest(|host| {
            let reports = host.serve_sockets();
            host.reports += reports;
            assert!(host.reports < 100, "the poller spins");
            reports + host.drain_notices()
        });
        assert_eq!(self.pool.check_invariants(), Ok(()));
    }

    fn advance(&mut self, ns: u64) {
        for _ in 0..ns.div_ceil(125 * MS) {
            self.now_ns += 125 * MS;
            self.pool.handle_timeout(self.now_ns);
            self.settle();
        }
    }

    fn kept_bytes(&self) -> u32 {
        self.pool.memory().facts(0).expect("it is attached").kept_bytes
    }
}

impl EventLoop for Host {
    fn connections(&self) -> usize {
        1
    }

    fn socket(&mut self, _at: usize) -> Option<&mut Socket> {
        Some(&mut self.socket)
    }

    fn socket_and_area(&mut self, _at: usize) -> (&mut Socket, &mut [u8]) {
        (&mut self.socket, self.pool.receive_area(self.id).expect("it is attached"))
    }

    fn pending(&self, _at: usize) -> Actions {
        self.pool.pending(self.id).expect("it is attached")
    }

    fn report(&mut self, _at: usize, event: Event) -> Actions {
        self.socket.follow(event);
        self.pool.handle(self.id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) {
        assert!(!actions.has(Action::Shed), "{:?}", self.pool.totals());
        if actions.has(Action::End) {
            self.truncated_bytes = Some(self.pool.connection(self.id).expect("it is attached").truncated_bytes());
        }
        if actions.has(Action::WantRecv) {
            self.socket.set_mark(self.pool.low_water_mark(self.id).expect("it is attached") as usize);
        }
        self.socket.acknowledge(actions);
        self.report(at, Event::done(actions));
    }

    fn length_seen(&mut self, _at: usize, seen: &[u8]) -> u32 {
        seen[0].into()
    }

    fn decode(&mut self, _at: usize) {
        let data = self.pool.data(self.id).expect("it is attached");
        let frame_bytes = usize::from(data[0]);
        let missing = frame_bytes.saturating_sub(data.len());
        if missing > 0 {
            self.pool.decoded(self.id, 0, missing as u32).expect("they are missing");
            return;
        }
        self.frames.push(frame_bytes);
        self.socket.consume(frame_bytes);
        self.pool.decoded(self.id, frame_bytes as u32, 0).expect("they are buffered");
    }

    fn poll_notice(&mut self) -> Option<usize> {
        match self.pool.poll_notice()? {
            Notice::Receiver { .. } => Some(0),
            notice => panic!("{notice:?}"),
        }
    }
}

/// A mark that is not lowered would leave the next, smaller frame unseen.
#[test]
fn s91_mark_is_lowered_for_the_next_frame() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut host = Host::new(mode, usize::MAX);
        host.send(200, 50);
        assert_eq!((host.frames.len(), host.kept_bytes(), host.pool.low_water_mark(host.id)), (0, 0, Ok(200)));
        let reports = host.reports;
        host.send_rest(100);
        assert_eq!((host.reports, host.frames.len()), (reports, 0), "{mode:?}: the mark is not reached");
        host.send_rest(50);
        assert_eq!((&host.frames[..], host.pool.low_water_mark(host.id)), (&[200][..], Ok(1)));
        host.send(3, 3);
        assert_eq!(host.frames, [200, 3]);
        // As many at once, whole and not.
        for _ in 0..5 {
            host.socket.send(&[4, 7, 7, 7, 2, 7]);
            host.send(100, 60);
            host.send_rest(40);
        }
        let expected = [[4, 2, 100]; 5].concat();
        assert_eq!(host.frames[2..], expected);
        assert_eq!((host.pool.totals().claims, host.pool.totals().trials), (0, 0));
    });
}

/// A kernel that holds less than the mark reports all the same, and goes on to: the frame is received as by any other
/// host.
#[test]
fn s91_mark_above_what_the_kernel_holds_does_not_spin() {
    in_modes(&COUNTING_MODES, |mode| {
        for is_served in [true, false] {
            let mut host = Host::new(mode, 100);
            host.send(200, 200);
            assert!(host.frames.is_empty() && host.pool.totals().claims > 0, "{mode:?}: it claims");
            assert!(mode == Mode::Edge || !host.socket.is_armed(), "a mark does not silence a full socket");
            host.advance(500 * MS);
            if is_served {
                host.leases.drain(..).for_each(|lease| host.pool.release(lease).expect("it is the host's"));
                host.settle();
                host.send(150, 150);
                assert_eq!((&host.frames[..], host.pool.totals().grants > 0), (&[200, 150][..], true));
            }
        }
    });
}

/// The end behind a partial frame is seen at once, whatever the mark, and what is there is received first.
#[test]
fn s91_end_is_seen_under_a_mark() {
    in_modes(&[Mode::Level, Mode::OneShot, Mode::Edge], |mode| {
        for end in [EndKind::Stream, EndKind::Error] {
            let mut host = Host::new(mode, usize::MAX);
            host.send(60, 30);
            assert_eq!(host.kept_bytes(), 0);
            host.socket.finish(end);
            host.settle();
            let connection = host.pool.connection(host.id).expect("it is attached");
            assert_eq!((connection.end(), host.truncated_bytes), (Some(end), Some(30)), "{mode:?}");
        }
    });
}
