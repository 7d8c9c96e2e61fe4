//! Which class a receiver's requests are of.

use demuxbuf::connection::Event;
use demuxbuf::pool::PoolConfig;
use demuxbuf::receiver::{ReceiverId, Receivers, ReceiversConfig};

const BEGUN: u8 = 1;

fn handle(receivers: &mut Receivers, id: ReceiverId, events: &[Event]) {
    for &event in events {
        receivers.handle(id, event).expect("the event is allowed");
    }
}

#[test]
fn the_rest_of_a_frame_is_asked_for_in_the_more_critical_class() {
    for (own, begun) in [(0, 0), (BEGUN, BEGUN), (2, BEGUN)] {
        let pool = PoolConfig { classes: 3, ..PoolConfig::new(1, 10) };
        let config = ReceiversConfig { pool, continuation_class: Some(BEGUN), ..ReceiversConfig::new(1, 10) };
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let id = receivers.attach(own, 0).expect("there is room");
        for class in [own, begun] {
            handle(&mut receivers, id, &[Event::Readable]);
            let mut out = [0; 8];
            out[usize::from(class)] = 1;
            assert_eq!(receivers.stats().pool.out_by_class, out, "of a receiver of class {own}");
            handle(&mut receivers, id, &[Event::Received { bytes: 9 }, Event::NeedMore { bytes: 100 }]);
            assert_eq!(receivers.stats().pool.leased, 0, "what has begun is parked");
        }
    }
}
