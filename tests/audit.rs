//! The audit: each mistake that a host can make and the library can see is made on purpose, and named in one line.
//! What it cannot see, and what is none, leaves it silent.

use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::{AttachOptions, BufferSource, Finding, FindingKind, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::Outcome;

const MS: u64 = 1_000_000;

/// A host in virtual time: an iteration each millisecond.
struct Host<S: BufferSource> {
    pool: Pool<S>,
    now_ns: u64,
    advances_clock: bool,
    drains_notices: bool,
}

fn config(mode: Mode, buffers: u32) -> PoolConfig {
    let mut config = PoolConfig::new(buffers, 8);
    (config.buffer_bytes, config.audit, config.policy.mode) = (1024, true, mode);
    (config.lifeline, config.policy.park_bytes) = (false, 0);
    config
}

fn host(config: &PoolConfig) -> Host<demuxbuf::scheduler::Scheduler> {
    Host::new(Pool::new(config).expect("the configuration is allowed"))
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
    let mut host = host(&config(Mode::Level, 2));
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        report(pool, id, Event::Readable);
        let refused = pool.handle(id, Event::Received { bytes: 1_000_000 });
        assert!(refused.is_err(), "more than there is room for");
    });
    assert_eq!(findings, [], "the poller reports it again");
    let mut host = self::host(&config(Mode::Edge, 2));
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
fn use_up_budget<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId) -> Actions {
    while pool.pending(id).expect("it is attached").has(Action::Recv) {
        pool.handle(id, Event::Received { bytes: 100 }).expect("there is room");
        pool.handle(id, Event::Consumed { bytes: 100 }).expect("they are buffered");
    }
    pool.pending(id).expect("it is attached")
}

#[test]
fn s67_reschedule_that_is_ignored_is_named() {
    let mut host = host(&config(Mode::Edge, 2));
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
    let mut host = host(&config(Mode::Edge, 2));
    let id = host.attach(7);
    let reschedule = |pool: &mut Pool<_>, id| {
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
    let mut host = host(&config(Mode::Level, 2));
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

/// Two receivers on one buffer with a deadline: the host has to wake up for it.
#[test]
fn s67_sleep_beyond_the_timeout_is_named() {
    let mut config = config(Mode::Level, 1);
    config.scheduler.lease_ns = Some(800 * MS);
    let mut host = host(&config);
    let [holder, waiter] = [7, 8].map(|token| host.attach(token));
    let findings = host.iterate(|pool| {
        receive_part(pool, holder, 10);
        report(pool, waiter, Event::Readable);
    });
    assert_eq!((findings.as_slice(), host.pool.poll_timeout()), ([].as_slice(), Some(101 * MS)));
    assert_eq!(host.iterate_after(200 * MS, |_| {}), [], "an eighth of the lease too late is not too late");
    let advice = "sleep at most until poll_timeout, or no deadline is noticed";
    assert_eq!(only(None, &host.iterate_after(201 * MS, |_| {})), format!("slept 101 ms too long: {advice}"));
}

#[test]
fn s67_grant_that_is_not_picked_up_is_named() {
    let mut host = host(&config(Mode::Level, 1));
    let [holder, waiter] = [7, 8].map(|token| host.attach(token));
    assert_eq!(
        host.iterate(|pool| {
            report(pool, holder, Event::Readable);
            report(pool, waiter, Event::Readable);
        }),
        []
    );
    host.drains_notices = false;
    let line = "a grant is not picked up: drain poll_notice in each iteration, before you sleep";
    let findings = host.iterate(|pool| report(pool, holder, Event::WouldBlock));
    assert_eq!(only(Some(waiter), &findings), line);
    // One of the host's own has no receiver.
    let mut host = self::host(&config(Mode::Level, 1));
    let Ok(Outcome::Granted(lease)) = host.pool.request(0, 1) else { panic!("a buffer is free") };
    assert!(matches!(host.pool.request(0, 2), Ok(Outcome::Queued(_))));
    host.drains_notices = false;
    let findings = host.iterate(|pool| pool.release(lease).expect("it is the host's"));
    assert_eq!((only(None, &findings), findings[0].token), (line.to_owned(), 2));
}

/// The defaults have no deadline: as many partial frames of 65 bytes as there are buffers hold them for good.
#[test]
fn missing_deadline_is_named_while_nothing_is_granted() {
    let mut defaults = PoolConfig::new(2, 8);
    defaults.audit = true;
    let mut host = host(&defaults);
    let ids = [1, 2, 3, 4].map(|token| host.attach(token));
    let findings = host.iterate(|pool| {
        receive_part(pool, ids[0], 65);
        receive_part(pool, ids[1], 65);
        receive_part(pool, ids[2], 64); // These wait, with full slots.
        receive_part(pool, ids[3], 64);
    });
    assert_eq!((findings, host.iterate_after(999 * MS, |_| {})), (vec![], vec![]));
    assert_eq!(
        only(None, &host.iterate(|_| {})),
        "requests (2) wait, nothing was granted for 1000 ms, and leases have no deadline: set lease_ns and park_ns, or \
         partial frames keep their buffers"
    );
    // A grant, and it is not stuck any more, though one still waits.
    let findings = host.iterate(|pool| report(pool, ids[0], Event::Consumed { bytes: 65 }));
    assert!(findings.iter().all(|finding| finding.kind != FindingKind::NoDeadline), "{findings:?}");
    assert_eq!(host.pool.stats().scheduler.waiting, 1);
}

#[test]
fn s68_poll_that_is_not_submitted_is_named() {
    let mut host = host(&config(Mode::Completion, 2));
    let id = host.pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    let findings = host.iterate(|pool| {
        pool.handle(id, Event::done(Action::Recv)).expect("it is pending");
        pool.handle(id, Event::PauseRecv).expect("it is attached");
        pool.handle(id, Event::done(Action::StopRecv)).expect("it is pending");
        pool.handle(id, Event::WouldBlock).expect("it was cancelled");
        pool.handle(id, Event::ResumeRecv).expect("it is attached");
    });
    assert_eq!(
        only(Some(id), &findings),
        "WantRecv is undone: arm read interest (completion: submit a poll), then report it done"
    );
}

/// `StopRecv` taken for "stop polling": the receive is not cancelled.
#[test]
fn s68_receive_that_is_not_cancelled_is_named() {
    let mut host = host(&config(Mode::Completion, 2));
    let id = host.pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    let findings = host.iterate(|pool| {
        for event in [Event::done(Action::Recv), Event::PauseRecv, Event::done(Action::StopRecv)] {
            pool.handle(id, event).expect("it makes sense");
        }
    });
    assert_eq!((findings, host.iterate_after(999 * MS, |_| {})), (vec![], vec![]), "the system may take its time");
    assert_eq!(
        only(Some(id), &host.iterate(|_| {})),
        "a receive was to be cancelled 1000 ms ago and has no outcome: cancel it, then report what it brought, \
         would_block if nothing"
    );
}

/// The receive after attach is submitted although nothing is to be expected.
#[test]
fn s68_idle_receive_is_named_while_others_wait() {
    let mut host = host(&config(Mode::Completion, 1));
    let [idle, other] = [7, 8].map(|token| host.pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    let findings = host.iterate(|pool| {
        pool.handle(idle, Event::done(Action::Recv)).expect("it is pending");
        let waits = pool.pending(other).expect("it is attached");
        assert_eq!(waits, Actions::NONE);
    });
    assert_eq!((findings, host.iterate_after(999 * MS, |_| {})), (vec![], vec![]));
    let findings: Vec<Finding> =
        host.iterate(|_| {}).into_iter().filter(|finding| finding.receiver.is_some()).collect();
    assert_eq!(
        only(Some(idle), &findings),
        "a receive has brought nothing for 1000 ms and holds a buffer that requests (1) wait for: answer such a receive \
         with would_block and submit a poll instead"
    );
}

/// What a layer above the socket holds is not seen: the receiver is at rest.
#[test]
fn bytes_above_the_socket_are_not_seen() {
    let mut host = host(&config(Mode::Level, 2));
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
fn receive_that_has_to_write_first_is_named() {
    for mode in [Mode::Level, Mode::OneShot, Mode::Optimistic] {
        let mut host = host(&config(mode, 2));
        let id = host.attach(7);
        report(&mut host.pool, id, Event::Readable);
        report(&mut host.pool, id, Event::WouldBlock);
        assert_eq!(host.iterate(|_| {}), []);
        let spin = |pool: &mut Pool<_>| {
            report(pool, id, Event::Readable);
            report(pool, id, Event::WouldBlock);
        };
        for _ in 0..999 {
            assert_eq!(host.iterate(spin), [], "{mode:?}");
        }
        assert_eq!(only(Some(id), &host.iterate(spin)), SPINNING, "{mode:?}");
        // One byte is no spin.
        let one_byte = |pool: &mut Pool<_>| {
            receive_part(pool, id, 1);
            report(pool, id, Event::WouldBlock);
        };
        assert_eq!(host.iterate(one_byte), []);
        assert_eq!(host.iterate(spin), []);
    }
}

/// A waiting peer hangs up, and its socket is still in the poller.
#[test]
fn s72_hang_up_that_is_not_masked_is_named() {
    let mut host = host(&config(Mode::Level, 1));
    host.pool.request(0, 1).expect("a buffer is free");
    let id = host.attach(7);
    let hang_up = |pool: &mut Pool<_>| report(pool, id, Event::Readable);
    let of_receivers = |findings: Vec<Finding>| -> Vec<Finding> {
        findings.into_iter().filter(|finding| finding.receiver.is_some()).collect()
    };
    for _ in 0..1_000 {
        assert_eq!(of_receivers(host.iterate(hang_up)), []);
    }
    assert_eq!(only(Some(id), &of_receivers(host.iterate(hang_up))), SPINNING);
    assert_eq!(of_receivers(host.iterate(|_| {})), [], "it was removed from the poller");
}

#[test]
fn pause_while_decoding_is_no_mistake() {
    let mut host = host(&config(Mode::Level, 2));
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        for event in [Event::Readable, Event::Received { bytes: 10 }, Event::PauseRecv, Event::Consumed { bytes: 10 }] {
            report(pool, id, event);
        }
    });
    assert_eq!((findings, host.iterate(|_| {})), (vec![], vec![]));
}

/// A buffer of less than the largest frame with its header.
#[test]
fn s65_misfit_is_named_until_something_follows() {
    let mut host = host(&config(Mode::Level, 2));
    let id = host.attach(7);
    let findings = host.iterate(|pool| {
        for event in [Event::Readable, Event::Received { bytes: 1024 }, Event::NeedMore { bytes: 9 }] {
            report(pool, id, event);
        }
    });
    assert_eq!(
        only(Some(id), &findings),
        "CannotFit is undone: fail, close or grow: the frame is larger than the buffer, see buffer_bytes"
    );
    let done = Event::done(Action::CannotFit);
    assert_eq!(host.iterate(|pool| report(pool, id, done)), [], "the host may follow in the next iteration");
    assert_eq!(
        only(Some(id), &host.iterate(|_| {})),
        "a frame is larger than the buffer for 1 ms, and reading stays off: fail, close or grow, and set buffer_bytes \
         to the largest frame with its header"
    );
    assert_eq!(host.iterate(|pool| report(pool, id, Event::Fail)), []);
}

#[test]
fn decode_that_is_put_off_keeps_memory() {
    let mut host = host(&config(Mode::Level, 2));
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

/// A host that receives once in each iteration, in edge-triggered mode, makes progress.
#[test]
fn recv_that_is_put_off_after_progress_is_new() {
    let mut host = host(&config(Mode::Edge, 2));
    let id = host.attach(7);
    host.iterate(|pool| report(pool, id, Event::Readable));
    for _ in 0..2 {
        let findings = host.iterate(|pool| {
            report(pool, id, Event::Received { bytes: 10 });
            report(pool, id, Event::NeedMore { bytes: 1 });
        });
        assert_eq!((findings[0].kind, findings[0].age_ns), (FindingKind::ActionUndone, 0));
    }
}

/// In level-triggered mode an armed socket is reported again, so a receive may be left to the next report; but while
/// requests wait, the buffer that it has is named.
#[test]
fn recv_that_is_put_off_is_named_while_others_wait() {
    let mut host = host(&config(Mode::Level, 1));
    let [holder, waiter] = [7, 8].map(|token| host.attach(token));
    assert_eq!(host.iterate(|pool| report(pool, holder, Event::Readable)), []);
    assert_eq!(host.iterate(|_| {}), []);
    assert_eq!(host.iterate(|pool| report(pool, waiter, Event::Readable)), []);
    let findings: Vec<Finding> =
        host.iterate(|_| {}).into_iter().filter(|finding| finding.receiver.is_some()).collect();
    assert_eq!(
        only(Some(holder), &findings),
        "Recv is undone for 3 ms and keeps its memory: receive, then report the outcome, would_block if there was \
         nothing"
    );
}

#[test]
fn end_and_shed_that_are_ignored_are_named() {
    let mut config = config(Mode::Level, 1);
    (config.scheduler.lease_ns, config.scheduler.park_ns) = (Some(8 * MS), Some(MS));
    let mut host = host(&config);
    let [holder, waiter, ended] = [7, 8, 9].map(|token| host.attach(token));
    let findings = host.iterate(|pool| report(pool, ended, Event::EndOfStream));
    assert_eq!(only(Some(ended), &findings), "End is undone: the peer ended: finish, then report it done or close");
    close(&mut host.pool, ended);
    let findings = host.iterate(|pool| {
        receive_part(pool, holder, 100);
        report(pool, waiter, Event::Readable);
    });
    assert_eq!(findings, []);
    let found = (0..20).find_map(|_| Some(host.iterate(|_| {})).filter(|findings| !findings.is_empty()));
    let line = only(Some(holder), &found.expect("the holder is to be shed"));
    assert_eq!(line, "Shed is undone: close the connection: requests wait for its memory");
}

#[test]
fn receivers_are_named_once_in_each_round() {
    let mut host = host(&config(Mode::Level, 8));
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

#[test]
fn audit_that_was_not_asked_for_is_an_error() {
    let mut pool = Pool::new(&PoolConfig::new(1, 1)).expect("the configuration is allowed");
    assert_eq!(pool.poll_audit(1), Err(PoolError::AuditOff));
    assert_eq!(PoolError::AuditOff.to_string(), "the configuration did not ask for an audit");
}

#[test]
fn finding_kinds_are_numbered_from_1() {
    for (number, kind) in (1..).zip(FindingKind::ALL) {
        assert_eq!(kind as u32, number);
    }
}

/// On a shared pool each thread audits its own receivers. A grant that another thread has assigned just now is no mistake.
#[test]
#[cfg(not(loom))]
fn shards_audit_their_own_receivers() {
    let shared_pool = demuxbuf::SharedPool::new(&config(Mode::Level, 1), 2).expect("the configuration is allowed");
    let [mut here, mut there] = [0, 1].map(|shard| Host::new(shared_pool.shard(shard).expect("it is free")));
    let (holder, waiter) = (here.attach(7), there.attach(8));
    assert_eq!(here.iterate(|pool| report(pool, holder, Event::Readable)), []);
    assert_eq!(there.iterate(|pool| report(pool, waiter, Event::Readable)), []);
    let idle = there.pool.attach(&AttachOptions::new(0, 9)).expect("there is room");
    assert!(here.iterate(|_| {}).iter().all(|finding| finding.receiver != Some(idle)), "it is another thread's");
    assert_eq!(only(Some(idle), &there.audit()).split(':').next(), Some("WantRecv is undone"));
    close(&mut there.pool, idle);
    report(&mut here.pool, holder, Event::WouldBlock);
    there.drains_notices = false;
    assert_eq!(there.iterate(|_| {}), [], "it came just now");
    let findings = there.iterate(|_| {});
    assert_eq!(
        only(Some(waiter), &findings),
        "a grant is not picked up: drain poll_notice in each iteration, before you sleep"
    );
    there.drains_notices = true;
    let findings = there.iterate(|_| {});
    assert_eq!(findings[0].actions, Action::Recv | Action::WantRecv, "it is picked up, and its step is ignored");
}

/// A receiver that moves does not take over what the audit remembers of its row there.
#[test]
#[cfg(not(loom))]
fn imported_receiver_is_new_to_the_audit() {
    let shared_pool = demuxbuf::SharedPool::new(&config(Mode::Level, 1), 2).expect("the configuration is allowed");
    let [mut here, mut there] = [0, 1].map(|shard| Host::new(shared_pool.shard(shard).expect("it is free")));
    let [moves, before] = [(&mut here, 7), (&mut there, 8)].map(|(host, token)| {
        let id = host.pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        assert_eq!(host.iterate(|_| {}).len(), 1, "its read interest is to be armed");
        id
    });
    close(&mut there.pool, before);
    let mut exported = here.pool.export(moves).expect("it may move");
    let id = there.pool.import(&mut exported).expect("there is room");
    let findings = there.iterate(|_| {});
    assert_eq!((findings[0].receiver, findings[0].age_ns), (Some(id), 0));
}

/// An edge-triggered socket was registered once, and reports no more after the end of its stream.
#[test]
fn edge_triggered_host_may_leave_stop_recv() {
    for (mode, count) in [(Mode::Edge, 0), (Mode::Level, 1)] {
        let mut host = host(&config(mode, 2));
        let id = host.attach(7);
        let findings = host.iterate(|pool| {
            pool.handle(id, Event::EndOfStream).expect("it is attached");
            pool.handle(id, Event::done(Action::End)).expect("it is pending");
            assert_eq!(pool.pending(id), Ok(Action::StopRecv.into()));
        });
        assert_eq!(findings.len(), count, "{mode:?}");
    }
}
