//! Notices that are not picked up, and delivered bytes that are not reported on.

use super::*;
use demuxbuf::connection::EventError;
use demuxbuf::pool::Notice;

/// It is named in each iteration in which the host does not pick it up.
fn is_left<S: BufferSource>(host: &mut Host<S>, expected: Notice) {
    host.drains_notices = false;
    for _ in 0..2 {
        let line = only(None, &host.iterate(|_| {}));
        assert_eq!(
            line, "a notice is not picked up: drain poll_notice in each iteration, before you sleep",
            "{expected:?}"
        );
    }
    assert_eq!((host.pool.poll_notice(), host.audit()), (Some(expected), vec![]), "it is picked up");
    host.drains_notices = true;
    assert_eq!(host.iterate(|_| {}), []);
}

/// A lease that is overdue, a pool that is drained, and an attach that can be repeated: each is a notice that stays
/// until it is picked up.
#[test]
fn notice_of_any_kind_that_is_left_is_named() {
    // Overdue: a request waits, and the lease is as old as it may be.
    let config = PoolConfig { lease_ns: Some(20 * MS), waiters_max: 1, ..config(Mode::Level) };
    let mut host = Host::new(Pool::new(&config).expect("the configuration is allowed"));
    let request = Request { has_deadline: true, ..Request::new(0, 3) };
    let lease = host.pool.try_request(&request).expect("the class exists").expect("a buffer is free");
    let leases = lease_all(&mut host.pool);
    let Ok(Outcome::Queued(wait)) = host.pool.request(0, 4) else { panic!("no buffer is free") };
    for _ in 0..20 {
        assert_eq!(host.iterate(|_| {}), [], "it may be held for so long");
    }
    is_left(&mut host, Notice::Overdue { lease, token: 3 });
    host.pool.cancel(wait).expect("it waits");
    // A full table.
    let ids = [1; 8].map(|token| host.attach(token));
    assert!(host.pool.attach(&AttachOptions { notify_if_full: true, ..AttachOptions::new(0, 9) }).is_err());
    assert_eq!(host.iterate(|pool| close(pool, ids[0])), [], "it drains its notices");
    let again = AttachOptions { notify_if_full: true, ..AttachOptions::new(0, 9) };
    let last = host.attach(1);
    assert!(host.pool.attach(&again).is_err());
    close(&mut host.pool, last);
    is_left(&mut host, Notice::Attachable);
    // Nothing is left of a pool that is drained.
    host.pool.drain();
    ids[1..].iter().for_each(|&id| close(&mut host.pool, id));
    assert_eq!(host.iterate(|_| {}), [], "leases are left");
    leases.into_iter().chain([lease]).for_each(|lease| host.pool.release(lease).expect("it is the host's"));
    is_left(&mut host, Notice::Drained);
}

/// A host that blocks without a report on what was delivered keeps others from being granted, though nothing is undone.
#[test]
fn bytes_in_place_that_are_left_are_named() {
    let mut host = host(Mode::Level);
    let id = host.attach(7);
    let memory = [1; 100];
    let findings = host.iterate(|pool| {
        assert_eq!(pool.deliver(id, &memory).map(|delivery| delivery.in_place_bytes), Ok(100));
        report(pool, id, Event::Block { reasons: 1 });
    });
    let advice = "report them as delivered, with 0 consumed if need be, before you sleep";
    let line = |age| format!("delivered bytes are in place for {age} and not to be decoded: {advice}");
    assert_eq!(only(Some(id), &findings), line("0 ns"));
    assert_eq!(only(Some(id), &host.iterate(|_| {})), line("1 ms"));
    let findings = host.iterate(|pool| {
        pool.delivered(id, &memory, 0, 0).expect("all of them are in place");
        do_notices(pool, id);
    });
    assert_eq!((findings, host.pool.data(id)), (vec![], Ok(&memory[..])));
    // What can be decoded is an action that is undone.
    let mut host = self::host(Mode::Level);
    let id = host.attach(7);
    let findings = host.iterate(|pool| assert!(pool.deliver(id, &memory).is_ok()));
    assert_eq!(findings[0].kind, FindingKind::ActionUndone);
}

/// A host that does what it is asked to until nothing is left, and answers a misfit of which it only looked at the
/// header, or has consumed it, as if it had decoded nothing: the call is refused, and what is undone is named.
#[test]
fn misfit_of_which_nothing_is_there_is_named() {
    for counting in [false, true] {
        let mut config = config(Mode::Level);
        config.policy.counting = counting;
        let mut host = Host::new(Pool::new(&config).expect("the configuration is allowed"));
        let id = host.attach(7);
        if counting {
            lease_all(&mut host.pool);
        }
        let answer = |pool: &mut Pool| {
            for _ in 0..3 {
                let answered = pool.decoded(id, 0, 0);
                assert_eq!(answered, Err(PoolError::Event(EventError::ZeroBytes)));
            }
        };
        let findings = host.iterate(|pool| {
            report(pool, id, Event::Readable);
            if counting {
                report(pool, id, Event::NeedMore { bytes: 1025 });
            } else {
                report(pool, id, Event::Received { bytes: 9 });
                pool.decoded(id, 9, 1025).expect("they are buffered");
                do_notices(pool, id);
            }
            answer(pool);
        });
        let line = "a frame is larger than the buffer, and nothing of it was received: fail or close; to pass it on in \
                    pieces, report what its next piece needs, which is its header if that was looked at";
        assert_eq!(only(Some(id), &findings), line);
        assert_eq!(only(Some(id), &host.iterate(answer)), line, "it does so again");
        let goes_on = |pool: &mut Pool| {
            report(pool, id, Event::NeedMore { bytes: 9 });
            report(pool, id, Event::Readable);
            report(pool, id, Event::WouldBlock);
        };
        assert_eq!(host.iterate(goes_on), []);
        assert!(host.pool.decoded(id, 0, 0).is_ok(), "it has no effect, but there is no misfit");
    }
}
