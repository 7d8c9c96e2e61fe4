//! Buffers of the host's own: requests, content that it takes and adopts, and what stays for the receivers.

use crate::{MODES, MS, pool_of_eight, pool_of_eight_in, receive};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::{Outcome, Request, SchedulerError, TenantConfig};
use demuxbuf_testkit::in_modes;

#[test]
fn content_leaves_with_a_buffer_and_comes_back() {
    let mut pool = pool_of_eight(1);
    let free = pool.memory().free_buffers();
    for bytes in [[7; 20].as_slice(), &[8; 200]] {
        let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
        assert_eq!(pool.take(id), Err(PoolError::NoBuffer));
        receive(&mut pool, id, bytes, 10);
        let content = pool.take(id).expect("a buffer is free");
        let LeasedContent { lease, offset, buffered_bytes } = content;
        assert_eq!(&pool.buffer(lease).expect("it is the host's")[offset as usize..][..buffered_bytes as usize], bytes);
        assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[][..]), Ok(())));
        let too_long = LeasedContent { buffered_bytes: 257 - offset, ..content };
        assert_eq!(pool.adopt(&AttachOptions::new(0, 2), too_long), Err(PoolError::TooManyBytes));
        let other = pool.adopt(&AttachOptions::new(0, 2), content).expect("the lease is the host's");
        assert_eq!(pool.adopt(&AttachOptions::new(0, 3), content), Err(SchedulerError::StaleLease.into()));
        assert_eq!(pool.release(lease), Err(SchedulerError::StaleLease.into()), "it is the receiver's");
        assert!(pool.pending(other).expect("it is attached").has(Action::Decode));
        assert_eq!((pool.data(other), pool.check_invariants()), (Ok(bytes), Ok(())));
        for id in [id, other] {
            assert!(pool.handle(id, Event::Close).expect("it is attached").has(Action::Finished));
        }
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
    }
}

/// Wherever it begins in its buffer.
#[test]
fn content_that_comes_with_its_buffer_is_not_copied() {
    let mut pool = pool_of_eight(1);
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    pool.buffer(lease).expect("it is the host's")[100..250].fill(7);
    let place = pool.buffer(lease).expect("it is the host's")[100..].as_ptr();
    let content = LeasedContent { lease, offset: 100, buffered_bytes: 150 };
    let id = pool.adopt(&AttachOptions::new(0, 2), content).expect("the lease is the host's");
    assert_eq!(pool.data(id).map(<[u8]>::as_ptr), Ok(place));
    // It stays there while the host holds it, and moves to the front to make room.
    pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
    pool.handle(id, Event::Unblock { reasons: 1 }).expect("it is attached");
    assert_eq!((pool.data(id).map(<[u8]>::as_ptr), pool.totals().copied_bytes), (Ok(place), 0));
    pool.decoded(id, 10, 100).expect("it is attached");
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    pool.receive_area(id).expect("it is attached")[..100].fill(8);
    pool.handle(id, Event::Received { bytes: 100 }).expect("there is room");
    assert_eq!(pool.data(id), Ok(&[[7; 140].as_slice(), &[8; 100]].concat()[..]));
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// Content that is past its deadline may be evicted, but not for a host that takes it: what the host gets is what was
/// sent.
#[test]
fn take_evicts_others_and_not_what_is_taken() {
    let mut pool = pool_of_eight(0);
    pool.handle_timeout(0);
    let [taken, beside, whole] =
        [1, 2, 3].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    // Two share a buffer that is cut in halves, the third has one for itself.
    for (id, fill, bytes) in [(taken, 1, 100), (beside, 2, 100), (whole, 3, 200)] {
        receive(&mut pool, id, &vec![fill; bytes], 10);
    }
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    for step in 1..=12 {
        pool.handle_timeout(step * 125 * MS);
    }
    let LeasedContent { lease, offset, buffered_bytes } = pool.take(taken).expect("others make room for it");
    let buffer = pool.buffer(lease).expect("it is the host's");
    assert_eq!(buffer[offset as usize..][..buffered_bytes as usize], [1; 100]);
    let is_shed = [taken, beside, whole].map(|id| pool.pending(id).expect("it is attached").has(Action::Shed));
    assert_eq!((is_shed, pool.check_invariants()), ([false, true, true], Ok(())));
}

/// What a receiver claims ends with what is taken; what is there to be received is claimed anew.
#[test]
fn take_leaves_a_receiver_that_claims_on_its_way() {
    in_modes(&MODES, |mode| {
        let mut pool = pool_of_eight_in(mode, 0);
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
        let mut leases = Vec::new();
        while pool.memory().free_buffers() > 1 {
            let outcome = pool.request(0, 0).expect("a buffer is free");
            leases.extend(if let Outcome::Granted(lease) = outcome { Some(lease) } else { None });
        }
        receive(&mut pool, id, &[1; 64], 100);
        pool.handle(id, Event::Readable).expect("it is attached");
        assert!(pool.memory().facts(0).expect("it is attached").claim_since_ns.is_some(), "its cell is full");
        leases.push(pool.take(id).expect("a buffer is free").lease);
        assert_eq!(pool.check_invariants(), Ok(()));
        let mut goes_on = pool.pending(id).expect("it is attached").has(Action::Recv);
        leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
        goes_on |= pool.poll_notice().is_some();
        assert!(goes_on, "{:?}", pool.connection(id));
    });
}

#[test]
fn borrow_has_a_place_whatever_the_host_requests() {
    let mut pool = pool_of_eight(1);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    assert_eq!(pool.receive_area(id).expect("it is attached").len(), 256);
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    pool.receive_area(id).expect("it is attached")[..200].fill(9);
    pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
    let actions = pool.decoded(id, 0, 56).expect("it is attached");
    assert!(!actions.has(Action::Shed));
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[9; 200][..]), Ok(())));
}

/// The last free buffer becomes the place of what is borrowed only for a request that is granted or queued.
#[test]
fn request_that_is_refused_changes_nothing() {
    let mut config = PoolConfig { buffer_bytes: 256, classes: 2, tenants_max: 1, ..PoolConfig::new(8 * 256, 8) };
    (config.waiters_max, config.reserves[0]) = (0, 1);
    let mut pool = Pool::new(&config).expect("it is allowed");
    let tenant = pool.create_tenant(&TenantConfig::default()).expect("there is room");
    pool.remove_tenant(tenant).expect("it is there");
    while pool.memory().free_buffers() > 1 {
        pool.request(1, 0).expect("a buffer is free");
    }
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    let place = pool.receive_area(id).expect("it is attached").as_ptr();
    let full = SchedulerError::WaitersFull { waiters_max: 0 };
    let wrong = [
        (Request::new(2, 0), SchedulerError::UnknownClass { class: 2, classes: 2 }),
        (Request { size_index: 1, ..Request::new(0, 0) }, SchedulerError::UnknownSize { size_index: 1 }),
        (Request { tenant: Some(tenant), ..Request::new(0, 0) }, SchedulerError::StaleTenant),
    ];
    for (request, error) in wrong {
        assert_eq!(pool.request_for(&request), Err(error.into()));
        assert_eq!(pool.try_request(&request), Err(error.into()));
    }
    // A buffer is free, and is not for the host: neither beside the reserve, nor as the place of what is borrowed.
    for class in [0, 1] {
        assert_eq!(pool.request(class, 0), Err(full.into()));
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (1, Ok(())), "class {class}");
    }
    assert_eq!(pool.receive_area(id).expect("it is attached").as_ptr(), place);
    // A request that is not refused leaves what is borrowed its place.
    assert_eq!((pool.try_request(&Request::new(1, 0)), pool.memory().free_buffers()), (Ok(None), 0));
}

#[test]
fn borrow_has_a_place_whatever_the_host_takes() {
    let mut pool = pool_of_eight(0);
    let [kept, id] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    receive(&mut pool, kept, &[1; 20], 10);
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    while pool.memory().free_buffers() > 1 {
        pool.request(0, 0).expect("a buffer is free");
    }
    assert_eq!(pool.take(kept), Err(PoolError::NoBufferFree), "the last one is for what is borrowed");
    pool.receive_area(id).expect("it is attached")[..200].fill(9);
    pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
    assert!(!pool.decoded(id, 0, 56).expect("it is attached").has(Action::Shed));
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[9; 200][..]), Ok(())));
}

#[test]
fn requests_of_the_host_leave_enough_to_receivers() {
    // One header buffer and three more.
    let config = PoolConfig { buffer_bytes: 256, waiters_max: 1, ..PoolConfig::new(8 * 256, 4) };
    let refused = |config: PoolConfig| Pool::new(&config).map(|_| ()).map_err(|error| error.to_string());
    let config = PoolConfig { classes: 2, ..config };
    let reserved = |buffers| PoolConfig { reserves: [0, buffers, 0, 0, 0, 0, 0, 0], ..config };
    assert_eq!(refused(reserved(4)), Ok(()));
    assert_eq!(refused(reserved(5)), Err("reserves[1] is 5; allowed is 0 to 4".into()));
    let capped = |buffers| PoolConfig { class_caps: [1, buffers, 1, 1, 1, 1, 1, 1], ..config };
    assert_eq!(refused(capped(4)), Ok(()));
    assert_eq!(refused(capped(3)), Err("class_caps[1] is 3; allowed is 4 or more".into()));
    for (classes, message) in [(0, "classes is 0; allowed is 1 to 8"), (9, "classes is 9; allowed is 1 to 8")] {
        let error = Pool::new(&PoolConfig { classes, ..config }).expect_err("there are 8 at most");
        assert_eq!(error.to_string(), message);
    }
}

/// A buffer that is adopted counts as the receivers' own, in their class, and its lease is over for good.
#[test]
fn adopted_buffer_is_of_the_class_of_receivers() {
    let mut config = PoolConfig { buffer_bytes: 256, classes: 2, ..PoolConfig::new(8 * 256, 4) };
    config.class_caps[1] = 4;
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let adopt = |pool: &mut Pool| {
        let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
        let content = LeasedContent { lease, offset: 0, buffered_bytes: 200 };
        (content, pool.adopt(&AttachOptions::new(0, 0), content))
    };
    for outstanding in [3, 4] {
        let (content, adopted) = adopt(&mut pool);
        let id = adopted.expect("the cap allows it");
        assert_eq!(pool.stats().scheduler.outstanding_by_class[..2], [0, outstanding]);
        pool.handle(id, Event::NeedMore { bytes: 10 }).expect("it decodes");
        let taken = pool.take(id).expect("it has a buffer of its own");
        assert_eq!(pool.release(content.lease), Err(SchedulerError::StaleLease.into()), "{taken:?}");
    }
    // What left with a buffer of that class counts there until it is released.
    let (content, refused) = adopt(&mut pool);
    assert_eq!((refused, pool.stats().receivers), (Err(PoolError::NoBufferFree), 2));
    assert_eq!((pool.release(content.lease), pool.check_invariants()), (Ok(()), Ok(())));
}

#[test]
fn request_of_the_host_evicts_what_is_kept_too_long() {
    let mut pool = pool_of_eight(2);
    let [slow, other] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    pool.handle_timeout(0);
    receive(&mut pool, slow, &[1; 200], 56);
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    // The request that waits may not take the place of what is borrowed now.
    let mut now_ns = 0;
    for _ in 0..7 {
        now_ns += 125 * MS;
        pool.handle_timeout(now_ns);
        assert_eq!(pool.poll_notice(), None, "it has not passed its deadline");
    }
    for _ in 0..4 {
        now_ns += 125 * MS;
        pool.handle_timeout(now_ns);
    }
    let notices: Vec<_> = std::iter::from_fn(|| pool.poll_notice()).collect();
    let is_shed = |notice: &Notice| match notice {
        Notice::Receiver { id, actions, .. } => *id == slow && actions.has(Action::Shed),
        _ => false,
    };
    let is_lease = |notice: &Notice| matches!(notice, Notice::Lease { .. });
    assert!(notices.iter().any(is_shed) && notices.iter().any(is_lease), "{notices:?}");
    assert_eq!(pool.check_invariants(), Ok(()));
    // The header cells and the receive buffer are the receivers' own.
    assert!(pool.handle(other, Event::Readable).expect("it is attached").has(Action::Recv));
    assert_eq!(pool.receive_area(other).expect("it is attached").len(), 64);
}

#[test]
fn request_for_a_size_that_is_not_there_is_refused() {
    let mut pool = pool_of_eight(1);
    let free = pool.memory().free_buffers();
    for size_index in [1, 3, u8::MAX] {
        let refused = pool.request_for(&Request { size_index, ..Request::new(0, 0) });
        assert_eq!(refused, Err(SchedulerError::UnknownSize { size_index }.into()));
    }
    assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
}

#[test]
fn host_learns_what_this_pool_has_not() {
    let config = PoolConfig { buffer_bytes: 256, classes: 2, tenants_max: 1, ..PoolConfig::new(8 * 256, 2) };
    let mut pool = Pool::new(&config).expect("it is allowed");
    let tenant = pool.create_tenant(&TenantConfig { cap: 1, ..TenantConfig::default() }).expect("there is room");
    let usual = AttachOptions::new(0, 1);
    let unknown = SchedulerError::UnknownClass { class: 2, classes: 2 };
    assert_eq!(pool.attach(&AttachOptions { class: 2, ..usual }), Err(unknown.into()));
    assert_eq!(pool.stats().receivers, 0);
    let id = pool.attach(&AttachOptions { class: 1, ..usual }).expect("there is room");
    assert_eq!(pool.describe(id).map(|info| (info.class, info.token, info.shed_reason)), Ok((1, 1, None)));
    assert_eq!(pool.set_class(id, 0), Ok(()));
    assert_eq!(pool.set_class(id, 2), Err(SchedulerError::UnknownClass { class: 2, classes: 2 }.into()));
    assert_eq!(pool.describe(id).map(|info| info.class), Ok(0));
    // The table is full once: a notice follows.
    pool.attach(&usual).expect("there is room");
    let full = PoolError::ReceiversFull { receivers_max: 2 };
    assert_eq!(pool.attach(&AttachOptions { notify_if_full: true, ..usual }), Err(full));
    assert_eq!(pool.poll_notice(), None);
    pool.handle(id, Event::Close).expect("it is attached");
    assert_eq!((pool.poll_notice(), pool.poll_notice()), (Some(Notice::Attachable), None));
    // Of its own the host has tenants, and one size.
    let asked = Request { tenant: Some(tenant), ..Request::new(0, 5) };
    let larger = Request { size_index: 1, ..asked };
    assert_eq!(pool.request_for(&larger), Err(SchedulerError::UnknownSize { size_index: 1 }.into()));
    let lease = pool.try_request(&asked).expect("it is allowed").expect("one is free");
    assert_eq!(
        (pool.try_request(&asked), pool.describe_tenant(tenant).map(|info| info.outstanding_units)),
        (Ok(None), Ok(1))
    );
    let (at, bytes) = pool.buffer_area(lease).expect("it is the host's");
    assert_eq!((bytes, pool.buffer(lease).map(|buffer| buffer.as_mut_ptr())), (256, Ok(at.as_ptr())));
    let last = at.as_ptr().wrapping_add(255);
    assert_eq!(pool.lease_of_address(last), Ok(lease));
    assert_eq!(pool.lease_of_address(&raw const bytes as *const u8), Err(PoolError::UnknownAddress));
    let of_receivers = SchedulerError::StaleLease.into();
    assert_eq!(pool.lease_of_address(last.wrapping_add(1)), Err(of_receivers));
    pool.release(lease).expect("it is the host's");
    assert_eq!((pool.lease_of_address(last), pool.check_invariants()), (Err(of_receivers), Ok(())));
}

/// However few buffers the host leaves to receivers, more are free than they keep in reserve, or none would ever come
/// back that is off.
#[test]
fn reserve_is_of_what_receivers_may_have() {
    let reserve = |reserves: u32, cap: u32| {
        let mut config = PoolConfig { buffer_bytes: 256, classes: 2, ..PoolConfig::new(64 * 256, 64) };
        (config.reserves[1], config.class_caps[1]) = (reserves, cap);
        assert!(Pool::new(&config).is_ok());
        config.split().map(|split| (split.header_buffers, split.reserve))
    };
    assert_eq!(reserve(0, u32::MAX), Ok((8, 8)));
    assert_eq!([reserve(0, 40), reserve(24, 64)], [Ok((8, 5)); 2]);
    // Nine they always have, and two more.
    assert_eq!([reserve(0, 11), reserve(53, 64)], [Ok((8, 1)); 2]);
}
