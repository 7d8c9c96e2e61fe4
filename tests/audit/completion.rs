//! Completion mode: polls that are not submitted, and receives that are not cancelled.

use super::*;
use demuxbuf::connection::Policy;

#[test]
fn s68_poll_that_is_not_submitted_is_named() {
    let mut host = host(Mode::Completion);
    let id = host.pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    let findings = host.iterate(|pool| {
        pool.handle(id, Event::Readable).expect("it is attached");
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
    let mut host = host(Mode::Completion);
    let id = host.pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    let findings = host.iterate(|pool| {
        for event in [Event::Readable, Event::done(Action::Recv), Event::PauseRecv, Event::done(Action::StopRecv)] {
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

/// A receive that is submitted although nothing is to be expected is taken back once others wait.
#[test]
fn s68_idle_receive_is_named_while_others_wait() {
    let mut host = host(Mode::Completion);
    let idle = host.pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    let findings = host.iterate(|pool| {
        pool.handle(idle, Event::Readable).expect("it is attached");
        pool.handle(idle, Event::done(Action::Recv)).expect("it is pending");
    });
    assert_eq!((findings, host.iterate_after(999 * MS, |_| {})), (vec![], vec![]), "no request waits");
    let findings = host.iterate(|pool| {
        lease_all(pool);
        pool.request(0, 1).expect("it waits");
    });
    assert_eq!(
        only(Some(idle), &findings),
        "StopRecv is undone: turn read interest off (completion: cancel the receive), then report it done"
    );
}

/// A receive is submitted for a connection that is idle, a request waits for its buffer, and notices are not polled.
pub(crate) fn host_with_idle_receive() -> (Host, ReceiverId) {
    let mut host = host(Mode::Completion);
    let idle = host.pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    host.drains_notices = false;
    host.iterate(|pool| {
        pool.handle(idle, Event::Readable).expect("it is attached");
        pool.handle(idle, Event::done(Action::Recv)).expect("it is pending");
        lease_all(pool);
        pool.request(0, 1).expect("it waits");
    });
    (host, idle)
}

/// It is taken back in `poll_notice`: without this, it keeps its buffer.
#[test]
fn idle_receive_is_named_while_notices_are_not_polled() {
    let (mut host, idle) = host_with_idle_receive();
    let findings = host.iterate_after(1000 * MS, |_| {});
    let findings: Vec<_> = findings.into_iter().filter(|finding| finding.kind == FindingKind::ReceiveIdle).collect();
    assert_eq!(
        only(Some(idle), &findings),
        "a receive has brought nothing for 1000 ms and holds a buffer that requests (1) wait for: drain poll_notice in \
         each iteration, which asks for it back, and submit a poll before a receive"
    );
    host.drains_notices = true;
    host.iterate(|_| {});
    assert!(host.pool.pending(idle).expect("it is attached").has(Action::StopRecv));
}

/// A cell that would have room for its frame is no room for a receive that is submitted, which has a whole buffer.
#[test]
fn claim_of_a_buffer_beside_a_free_cell_is_no_notice() {
    let config = config(Mode::Completion);
    let mut host = Host::new(Pool::new(&config).expect("the configuration is allowed"));
    let level = Policy { mode: Mode::Level, ..config.policy };
    let options = AttachOptions { policy: Some(level), ..AttachOptions::new(0, 6) };
    let [keeps, claims] =
        [options, AttachOptions::new(0, 7)].map(|options| host.pool.attach(&options).expect("there is room"));
    let mut leases = vec![];
    let findings = host.iterate(|pool| {
        receive_part(pool, keeps, 100);
        for event in [Event::Readable, Event::Received { bytes: 10 }, Event::NeedMore { bytes: 90 }, Event::WouldBlock]
        {
            report(pool, claims, event);
        }
        leases = lease_all(pool);
        report(pool, claims, Event::Readable);
    });
    assert_eq!(findings, [], "no buffer is free");
    assert_eq!(host.pool.totals().claims, 1);
    host.drains_notices = false;
    let findings = host.iterate(|pool| leases.into_iter().for_each(|lease| pool.release(lease).expect("it is held")));
    let line = "a notice is not picked up: drain poll_notice in each iteration, before you sleep";
    assert_eq!(only(Some(claims), &findings), line);
}
