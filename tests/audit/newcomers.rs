//! The list of what newcomers did wrong: hosts that were written from the documentation alone. Each mistake is made
//! once, and named in one line; those that no audit can see are listed, too, with what shows them instead.

use super::*;

/// A mistake, and where the audit is silent what else shows it.
struct Mistake {
    what: &'static str,
    /// The kind of finding, and a part of its line.
    named: Result<(FindingKind, &'static str), &'static str>,
    /// A host that makes it, until something is found, and for a while if nothing is.
    make: fn() -> Vec<Finding>,
}

const MISTAKES: [Mistake; 17] = [
    Mistake {
        what: "a default buffer is below the largest frame with its header (S65)",
        named: Ok((FindingKind::ActionUndone, "the frame is larger than the buffer, see buffer_bytes")),
        make: || spin_once(Mode::Level, &[Event::Readable, RECEIVED_ALL, Event::NeedMore { bytes: 9 }]),
    },
    Mistake {
        what: "an error is ignored (S66)",
        named: Ok((FindingKind::ActionUndone, "Recv is undone")),
        make: || {
            let mut host = host(Mode::Edge);
            let id = host.attach(7);
            host.iterate(|pool| {
                report(pool, id, Event::Readable);
                let _: Result<Actions, PoolError> = pool.handle(id, Event::Received { bytes: 1_000_000 });
            })
        },
    },
    Mistake {
        what: "a loop inside of one iteration, on the bits of an error (S66)",
        named: Err("no error has the bits of an action: s66_error_status_has_no_action_bits"),
        make: Vec::new,
    },
    Mistake {
        what: "Reschedule is left out of the loop (S67)",
        named: Ok((FindingKind::ActionUndone, "Reschedule is undone")),
        make: || {
            let mut host = host(Mode::Edge);
            let id = host.attach(7);
            host.iterate(|pool| {
                report(pool, id, Event::Readable);
                _ = use_up_budget(pool, id);
            })
        },
    },
    Mistake {
        what: "the clock is never advanced (S67)",
        named: Ok((FindingKind::ClockStopped, "call handle_timeout in each iteration")),
        make: || {
            let mut host = host(Mode::Level);
            host.advances_clock = false;
            host.iterate(|_| {})
        },
    },
    Mistake {
        what: "the poller has no timeout (S67)",
        named: Ok((FindingKind::Overslept, "sleep at most until poll_timeout")),
        make: || {
            let (mut host, _waiter) = host_with_waiter(Mode::Level);
            host.iterate_after(1_000 * MS, |_| {})
        },
    },
    Mistake {
        what: "notices are not drained (S67)",
        named: Ok((FindingKind::NoticeLeft, "drain poll_notice in each iteration")),
        make: || {
            let (mut host, _waiter) = host_with_waiter(Mode::Level);
            host.drains_notices = false;
            until_found(&mut host, |host| host.iterate_after(125 * MS, |_| {}))
        },
    },
    Mistake {
        what: "a receive is submitted for an idle connection (completion, S68)",
        named: Ok((FindingKind::ReceiveIdle, "submit a poll before a receive")),
        make: || {
            let (mut host, idle) = completion::host_with_idle_receive();
            let mut found = host.iterate_after(1_000 * MS, |_| {});
            found.retain(|finding| finding.receiver == Some(idle));
            found
        },
    },
    Mistake {
        what: "StopRecv is taken for \"stop polling\", and the receive is not cancelled (completion, S68)",
        named: Ok((FindingKind::OutcomeMissing, "cancel it, then report what it brought")),
        make: || {
            let stopped = [Event::Readable, Event::done(Action::Recv), Event::PauseRecv, Event::done(Action::StopRecv)];
            let (mut host, id) = attached(Mode::Completion);
            host.iterate(|pool| stopped.iter().for_each(|event| _ = pool.handle(id, *event).expect("it makes sense")));
            host.iterate_after(1_000 * MS, |_| {})
        },
    },
    Mistake {
        what: "no poll follows a receive that was cancelled (completion, S68)",
        named: Ok((FindingKind::ActionUndone, "WantRecv is undone: arm read interest (completion: submit a poll)")),
        make: || {
            let (mut host, id) = attached(Mode::Completion);
            host.iterate(|pool| {
                for event in [Event::Readable, Event::done(Action::Recv), Event::WouldBlock] {
                    pool.handle(id, event).expect("it makes sense");
                }
            })
        },
    },
    Mistake {
        what: "TLS without reads_ahead, in level mode: bytes stay in the layer (S69)",
        named: Err("the receiver is at rest, and so is its socket: set reads_ahead, docs/tls.md"),
        make: || spin_once(Mode::Level, &[Event::Readable, Event::Received { bytes: 9 }, Event::Consumed { bytes: 9 }]),
    },
    Mistake {
        what: "what a TLS library has pending is reported as readable, half records too (S69)",
        named: Ok((FindingKind::Spinning, "without a byte")),
        make: || spin(Mode::Level),
    },
    Mistake {
        what: "a receive that has to write first is reported as would_block (S70)",
        named: Ok((FindingKind::Spinning, "pause_recv while a receive has to write first")),
        make: || spin(Mode::OneShot),
    },
    Mistake {
        what: "waiting connections receive a little, below a layer that reads whole records (S71)",
        named: Err("that layer's memory is not the pool's: set reads_ahead, docs/tls.md"),
        make: || spin_once(Mode::Level, &[Event::Readable, Event::Received { bytes: 9 }, Event::NeedMore { bytes: 1 }]),
    },
    Mistake {
        what: "a hang-up stays registered after StopRecv (S72)",
        named: Ok((FindingKind::Spinning, "remove a socket from the poller on STOP_RECV")),
        make: || {
            let (mut host, waiter) = host_with_waiter(Mode::Level);
            // Within the bound of its wait: the loop turns as fast as it can.
            until_found(&mut host, |host| host.iterate_after(1, |pool| report(pool, waiter, Event::Readable)))
        },
    },
    Mistake {
        what: "data is used after its validity (S73)",
        named: Err("no call is made: the feature poison, with ASan or Valgrind"),
        make: Vec::new,
    },
    Mistake {
        what: "reading is paused, and frames are changed in place, while the decoder uses data (S74, S75)",
        named: Err("that is allowed"),
        make: || {
            let (mut host, id) = attached(Mode::Level);
            host.iterate(|pool| {
                do_notices(pool, id);
                for event in [Event::Readable, Event::Received { bytes: 9 }, Event::PauseRecv] {
                    report(pool, id, event);
                }
                pool.data_mut(id).expect("it is attached").copy_within(0..4, 5);
                pool.decoded(id, 5, 0).expect("the hole is at the front");
                pool.decoded(id, 4, 0).expect("the rest");
                do_notices(pool, id);
            })
        },
    },
];

const RECEIVED_ALL: Event = Event::Received { bytes: 1024 };

fn attached(mode: Mode) -> (Host, ReceiverId) {
    let mut host = host(mode);
    let id = host.pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    (host, id)
}

/// One receiver that waits for memory.
fn host_with_waiter(mode: Mode) -> (Host, ReceiverId) {
    let mut host = host(mode);
    let waiter = host.attach(7);
    let findings = host.iterate(|pool| {
        lease_all(pool);
        receive_part(pool, waiter, 64);
        report(pool, waiter, Event::Readable);
    });
    assert_eq!(findings, [], "it waits, which is no mistake");
    (host, waiter)
}

/// One iteration with these events, and one without.
fn spin_once(mode: Mode, events: &[Event]) -> Vec<Finding> {
    let mut host = host(mode);
    let id = host.attach(7);
    let found = host.iterate(|pool| events.iter().for_each(|event| report(pool, id, *event)));
    if found.is_empty() { host.iterate(|_| {}) } else { found }
}

/// Reported in each iteration, with nothing to receive.
fn spin(mode: Mode) -> Vec<Finding> {
    let mut host = host(mode);
    let id = host.attach(7);
    let nothing = |pool: &mut Pool| [Event::Readable, Event::WouldBlock].map(|event| report(pool, id, event));
    until_found(&mut host, |host| host.iterate(|pool| _ = nothing(pool)))
}

fn until_found(host: &mut Host, mut iterate: impl FnMut(&mut Host) -> Vec<Finding>) -> Vec<Finding> {
    (0..=1_001).map(|_| iterate(host)).find(|found| !found.is_empty()).unwrap_or_default()
}

#[test]
fn mistakes_of_newcomers_are_named() {
    for Mistake { what, named, make } in MISTAKES {
        let found = make();
        match named {
            Ok((kind, part)) => {
                let [finding] = &found[..] else { panic!("{what}: {found:#?}") };
                let line = finding.to_string();
                assert!(finding.kind == kind && line.contains(part), "{what}: {line}");
                assert!(!line.contains('\n'), "{what}: {line}");
            }
            Err(instead) => assert_eq!(found, [], "{what}: {instead}"),
        }
    }
}
