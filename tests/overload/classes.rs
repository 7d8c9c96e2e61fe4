//! Classes of a receiver's requests, and the classes, reserves and tenants that a pool may be configured with.

use demuxbuf::connection::Event;
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{Scheduler, SchedulerConfig, SchedulerError};

const BEGUN: u8 = 1;

fn handle(pool: &mut Pool, id: ReceiverId, events: &[Event]) {
    for &event in events {
        pool.handle(id, event).expect("the event is allowed");
    }
}

#[test]
fn partial_frame_requests_the_more_critical_class() {
    for (own, begun) in [(0, 0), (BEGUN, BEGUN), (2, BEGUN)] {
        let scheduler = SchedulerConfig { classes: 3, ..SchedulerConfig::new(1, 10) };
        let config = PoolConfig { scheduler, continuation_class: Some(BEGUN), ..PoolConfig::new(1, 10) };
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let id = pool.attach(&AttachOptions::new(own, 0)).expect("there is room");
        for class in [own, begun] {
            handle(&mut pool, id, &[Event::Readable]);
            let mut out = [0; 8];
            out[usize::from(class)] = 1;
            assert_eq!(pool.stats().scheduler.outstanding_by_class, out, "of a receiver of class {own}");
            handle(&mut pool, id, &[Event::Received { bytes: 9 }, Event::NeedMore { bytes: 100 }]);
            assert_eq!(pool.stats().scheduler.leased, 0, "the partial frame is parked");
        }
    }
}

#[test]
fn class_config_error_names_what_is_allowed() {
    let reserve = |class: usize, buffers| {
        let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(5, 10) };
        config.reserves[class] = buffers;
        config
    };
    Scheduler::new(&reserve(1, 4)).expect("one is left");
    let many_tenants = SchedulerConfig { tenants_max: 0x0fff_ffff, ..SchedulerConfig::new(5, 10) };
    for (config, text) in [
        (reserve(1, 5), "reserves[1] is 5; allowed is 0 to 4"),
        (reserve(2, 1), "reserves[2] is 1; allowed is 0 to 0"),
        (SchedulerConfig::new(5, 0x2000_0000), "waiters_max is 536870912; allowed is 0 to 536870911"),
        (many_tenants, "tenants_max is 268435455; allowed is 0 to 67108862"),
    ] {
        assert_eq!(Scheduler::new(&config).expect_err("it is outside").to_string(), text);
    }
}

#[test]
fn class_error_names_request_and_limit() {
    let text = SchedulerError::UnknownClass { class: 5, classes: 3 }.to_string();
    assert_eq!(text, "class is 5; allowed is 0 to 2");
}
