//! The memory that connections cost: resident bytes of a process before and after they are there, as the system counts
//! them (`/proc/self/smaps_rollup`), each case in a process of its own. All of the library is in it: the connection's
//! state, the tables of receivers, and the cells. *Reserved* is what the process may come to use (`VmSize`).
//!
//! *Idle* has never received; *idle again* has received and decoded once; *dripping* has received a part of a frame,
//! which is kept in a cell; *waiting* wants to receive and no memory is free.

mod support;

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::Request;
use demuxbuf_ffi_tests::run;
use serde_json::json;
use support::{Options, Report, child};

/// 1,024 buffers of the default size.
const MEMORY_BYTES: u64 = 1024 * 16_448;
/// There is a cell of 64 bytes for each receiver if the memory has this for each.
const MEMORY_BYTES_EACH: u64 = 512;
const CASES: [(&str, u32); 4] =
    [("idle", 10_000_000), ("idle again", 10_000_000), ("dripping", 1_000_000), ("waiting", 1_000_000)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::read();
    if let [case, connections] = options.child.as_slice() {
        return measure(case, connections.parse()?);
    }
    let columns = ["connections", "count", "resident MiB", "bytes each", "reserved MiB", "reserved each"];
    let mut report = Report::new("memory", &columns, &options);
    report.fact("bytes of the connection's state alone", size_of::<demuxbuf::connection::Connection>());
    for (case, connections) in CASES {
        let connections = options.pick(connections / 500, connections, connections);
        let printed = run(&mut child(case, &[connections.to_string()]));
        let numbers: Vec<f64> = printed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [resident, reserved] = numbers[..] else { return Err(format!("two numbers: {printed}").into()) };
        let (mib, each) = (f64::from(1 << 20), f64::from(connections));
        let cells = [resident / mib, resident / each, reserved / mib, reserved / each].map(|figure| json!(figure));
        report.row([json!(case), json!(connections)].into_iter().chain(cells).collect());
    }
    report.finish();
    Ok(())
}

/// Prints by how many bytes the process has grown: resident and reserved.
fn measure(case: &str, connections: u32) -> Result<(), Box<dyn std::error::Error>> {
    let before = [resident_bytes()?, reserved_bytes()?];
    let least = if case == "dripping" { MEMORY_BYTES_EACH * u64::from(connections) } else { 0 };
    let mut config = PoolConfig::new(MEMORY_BYTES.max(least), connections);
    // What receives whole records takes none while no memory is free.
    config.policy.reads_ahead = case == "waiting";
    let mut pool = Pool::new(&config)?;
    while case == "waiting" && pool.try_request(&Request::new(0, 0))?.is_some() {}
    for token in 0..connections {
        let id = pool.attach(&AttachOptions::new(0, token.into()))?;
        pool.handle(id, Event::done(Action::WantRecv))?;
        match case {
            "idle" => {}
            "idle again" => receive(&mut pool, id, 100, 100)?,
            "dripping" => receive(&mut pool, id, 5, 0)?,
            "waiting" => {
                pool.handle(id, Event::Readable)?;
            }
            other => return Err(format!("no such case: {other}").into()),
        }
    }
    let stats = pool.stats();
    let all = u64::from(connections);
    let is = [stats.received_bytes, stats.consumed_bytes, stats.memory_model.claims];
    let wanted = match case {
        "idle again" => [100 * all, 100 * all, 0],
        "dripping" => [5 * all, 0, 0],
        "waiting" => [0, 0, all],
        _ => [0; 3],
    };
    assert_eq!((stats.receivers, is), (connections, wanted), "it is as the case wants it");
    println!("{} {}", resident_bytes()? - before[0], reserved_bytes()? - before[1]);
    Ok(())
}

fn receive(pool: &mut Pool, id: ReceiverId, bytes: u32, consumed: u32) -> Result<(), Box<dyn std::error::Error>> {
    pool.handle(id, Event::Readable)?;
    pool.receive_area(id)?[..bytes as usize].fill(1);
    pool.handle(id, Event::Received { bytes })?;
    pool.decoded(id, consumed, u32::from(consumed < bytes) * 20)?;
    Ok(())
}

fn resident_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    kilobytes("/proc/self/smaps_rollup", "Rss:")
}

fn reserved_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    kilobytes("/proc/self/status", "VmSize:")
}

fn kilobytes(file: &str, field: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let all = std::fs::read_to_string(file)?;
    let line = all.lines().find_map(|line| line.strip_prefix(field)).ok_or("the system does not report it")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
}
