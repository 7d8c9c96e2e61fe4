//! Receive cycles in Rust, for `scripts/cycle.sh` to count: `cycle COUNT`.

use demuxbuf::connection::{Action, Event};
use demuxbuf::receiver::{Receivers, ReceiversConfig};
use std::hint::black_box;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u64 = std::env::args().nth(1).ok_or("usage: cycle COUNT")?.parse()?;
    let mut receivers = Receivers::new(&ReceiversConfig::new(4, 4))?;
    let id = receivers.attach(0, 0)?;
    receivers.handle(id, Event::done(Action::WantRecv))?;
    for _ in 0..count {
        receivers.handle(id, Event::Readable)?;
        black_box(receivers.receive_area(id)?);
        receivers.handle(id, Event::Received { bytes: 100 })?;
        black_box(receivers.data(id)?);
        receivers.decoded(id, 100, 0)?;
    }
    let pool = receivers.stats().pool;
    assert_eq!((pool.granted_at_once, pool.released, pool.leased), (count, count, 0), "each cycle takes and releases");
    Ok(())
}
