//! The audit: each mistake that a host can make and the library can see is made on purpose, and named in one line.
//! What it cannot see, and what is none, leaves it silent.

mod completion;
mod left;
mod newcomers;
#[cfg(not(loom))]
mod shards;

use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::{
    AttachOptions, Budget, BufferSource, Finding, FindingKind, Pool, PoolConfig, PoolError, ReceiverId,
};
use demuxbuf::scheduler::{LeaseId, Outcome, Request};

const MS: u64 = 1_000_000;

/// A host in virtual time: an iteration each millisecond.
struct Host<S: BufferSource = Budget> {
    pool: Pool<S>,
    now_ns: u64,
    advances_clock: bool,
    drains_notices: bool,
}

fn config(mode: Mode) -> PoolConfig {
    let mut config = PoolConfig { buffer_bytes: 1024, audit: true, ..PoolConfig::new(8 * 1024, 8) };
    config.policy.mode = mode;
    config
}

fn host(mode: Mode) -> Host {
    Host::new(Pool::new(&config(mode)).expect("the configuration is allowed"))
}

/// All buffers that a host can have.
fn lease_all<S: BufferSource>(pool: &mut Pool<S>) -> Vec<LeaseId> {
    let request = |_| pool.try_request(&Request::new(0, 0)).expect("it could be granted");
    (0..16).map_while(request).collect()
}

impl<S: BufferSource> Host<S> {
    fn new(pool: Pool<S>) -> Host<S> {
        Host { pool, now_ns: 0, advances_clock: true, drains_notices: true }
    }

    /// One iteration with these events; what is found before the host sleeps.
    fn iterate(&mut self, events: impl FnOnce(&mut Pool<S>)) -> Vec<Finding> {
        self.iterate_after(MS, events)
    }

    fn iterate_after(&mut self, slept_ns: u64, events: impl FnOnce(&mut Pool<S>)) -> Vec<Finding> {
        self.now_ns += slept_ns;
        if self.advances_clock {
            self.pool.handle_timeout(self.now_ns);
        }
        events(&mut self.pool);
        while self.drains_notices && self.pool.poll_notice().is_some() {}
        self.audit()
    }

    fn audit(&mut self) -> Vec<Finding> {
        core::iter::from_fn(|| self.pool.poll_audit(self.now_ns).expect("the audit is on")).collect()
    }

    /// A receiver with armed read interest.
    fn attach(&mut self, token: u64) -> ReceiverId {
        let id = self.pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        self.do_notices(id);
        id
    }

    /// Does what has no outcome, as an honest host does.
    fn do_notices(&mut self, id: ReceiverId) -> Actions {
        do_notices(&mut self.pool, id)
    }
}

fn do_notices<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId) -> Actions {
    let actions = pool.pending(id).expect("it is attached");
    let notices = actions.intersection(Action::WantRecv | Action::StopRecv);
    if notices.is_empty() { actions } else { pool.handle(id, Event::done(notices)).expect("they are pending") }
}

fn report<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, event: Event) {
    pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    do_notices(pool, id);
}

fn close<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId) {
    assert_eq!(pool.handle(id, Event::Close), Ok(Action::Finished.into()));
}

/// As many bytes as the decoder needs more of.
fn receive_part<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, bytes: u32) {
    for event in [Event::Readable, Event::Received { bytes }, Event::NeedMore { bytes: 1 }] {
        report(pool, id, event);
    }
}

/// The one line, without the receiver in front.
fn only(id: Option<ReceiverId>, findings: &[Finding]) -> String {
    let [finding] = findings else { panic!("one finding is expected: {findings:#?}") };
    assert_eq!(finding.receiver, id);
    let line = finding.to_string();
    let (subject, rest) = line.split_once(": ").expect("a line begins with what it is about");
    match id {
        Some(id) => assert_eq!(subject, format!("receiver {id} (token {})", finding.token)),
        None => assert_eq!(subject, "pool"),
    }
    assert!(!rest.contains('\n') && rest.len() < 250, "it is one line: {rest}");
    rest.to_owned()
}

#[test]
fn s66_ignored_error_is_named_by_what_stays_undone() {
    let mut host = host(Mode::Level);
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        report(pool, id, Event::Readable);
        let refused = pool.handle(id, Event::Received { bytes: 1_000_000 });
        assert!(refused.is_err(), "more than there is room for");
    });
    assert_eq!(findings, [], "the poller reports it again");
    let mut host = self::host(Mode::Edge);
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        report(pool, id, Event::Readable);
        assert!(pool.handle(id, Event::Received { bytes: 1_000_000 }).is_err());
    });
    assert_eq!(
        only(Some(id), &findings),
        "Recv is undone: receive, then report the outcome, would_block if there was nothing"
    );
}

/// Receives in edge-triggered mode until its budget of the iteration is used up.
fn use_up_budget(pool: &mut Pool, id: ReceiverId) -> Actions {
    while pool.pending(id).expect("it is attached").has(Action::Recv) {
        pool.handle(id, Event::Received { bytes: 100 }).expect("there is room");
        pool.handle(id, Event::Consumed { bytes: 100 }).expect("they are buffered");
    }
    pool.pending(id).expect("it is attached")
}

#[test]
fn s67_reschedule_that_is_ignored_is_named() {
    let mut host = host(Mode::Edge);
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        report(pool, id, Event::Readable);
        assert_eq!(use_up_budget(pool, id), Action::Reschedule.into());
    });
    assert_eq!(
        only(Some(id), &findings),
        "Reschedule is undone: report it done, then wake in the next iteration, and do not sleep before that"
    );
    let findings = host.iterate(|_| {});
    assert_eq!((findings[0].since_ns, findings[0].age_ns), (MS, MS));
    assert!(findings[0].to_string().contains("Reschedule is undone for 1 ms: "));
}

#[test]
fn s67_missing_wake_is_named() {
    let mut host = host(Mode::Edge);
    let id = host.attach(7);
    let reschedule = |pool: &mut Pool, id| {
        assert_eq!(use_up_budget(pool, id), Action::Reschedule.into());
        report(pool, id, Event::done(Action::Reschedule));
    };
    let findings = host.iterate(|pool| {
        report(pool, id, Event::Readable);
        reschedule(pool, id);
    });
    assert_eq!(findings, [], "it is to be woken in the next iteration");
    // As an honest host does: the same state again, and bytes were received in between.
    for _ in 0..3 {
        let findings = host.iterate(|pool| {
            report(pool, id, Event::Wake);
            reschedule(pool, id);
        });
        assert_eq!(findings, []);
    }
    let findings = host.iterate(|_| {});
    assert_eq!(
        only(Some(id), &findings),
        "rescheduled 1 ms ago and never woken: report wake in the next iteration, before you sleep"
    );
}

#[test]
fn s67_clock_that_is_not_advanced_is_named() {
    let mut host = host(Mode::Level);
    host.advances_clock = false;
    let advice = "call handle_timeout in each iteration, before the events";
    assert_eq!(only(None, &host.iterate(|_| {})), format!("the clock was not advanced for 0 ns: {advice}"));
    assert_eq!(only(None, &host.iterate(|_| {})), format!("the clock was not advanced for 1 ms: {advice}"));
    host.advances_clock = true;
    assert_eq!(host.iterate(|_| {}), []);
    host.advances_clock = false;
    assert_eq!(only(None, &host.iterate(|_| {})), format!("the clock was not advanced for 1 ms: {advice}"));
    assert_eq!(only(None, &host.iterate(|_| {})), format!("the clock was not advanced for 2 ms: {advice}"));
}

/// What a layer above the socket holds is not seen: the receiver is at rest.
#[test]
fn s69_bytes_above_the_socket_are_not_seen() {
    let mut host = host(Mode::Level);
    let id = host.attach(7);
    for _ in 0..2 {
        let findings = host.iterate(|pool| {
            for event in [Event::Readable, Event::Received { bytes: 100 }, Event::Consumed { bytes: 100 }] {
                report(pool, id, event);
            }
        });
        assert_eq!(findings, []);
    }
    assert_eq!(host.iterate(|_| {}), []);
}

const SPINNING: &str = "reported in 1000 iterations in a row, 999 ms, without a byte: remove a socket from the poller \
                        on STOP_RECV, as a hang-up cannot be masked; pause_recv while a receive has to write first";

/// A receive that has to write first is reported as would_block, and the socket is readable again and again.
#[test]
fn s70_receive_that_has_to_write_first_is_named() {
    for mode in [Mode::Level, Mode::OneShot, Mode::Optimistic] {
        let mut host = host(mode);
        let id = host.attach(7);
        report(&mut host.pool, id, Event::Readable);
        report(&mut host.pool, id, Event::WouldBlock);
        assert_eq!(host.iterate(|_| {}), []);
        let spin = |pool: &mut Pool| {
            report(pool, id, Event::Readable);
            report(pool, id, Event::WouldBlock);
        };
        for _ in 0..999 {
            assert_eq!(host.iterate(spin), [], "{mode:?}");
        }
        assert_eq!(only(Some(id), &host.iterate(spin)), SPINNING, "{mode:?}");
        // One byte is no spin.
        let one_byte = |pool: &mut Pool| {
            receive_part(pool, id, 1);
            report(pool, id, Event::WouldBlock);
        };
        assert_eq!(host.iterate(one_byte), []);
        assert_eq!(host.iterate(spin), []);
    }
}

#[test]
fn s74_pause_while_decoding_is_no_mistake() {
    let mut host = host(Mode::Level);
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        for event in [Event::Readable, Event::Received { bytes: 10 }, Event::PauseRecv, Event::Consumed { bytes: 10 }] {
            report(pool, id, event);
        }
    });
    assert_eq!((findings, host.iterate(|_| {})), (vec![], vec![]));
}

/// Frames that are joined in place leave a hole, which is reported as consumed.
#[test]
fn s75_hole_that_is_reported_is_no_mistake() {
    let mut host = host(Mode::Level);
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        for event in [Event::Readable, Event::Received { bytes: 10 }] {
            report(pool, id, event);
        }
        pool.data_mut(id).expect("it is attached").copy_within(0..3, 2);
        for consumed in [2, 8] {
            pool.decoded(id, consumed, 0).expect("it decodes");
        }
    });
    assert_eq!((findings, host.iterate(|_| {})), (vec![], vec![]));
}

/// A buffer of less than the largest frame with its header.
#[test]
fn s65_misfit_is_named_until_something_follows() {
    let mut host = host(Mode::Level);
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        for event in [Event::Readable, Event::Received { bytes: 1024 }, Event::NeedMore { bytes: 9 }] {
            report(pool, id, event);
        }
    });
    assert_eq!(
        only(Some(id), &findings),
        "CannotFit is undone: fail or close: the frame is larger than the buffer, see buffer_bytes"
    );
    let done = Event::done(Action::CannotFit);
    assert_eq!(host.iterate(|pool| report(pool, id, done)), [], "the host may follow in the next iteration");
    assert_eq!(
        only(Some(id), &host.iterate(|_| {})),
        "a frame is larger than the buffer for 1 ms, and reading stays off: fail or close, and set buffer_bytes \
         to the largest frame with its header"
    );
    assert_eq!(host.iterate(|pool| report(pool, id, Event::Fail)), []);
}

/// A host that receives once in each iteration, in edge-triggered mode, makes progress.
#[test]
fn recv_that_is_put_off_after_progress_is_new() {
    let mut host = host(Mode::Edge);
    let id = host.attach(7);
    host.iterate(|pool| report(pool, id, Event::Readable));
    for _ in 0..2 {
        let findings = host.iterate(|pool| {
            report(pool, id, Event::Wake);
            report(pool, id, Event::Received { bytes: 10 });
            report(pool, id, Event::NeedMore { bytes: 1 });
        });
        assert_eq!((findings[0].kind, findings[0].age_ns), (FindingKind::ActionUndone, 0));
    }
}

#[test]
fn receivers_are_named_once_in_each_round() {
    let mut host = host(Mode::Level);
    let ids = [7, 8, 9].map(|token| host.pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    for age_ns in [0, MS] {
        let findings = host.iterate(|_| {});
        assert_eq!(findings.iter().map(|finding| finding.receiver.expect("of a receiver")).collect::<Vec<_>>(), ids);
        assert!(findings.iter().all(|finding| finding.age_ns == age_ns && finding.since_ns == MS));
        assert!(findings.iter().all(|finding| finding.actions == Action::WantRecv.into()));
    }
    // The row of a receiver that is gone remembers nothing for the next one.
    close(&mut host.pool, ids[1]);
    let next = host.pool.attach(&AttachOptions::new(0, 10)).expect("there is room");
    let findings = host.iterate(|_| {});
    assert_eq!(findings[1].receiver, Some(next));
    assert_eq!([0, 1, 2].map(|at| findings[at].age_ns), [2 * MS, 0, 2 * MS]);
}

/// An edge-triggered socket was registered once, and reports no more after the end of its stream.
#[test]
fn edge_triggered_host_may_leave_stop_recv() {
    for (mode, count) in [(Mode::Edge, 0), (Mode::Level, 1)] {
        let mut host = host(mode);
        let id = host.attach(7);
        let findings = host.iterate(|pool| {
            pool.handle(id, Event::EndOfStream).expect("it is attached");
            pool.handle(id, Event::done(Action::End)).expect("it is pending");
            assert_eq!(pool.pending(id), Ok(Action::StopRecv.into()));
        });
        assert_eq!(findings.len(), count, "{mode:?}");
    }
}

/// A receiver that waits: the host has to wake up for it.
#[test]
fn s67_sleep_beyond_the_timeout_is_named() {
    let mut host = host(Mode::Level);
    let waiter = host.attach(7);
    let findings = host.iterate(|pool| {
        lease_all(pool);
        receive_part(pool, waiter, 64);
        report(pool, waiter, Event::Readable);
    });
    assert_eq!((findings.as_slice(), host.pool.poll_timeout()), ([].as_slice(), Some(126 * MS)));
    assert_eq!(host.iterate_after(250 * MS, |_| {}), [], "an eighth of the grace too late is not too late");
    let advice = "sleep at most until poll_timeout, or no deadline is noticed";
    assert_eq!(only(None, &host.iterate_after(251 * MS, |_| {})), format!("slept 126 ms too long: {advice}"));
}

#[test]
fn s67_grant_that_is_not_picked_up_is_named() {
    let mut host = host(Mode::Edge);
    let waiter = host.attach(7);
    let mut leases = Vec::new();
    let findings = host.iterate(|pool| {
        leases = lease_all(pool);
        receive_part(pool, waiter, 64);
    });
    assert_eq!((findings.as_slice(), leases.len()), ([].as_slice(), 6));
    host.drains_notices = false;
    let line = "a notice is not picked up: drain poll_notice in each iteration, before you sleep";
    let mut release_all = || std::mem::take(&mut leases);
    let findings = host.iterate(|pool| {
        release_all().into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    });
    assert_eq!(only(Some(waiter), &findings), line);
    host.drains_notices = true;
    let findings = host.iterate(|_| {});
    assert!(findings[0].actions.has(Action::Recv), "it is picked up, and its step is ignored: {findings:?}");
    // A deadline that has come.
    let mut host = self::host(Mode::Level);
    let waiter = host.attach(7);
    host.iterate(|pool| {
        lease_all(pool);
        receive_part(pool, waiter, 64);
        report(pool, waiter, Event::Readable);
    });
    host.drains_notices = false;
    let found =
        (0..20).find_map(|_| Some(host.iterate_after(125 * MS, |_| {})).filter(|findings| !findings.is_empty()));
    assert_eq!(only(Some(waiter), &found.expect("its deadline comes")), line);
    // One of the host's own has no receiver.
    let mut host = self::host(Mode::Level);
    let leases = lease_all(&mut host.pool);
    assert!(matches!(host.pool.request(0, 2), Ok(Outcome::Queued(_))));
    host.drains_notices = false;
    let findings = host.iterate(|pool| pool.release(leases[0]).expect("it is the host's"));
    assert_eq!((only(None, &findings), findings[0].token), (line.to_owned(), 2));
}

/// A waiting peer hangs up, and its socket is still in the poller.
#[test]
fn s72_hang_up_that_is_not_masked_is_named() {
    let mut host = host(Mode::Level);
    lease_all(&mut host.pool);
    let id = host.attach(7);
    host.iterate(|pool| {
        receive_part(pool, id, 64);
        report(pool, id, Event::Readable);
    });
    let hang_up = |pool: &mut Pool| report(pool, id, Event::Readable);
    let mut iterate = || {
        host.now_ns += 1;
        host.pool.handle_timeout(host.now_ns);
        hang_up(&mut host.pool);
        host.audit()
    };
    let found = (0..=1_000).map(|_| iterate()).find(|findings| !findings.is_empty()).expect("it spins");
    assert_eq!(only(Some(id), &found), SPINNING.replace("999 ms", "999 ns"));
    assert_eq!(host.iterate(|_| {}), [], "it was removed from the poller");
}

/// An advance of the clock ends what was borrowed to receive: nothing is held, and an armed socket is reported again.
#[test]
fn recv_that_is_put_off_holds_nothing() {
    for (mode, reads_ahead, is_named) in
        [(Mode::Level, false, false), (Mode::Level, true, true), (Mode::Edge, false, true)]
    {
        let mut config = config(mode);
        config.policy.reads_ahead = reads_ahead;
        let mut host = Host::new(Pool::new(&config).expect("the configuration is allowed"));
        let id = host.attach(7);
        let advice = "receive, then report the outcome, would_block if there was nothing";
        let findings = host.iterate(|pool| report(pool, id, Event::Readable));
        let later = host.iterate(|_| {});
        if is_named {
            assert_eq!(only(Some(id), &findings), format!("Recv is undone: {advice}"));
            assert_eq!(only(Some(id), &later), format!("Recv is undone for 1 ms: {advice}"), "{mode:?}");
        } else {
            assert_eq!((findings, later), (vec![], vec![]));
        }
    }
}

#[test]
fn decode_that_is_put_off_keeps_memory() {
    let mut host = host(Mode::Level);
    let id = host.attach(7);
    let advice = "decode, then report what was consumed, and why bytes are left";
    let findings = host.iterate(|pool| {
        report(pool, id, Event::Readable);
        report(pool, id, Event::Received { bytes: 100 });
    });
    assert_eq!(only(Some(id), &findings), format!("Decode is undone: {advice}"));
    let line = only(Some(id), &host.iterate_after(1_500, |_| {}));
    assert_eq!(line, format!("Decode is undone for 1 us and keeps its memory: {advice}"));
    // Some of it was decoded.
    let findings = host.iterate(|pool| report(pool, id, Event::Consumed { bytes: 10 }));
    assert_eq!(only(Some(id), &findings), format!("Decode is undone: {advice}"));
}

/// There is no second buffer to borrow in this iteration: the host comes back in the next.
#[test]
fn borrow_that_comes_later_is_to_be_asked_for() {
    let mut host = host(Mode::Edge);
    let [first, second] = [7, 8].map(|token| host.attach(token));
    let later = |pool: &mut Pool| {
        report(pool, first, Event::Readable);
        report(pool, second, Event::Readable);
        assert_eq!(pool.pending(second), Ok(Action::Reschedule.into()), "given: there is one receive buffer");
    };
    let of = |id: ReceiverId, findings: Vec<Finding>| -> Vec<Finding> {
        findings.into_iter().filter(|finding| finding.receiver == Some(id)).collect()
    };
    lease_all(&mut host.pool);
    let findings = of(second, host.iterate(later));
    assert_eq!(
        only(Some(second), &findings),
        "Reschedule is undone: report it done, then wake in the next iteration, and do not sleep before that"
    );
    let findings = host.iterate(|pool| {
        later(pool);
        report(pool, second, Event::done(Action::Reschedule));
    });
    assert_eq!(of(second, findings), [], "it is to be woken in the next iteration");
    let findings = of(second, host.iterate(|_| {}));
    assert_eq!(
        only(Some(second), &findings),
        "rescheduled 1 ms ago and never woken: report wake in the next iteration, before you sleep"
    );
}

#[test]
fn end_and_shed_that_are_ignored_are_named() {
    let mut host = host(Mode::Level);
    let [holder, ended] = [7, 8].map(|token| host.attach(token));
    let findings = host.iterate(|pool| report(pool, ended, Event::EndOfStream));
    assert_eq!(only(Some(ended), &findings), "End is undone: the peer ended: finish, then report it done or close");
    close(&mut host.pool, ended);
    let findings = host.iterate(|pool| {
        receive_part(pool, holder, 300);
        lease_all(pool);
        report(pool, holder, Event::Block { reasons: 1 });
    });
    assert_eq!(findings, []);
    let found = (0..30).find_map(|_| {
        // A request of the host's own wants what the receiver keeps.
        let request = |pool: &mut Pool| {
            let _: Result<Outcome, PoolError> = pool.request(0, 1);
        };
        Some(host.iterate_after(125 * MS, request)).filter(|findings| !findings.is_empty())
    });
    let line = only(Some(holder), &found.expect("the holder is to be shed"));
    assert_eq!(line, "Shed is undone: close the connection: requests wait for its memory");
}

#[test]
fn audit_that_was_not_asked_for_is_an_error() {
    let config = PoolConfig { audit: false, ..config(Mode::Level) };
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    assert_eq!(pool.poll_audit(1), Err(PoolError::AuditOff));
    assert_eq!(PoolError::AuditOff.to_string(), "the configuration did not ask for an audit");
}

#[test]
fn finding_kinds_are_numbered_from_1() {
    for (number, kind) in (1..).zip(FindingKind::ALL) {
        assert_eq!(kind as u32, number);
    }
}
