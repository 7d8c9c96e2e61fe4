//! Receivers that count: in shortage a frame stays in the kernel until it is whole there.

use crate::{MS, pool_of_eight_with};
use demuxbuf::connection::{Action, Actions, Event, EventError, Hold, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolError, ReceiverId};
use demuxbuf::receiving::{Facts, ShedReason};
use demuxbuf::scheduler::{LeaseId, Request};
use demuxbuf_testkit::in_modes;

/// Those in which a receiver may count.
pub(crate) const COUNTING_MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Completion];
const SECOND: u64 = 1_000 * MS;

pub(crate) fn policy(mode: Mode) -> Policy {
    Policy { mode, counting: true, ..Policy::default() }
}

/// A pool of eight buffers of 256 bytes, all of which are taken that receivers do not need, and a receiver that waits
/// for its peer.
pub(crate) struct Case {
    pub(crate) pool: Pool,
    pub(crate) id: ReceiverId,
    now_ns: u64,
}

impl Case {
    pub(crate) fn new(mode: Mode) -> Case {
        let mut pool = pool_of_eight_with(policy(mode), 0);
        pool.handle_timeout(0);
        let id = attach(&mut pool);
        lease_all(&mut pool);
        Case { pool, id, now_ns: 0 }
    }

    /// The same with a free buffer, which is not for receivers without credit, but for what they leave.
    pub(crate) fn with_place(mode: Mode) -> Case {
        let mut pool = pool_of_eight_with(policy(mode), 0);
        pool.handle_timeout(0);
        let id = attach(&mut pool);
        let leases = lease_all(&mut pool);
        pool.release(leases[0]).expect("it is leased");
        Case { pool, id, now_ns: 0 }
    }

    /// As [`with_place`](Case::with_place): it looked, and saw that the frame has this number of bytes.
    fn seen(mode: Mode, bytes: u32) -> Case {
        let mut case = Case::with_place(mode);
        case.look();
        case.see(bytes);
        case
    }

    /// The same, and the frame is not whole: it waits under the mark.
    fn waiting(mode: Mode, bytes: u32) -> Case {
        let mut case = Case::seen(mode, bytes);
        case.wait(bytes);
        case
    }

    pub(crate) fn on(&mut self, event: Event) -> Actions {
        let actions = self.pool.handle(self.id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        self.check();
        assert_eq!(self.pool.pending(self.id), Ok(actions), "{event:?}: actions are levels");
        actions
    }

    pub(crate) fn decoded(&mut self, consumed_bytes: u32, needed_bytes: u32) -> Actions {
        let actions = self.pool.decoded(self.id, consumed_bytes, needed_bytes).expect("it makes sense");
        self.check();
        actions
    }

    /// It is readable, and looks.
    pub(crate) fn look(&mut self) {
        assert_eq!(self.on(Event::Readable).without(Action::StopRecv.into()), Action::Peek.into());
        assert_eq!((self.area(), self.recv_min(), self.mark()), (64, 0, 1));
    }

    /// It looked, and saw that the frame has this number of bytes.
    pub(crate) fn see(&mut self, bytes: u32) {
        // From a look where what the decoder may leave has no place.
        let has_place = self.pool.memory().free_buffers() > 0;
        let expected = if has_place { Action::Recv } else { Action::Peek } | Action::RecvWhole;
        assert_eq!(self.decoded(0, bytes).without(Action::StopRecv.into()), expected);
        assert_eq!((self.area(), self.recv_min()), (bytes as usize, bytes));
    }

    /// The frame is not whole: it waits under this mark.
    pub(crate) fn wait(&mut self, mark: u32) {
        assert_eq!(self.on(Event::WouldBlock), Action::WantRecv.into());
        assert_eq!((self.mark(), self.awaited()), (mark, mark));
        assert_eq!(self.on(Event::done(Action::WantRecv)), Actions::NONE);
        assert_eq!((self.mark(), self.area(), self.pool.memory().mark_in_force(0)), (mark, 0, Ok(mark)));
    }

    pub(crate) fn area(&mut self) -> usize {
        self.pool.receive_area(self.id).expect("it is attached").len()
    }

    fn recv_min(&self) -> u32 {
        self.pool.recv_min(self.id).expect("it is attached")
    }

    pub(crate) fn mark(&self) -> u32 {
        self.pool.low_water_mark(self.id).expect("it is attached")
    }

    pub(crate) fn awaited(&self) -> u32 {
        self.pool.describe(self.id).expect("it is attached").awaited_bytes
    }

    pub(crate) fn facts(&self) -> Facts {
        self.pool.memory().facts(0).expect("it is attached")
    }

    fn is_waiting(&self) -> bool {
        self.pool.connection(self.id).expect("it is attached").is_waiting()
    }

    pub(crate) fn advance(&mut self, ns: u64) {
        // One advance counts for an eighth of a second at most.
        for _ in 0..ns.div_ceil(125 * MS) {
            self.now_ns += 125 * MS;
            self.pool.handle_timeout(self.now_ns);
            self.check();
        }
    }

    pub(crate) fn notice(&mut self) -> Option<Actions> {
        self.pool.poll_notice().map(|notice| match notice {
            Notice::Receiver { actions, .. } => actions,
            notice => panic!("{notice:?}"),
        })
    }

    pub(crate) fn check(&self) {
        assert_eq!(self.pool.check_invariants(), Ok(()));
    }
}

pub(crate) fn attach(pool: &mut Pool) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    rest(pool, id);
    id
}

/// Nothing is there: the host has armed read interest.
pub(crate) fn rest(pool: &mut Pool, id: ReceiverId) {
    if pool.pending(id).expect("it is attached").has(Action::Recv) {
        pool.handle(id, Event::WouldBlock).expect("it is attached");
    }
    assert_eq!(pool.pending(id), Ok(Action::WantRecv.into()));
    pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
}

pub(crate) fn lease_all(pool: &mut Pool) -> Vec<LeaseId> {
    std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).expect("the class exists")).collect()
}

/// The header has how long the frame is; once it is whole it is received at once, and nothing is kept meanwhile.
#[test]
fn frame_is_received_when_it_is_whole() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = Case::waiting(mode, 200);
        assert_eq!((case.facts().kept_bytes, case.facts().cell_bytes, case.is_waiting()), (0, 0, false));
        case.advance(SECOND / 2);
        let actions = case.on(Event::Readable).without(Action::StopRecv.into());
        assert_eq!(actions, Action::Recv | Action::RecvWhole, "no second look");
        assert_eq!((case.area(), case.recv_min()), (200, 200));
        assert_eq!(case.on(Event::Received { bytes: 200 }), Action::Decode.into());
        let actions = case.decoded(200, 0);
        let next = if mode == Mode::Level { Action::WantRecv } else { Action::Peek };
        assert_eq!(actions, next.into(), "the next frame may be smaller, and may be there");
        if actions.has(Action::Peek) {
            assert_eq!(case.on(Event::WouldBlock), Action::WantRecv.into());
        }
        assert_eq!((case.mark(), case.awaited()), (1, 0));
        assert_eq!(case.on(Event::done(Action::WantRecv)), Actions::NONE);
        assert_eq!(case.pool.totals().claims, 0, "nothing was claimed");
    });
}

/// Out of shortage a receiver that counts receives what is there, as any other.
#[test]
fn nothing_is_looked_at_out_of_shortage() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut pool = pool_of_eight_with(policy(mode), 0);
        let id = attach(&mut pool);
        assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
        assert_eq!(pool.receive_area(id).map(|area| area.len()), Ok(256));
        assert_eq!((pool.recv_min(id), pool.low_water_mark(id)), (Ok(0), Ok(1)));
        let actions = pool.handle(id, Event::Received { bytes: 9 }).expect("there is room");
        assert_eq!(actions.without(Action::WantRecv.into()), Action::Decode.into());
    });
}

/// Nothing is known of the frame from a partial header, so the host looks once more.
#[test]
fn partial_header_is_looked_at_again() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = Case::waiting(mode, 9);
        assert_eq!(case.on(Event::Readable).without(Action::StopRecv.into()), Action::Peek.into());
        assert_eq!(case.mark(), 1);
        case.see(100);
        case.wait(100);
    });
}

/// There was nothing: no mark, no deadline.
#[test]
fn look_at_nothing_leaves_nothing() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = Case::with_place(mode);
        case.look();
        let actions = case.on(Event::WouldBlock);
        assert_eq!((actions.without(Action::WantRecv.into()), case.awaited()), (Actions::NONE, 0));
        assert_eq!((case.facts(), case.pool.poll_timeout()), (Facts::default(), None));
    });
}

/// What is known of a frame stays when the host is woken too early, and with it the time at which the frame began.
#[test]
fn deadline_counts_from_the_first_report() {
    let mut case = Case::waiting(Mode::Level, 200);
    let deadline_ns = SECOND + 200 * SECOND / 8192;
    for _ in 0..3 {
        case.advance(250 * MS);
        case.on(Event::Readable);
        assert_eq!(case.on(Event::WouldBlock), Actions::NONE, "the mark is in force");
        assert_eq!(case.facts().start_ns, Some(0));
    }
    assert!(case.pool.poll_timeout().is_some_and(|due_ns| due_ns <= deadline_ns), "the host is to come back");
    assert_eq!(case.notice(), None);
    case.advance(deadline_ns - case.now_ns);
    // Its trial: what is there is received, be it whole or not.
    assert_eq!(case.notice().map(|actions| actions.has(Action::Recv)), Some(true));
    assert_eq!((case.recv_min(), case.mark(), case.pool.totals().trials), (0, 1, 1));
    assert_eq!(case.area(), 200, "a trial receives exactly what helps");
    case.on(Event::Received { bytes: 1 });
    assert_eq!((case.area(), case.facts().needed_bytes), (0, 199), "the look is not forgotten by the decoder");
}

/// The time that a frame may take is that of its length, which the look has found.
#[test]
fn deadline_under_a_mark_is_that_of_the_frame() {
    let mut case = Case::waiting(Mode::Level, 82);
    case.advance(SECOND);
    let trials = [10, 11].map(|ms| {
        case.pool.handle_timeout(case.now_ns + ms * MS);
        (case.notice().is_some(), case.pool.totals().trials)
    });
    assert_eq!(trials, [(false, 0), (true, 1)], "82 bytes are worth 10.01 ms");
}

/// At its deadline a frame of which too little is there goes, if there is no place for it.
#[test]
fn partial_frame_is_shed_at_its_deadline() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = Case::new(mode);
        case.look();
        case.see(200);
        case.wait(200);
        case.advance(3 * SECOND);
        assert!(case.notice().expect("its trial is due").has(Action::Recv));
        if mode == Mode::Completion {
            case.on(Event::done(Action::Recv));
        }
        case.on(Event::Received { bytes: 101 });
        let shed = case.pool.describe(case.id).expect("it is attached").shed_reason;
        assert_eq!(shed, Some(ShedReason::Deadline));
        assert_eq!(case.pool.handle(case.id, Event::Close), Ok(Action::Finished.into()));
    });
}

/// What is kept of a frame is safe while the rest is awaited, as if it claimed; after its deadline it is tried, not
/// evicted.
#[test]
fn receiver_under_a_mark_is_not_evicted() {
    let mut pool = pool_of_eight_with(policy(Mode::Level), 8);
    pool.handle_timeout(0);
    let [id, other] = [0, 1].map(|_| attach(&mut pool));
    // Memory is plenty, and both keep a partial frame.
    for id in [id, other] {
        pool.handle(id, Event::Readable).expect("it is attached");
        pool.handle(id, Event::Received { bytes: 100 }).expect("there is room");
        pool.decoded(id, 0, 50).expect("they are buffered");
    }
    lease_all(&mut pool);
    let actions = pool.handle(id, Event::Readable).expect("it is attached");
    assert_eq!(actions, Action::Peek | Action::RecvWhole, "what is missing, all of it");
    assert_eq!(pool.receive_area(id).map(|area| area.len()), Ok(50));
    assert_eq!(pool.handle(id, Event::WouldBlock), Ok(Action::WantRecv.into()));
    assert_eq!((pool.low_water_mark(id), pool.data(id).map(<[u8]>::len)), (Ok(50), Ok(100)));
    for step in 1..12 {
        pool.handle_timeout(step * 125 * MS);
    }
    pool.request(0, 0).expect("it waits");
    pool.request(0, 0).expect("it waits");
    let mut seen = Vec::new();
    while let Some(notice) = pool.poll_notice() {
        if let Notice::Receiver { id, actions, .. } = notice {
            seen.push((id, actions.has(Action::Shed), actions.has(Action::Recv)));
            if actions.has(Action::Recv) {
                pool.handle(id, Event::Received { bytes: 50 }).expect("there is room");
                pool.decoded(id, 150, 0).expect("they are buffered");
            }
        }
        assert_eq!(pool.check_invariants(), Ok(()));
    }
    seen.sort_unstable();
    assert_eq!(seen, [(id, false, true), (other, true, false)], "one is tried, and the other evicted");
}

/// The kernel will hold no more: this frame is received as that of a receiver that does not count, and claims.
#[test]
fn full_kernel_makes_a_claim() {
    in_modes(&COUNTING_MODES, |mode| {
        for under_mark in [true, false] {
            let mut case = Case::seen(mode, 200);
            if under_mark {
                case.wait(200);
            }
            case.advance(SECOND / 4);
            if !under_mark {
                // The borrow ended with the advance.
                case.look();
                case.see(200);
            }
            let since_ns = if under_mark { 0 } else { case.now_ns };
            let actions = case.on(Event::KernelFull);
            if mode == Mode::Completion {
                // A receive that is submitted has a whole buffer, or none.
                assert!(!actions.has(Action::Recv));
            } else {
                assert_eq!(
                    actions.without(Action::StopRecv.into()),
                    Action::Recv.into(),
                    "up to 64 bytes have a place"
                );
                assert_eq!((case.area(), case.recv_min()), (64, 0));
                case.on(Event::Received { bytes: 64 });
                case.decoded(0, 136);
                // It is reported again, and what is missing has no place.
                let actions = case.on(Event::KernelFull);
                assert!(!actions.has(Action::Recv) && !actions.has(Action::Peek), "{actions}");
            }
            assert!(case.is_waiting() && case.facts().claim_since_ns.is_some() && case.facts().is_full);
            assert_eq!((case.facts().start_ns, case.mark(), case.awaited()), (Some(since_ns), 1, 0));
            let is_armed = case.pool.connection(case.id).expect("it is attached").is_armed();
            let stops = case.pool.pending(case.id).expect("it is attached").has(Action::StopRecv);
            assert_eq!(stops, is_armed && mode != Mode::Edge, "a mark does not silence a full socket");
            assert!(!case.pool.pending(case.id).expect("it is attached").has(Action::WantRecv));
        }
    });
}

/// It is full until its frame is consumed.
#[test]
fn next_frame_after_a_full_kernel_counts_again() {
    let mut case = Case::seen(Mode::Level, 60);
    case.on(Event::KernelFull);
    case.on(Event::Received { bytes: 60 });
    assert!(case.facts().is_full);
    case.decoded(60, 0);
    assert!(!case.facts().is_full);
    case.look();
}

/// Of one that stops counting nothing is left then, and its common cycles are as those of any other.
#[test]
fn receiver_that_stops_counting_is_not_full() {
    let mut case = Case::seen(Mode::Level, 60);
    case.on(Event::KernelFull);
    case.on(Event::WouldBlock);
    assert!(case.facts().is_full);
    case.pool.set_policy(case.id, &Policy::default()).expect("it is open");
    assert!(!case.facts().is_full);
    case.on(Event::Readable);
    assert_eq!(case.pool.check_invariants(), Ok(()));
}

/// Without a frame that is awaited, it is a report.
#[test]
fn full_kernel_without_a_frame_is_a_report() {
    let mut case = Case::with_place(Mode::Level);
    assert_eq!(case.on(Event::KernelFull), Action::Peek.into());
    let policy = Policy::default();
    case.pool.set_policy(case.id, &policy).expect("it is open");
    assert_eq!((case.on(Event::KernelFull), case.facts().is_full), (Action::Recv.into(), false));
}

/// Behind the last bytes of a peer that closed there is no more: what there is is received, and then the end.
#[test]
fn closed_peer_is_received_to_its_end() {
    in_modes(&COUNTING_MODES, |mode| {
        for under_mark in [true, false] {
            let mut case = Case::seen(mode, 200);
            if under_mark {
                case.wait(200);
            }
            let actions = case.on(Event::PeerClosed);
            if mode == Mode::Completion {
                assert!(case.is_waiting() && !actions.has(Action::Recv));
                continue;
            }
            assert_eq!(actions.without(Action::StopRecv | Action::WantRecv), Action::Recv.into());
            assert_eq!((case.area(), case.recv_min()), (64, 0));
            case.on(Event::Received { bytes: 40 });
            let actions = case.decoded(0, 160);
            assert!(actions.has(Action::Recv) && !actions.has(Action::RecvWhole), "{mode:?}: {actions}");
            let actions = case.on(Event::EndOfStream);
            assert!(actions.has(Action::End), "{actions}");
            let connection = case.pool.connection(case.id).expect("it is attached");
            assert_eq!((connection.truncated_bytes(), connection.has_peer_closed()), (40, true));
        }
    });
}

/// What a closed peer left is there for certain, also for an edge: where there is no place for it, it is claimed, with
/// the time that has passed.
#[test]
fn closed_peer_claims_from_the_first_report() {
    let mut case = Case::waiting(Mode::Edge, 200);
    case.advance(SECOND / 2);
    // All small cells are in use.
    for _ in 0..4 {
        let options = AttachOptions { policy: Some(Policy::default()), ..AttachOptions::new(0, 0) };
        let id = case.pool.attach(&options).expect("there is room");
        case.pool.handle(id, Event::Readable).expect("it is attached");
        case.pool.handle(id, Event::Received { bytes: 10 }).expect("there is room");
        case.pool.decoded(id, 0, 100).expect("they are buffered");
    }
    assert!(!case.on(Event::PeerClosed).has(Action::Recv) && case.is_waiting());
    case.on(Event::Readable);
    assert_eq!(case.facts().start_ns, Some(0));
}

/// Only setting it makes the kernel look again: in edge-triggered mode a mark is set once more after each receive, also
/// with an equal value.
#[test]
fn mark_is_set_again_after_a_receive_of_an_edge() {
    for mode in [Mode::Edge, Mode::Level] {
        let mut case = Case::waiting(mode, 200);
        case.on(Event::Readable);
        case.on(Event::Received { bytes: 200 });
        // The next frame, of which the decoder saw 20 bytes, needs as many.
        let actions = case.decoded(180, 200);
        assert_eq!(actions.without(Action::StopRecv.into()), Action::Recv | Action::RecvWhole, "in the same iteration");
        let expected = if mode == Mode::Edge { Action::WantRecv.into() } else { Actions::NONE };
        assert_eq!(case.on(Event::WouldBlock), expected, "{mode:?}");
        assert_eq!((case.mark(), case.facts().kept_bytes), (200, 20));
    }
}

/// A decoder that goes on step by step gets each step whole, in one borrow.
#[test]
fn whole_receives_go_on_in_one_borrow() {
    let mut case = Case::seen(Mode::Level, 10);
    case.on(Event::Received { bytes: 10 });
    for _ in 0..7 {
        let actions = case.decoded(0, 20);
        assert_eq!((actions, case.area()), (Action::Recv | Action::RecvWhole, 20));
        case.on(Event::Received { bytes: 20 });
    }
    // Eight receives were made.
    assert!(!case.decoded(0, 20).has(Action::Recv));
    assert_eq!(case.facts().kept_bytes, 150, "and what is left has a place");
}

/// A host that had less than it counted goes on with what it has.
#[test]
fn short_receive_of_a_whole_is_kept() {
    let mut case = Case::seen(Mode::Level, 60);
    case.on(Event::Received { bytes: 50 });
    let actions = case.decoded(0, 10);
    assert_eq!((actions, case.facts().kept_bytes, case.awaited()), (Actions::NONE, 50, 0));
    let actions = case.on(Event::Readable);
    assert_eq!((actions, case.area()), (Action::Recv | Action::RecvWhole, 10));
    case.wait(10);
}

/// Whole frames whose decoder is blocked are kept, as those of any receiver.
#[test]
fn blocked_decoder_keeps_what_was_received_whole() {
    let mut case = Case::seen(Mode::Level, 60);
    case.on(Event::Received { bytes: 60 });
    case.on(Event::Block { reasons: 1 });
    assert_eq!((case.facts().kept_bytes, case.awaited()), (60, 0));
    assert!(case.facts().held_since_ns.is_some());
    assert!(case.on(Event::Unblock { reasons: 1 }).has(Action::Decode));
    case.decoded(60, 0);
}

/// While the connection could accept no bytes, it waits for none.
#[test]
fn paused_receiver_waits_under_no_mark() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = Case::waiting(mode, 200);
        let actions = case.on(Event::PauseRecv);
        assert!(!actions.has(Action::WantRecv), "{actions}");
        assert_eq!((case.awaited(), case.pool.poll_timeout()), (0, None));
        case.advance(5 * SECOND);
        assert_eq!(case.notice(), None, "nothing is tried");
        if actions.has(Action::StopRecv) {
            case.on(Event::done(Action::StopRecv));
        }
        let actions = case.on(Event::ResumeRecv);
        assert_eq!((actions, case.mark()), (Action::WantRecv.into(), 1), "{mode:?}: the mark is to be lowered");
        assert_eq!(case.on(Event::done(Action::WantRecv)), Actions::NONE);
    });
}

/// A step that is about bytes does not have the mark, so a host that arms read interest there is asked for the mark
/// later.
#[test]
fn mark_is_asked_for_where_a_step_has_it() {
    let mut case = Case::waiting(Mode::Level, 200);
    assert_eq!(case.on(Event::PauseRecv), Action::StopRecv.into());
    case.on(Event::done(Action::StopRecv));
    case.on(Event::Readable);
    assert_eq!(case.on(Event::ResumeRecv), Action::WantRecv | Action::Peek);
    assert_eq!(case.on(Event::done(Action::WantRecv)), Action::Peek.into());
    assert_eq!((case.on(Event::WouldBlock), case.mark()), (Action::WantRecv.into(), 1));
    assert_eq!(case.on(Event::done(Action::WantRecv)), Actions::NONE);
}

/// A frame that fits into no buffer is reported without a byte received.
#[test]
fn frame_that_cannot_fit_stays_in_the_kernel() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = Case::with_place(mode);
        case.look();
        let actions = case.decoded(0, 257);
        assert!(actions.has(Action::CannotFit) && !actions.has(Action::Recv), "{actions}");
        let connection = case.pool.connection(case.id).expect("it is attached");
        assert_eq!((connection.hold(), connection.capacity(), case.awaited()), (Hold::Buffer, 256, 0));
        let nothing = Err(PoolError::Event(EventError::ZeroBytes));
        assert_eq!((case.pool.decoded(case.id, 0, 0), case.pool.pending(case.id)), (nothing, Ok(actions)));
        case.on(Event::done(Action::CannotFit));
        case.advance(SECOND);
        assert_eq!(case.pool.handle(case.id, Event::Close), Ok(Action::Finished.into()));
    });
}
