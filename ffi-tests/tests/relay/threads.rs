//! Several event loops on one pool.

use super::crowd::{PART_BYTES, are_settled, large, serve_once};
use super::frames::*;
use super::harness::*;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Command, Stdio};

#[test]
fn threads_release_reaches_a_waiter_of_another() {
    // The least memory: 24 buffers.
    let bench = Bench::start(&["--threads", "3", "--memory-kib", "386"]);
    let mut pairs: Vec<_> = (0..60).map(|_| bench.pair()).collect();
    for (client, backend) in &mut pairs {
        pass(client, backend, &client_opening());
        client.write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
    }
    bench.relay.wait_for("the hold", |stats| stats.get("waiting") >= 36 && are_settled(stats, 60));
    // Each holder releases its buffer in turn: each client is served, on whichever thread it is. No clock would help:
    // the grace is an hour.
    for (client, _) in &mut pairs {
        client.write_all(&large()[PART_BYTES as usize..]).expect("the relay, or the kernel, takes it");
    }
    for (_, backend) in &mut pairs {
        expect(backend, &large());
    }
    let stats = bench.relay.wait_for("the end of all waits", |stats| are_settled(stats, 0));
    assert!(stats.get("wakes") > 0, "all were on one thread: {stats:?}");
    assert_eq!(["threads", "requests", "shed"].map(|key| stats.get(key)), [3, 60, 0]);
    assert!(stats.get("claims") >= 36 && stats.get("leased_peak") <= 24, "{stats:?}");
    bench.relay.stop();
}

#[test]
fn threads_all_serve_and_statistics_sum() {
    const CLIENTS: usize = 16;
    const ROUNDS: u32 = 40;
    let bench = Bench::start(&["--threads", "4", "--memory-kib", "514"]);
    let mut pairs: Vec<_> = (0..CLIENTS).map(|_| bench.open_pair()).collect();
    std::thread::scope(|scope| {
        for (seed, pair) in pairs.iter_mut().enumerate() {
            scope.spawn(move || {
                let body = super::large_body(seed as u64, 50_000);
                for stream in 0..ROUNDS {
                    serve_once(pair, 3 + stream * 2);
                    let (client, backend) = pair;
                    pass(client, backend, &body);
                    pass(backend, client, &body);
                }
            });
        }
        // Meanwhile others come and go, and the statistics are asked for.
        for _ in 0..20 {
            serve_once(&mut bench.open_pair(), 1);
            let stats = bench.relay.stats();
            assert!(stats.get("leased") + stats.get("assigned") <= 32, "{stats:?}");
        }
    });
    drop(pairs);
    let stats = bench.relay.stop();
    assert_eq!(stats.get("connections_total"), CLIENTS as u64 + 20);
    assert_eq!(stats.get("requests"), (CLIENTS as u64 * u64::from(ROUNDS)) + 20);
    assert_eq!((stats.get("dropped_bytes"), stats.get("protocol_errors"), stats.get("shed")), (0, 0, 0));
    assert!((4..=32).contains(&stats.get("leased_peak")), "{stats:?}");
}

/// While clients of both threads wait for room, the end of one thread hands its buffers to the other.
#[test]
fn threads_end_while_clients_wait() {
    let bench = Bench::start(&[&with_little(POOLS[2])[..], &["--grace-ms", "3600000"]].concat());
    let mut pairs: Vec<_> = (0..40).map(|_| bench.open_pair()).collect();
    for (client, _) in &mut pairs {
        client.write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
    }
    bench.relay.wait_for("waiters", |stats| stats.get("waiting") >= 4);
    // Nothing is held or assigned at rest.
    bench.relay.stop();
}

#[test]
fn port_that_is_taken_is_refused() {
    let bench = Bench::start(&[]);
    let taken = bench.relay.address().to_string();
    let output = command().args(["--backend", "127.0.0.1:1", "--listen", &taken]).output().expect("the relay starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot listen"), "{output:?}");
    bench.relay.stop();
}

/// A tenant that floods is the same on each thread: its clients are shed, whichever thread they are on, and no other
/// is.
#[test]
fn threads_share_tenants() {
    let bench =
        Bench::start(&["--threads", "2", "--memory-kib", "257", "--grace-ms", "3600000", "--tenant", "address"]);
    let mut flood: Vec<_> = (1..=40).map(|host| bench.pair_from([127, 0, 1, host])).collect();
    for (client, backend) in &mut flood {
        pass(client, backend, &client_opening());
        client.write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
    }
    bench.relay.wait_for("the flood", |stats| are_settled(stats, 40));
    let mut others: Vec<_> = (2..8).map(|net| bench.pair_from([127, 0, net, 1])).collect();
    bench.relay.wait_for("the tenants of all", |stats| stats.get("tenants") == 7);
    for (client, backend) in &mut others {
        pass(client, backend, &client_opening());
        client.write_all(&large()).expect("the kernel takes it");
        expect(backend, &large());
    }
    drop(others);
    drop(flood);
    bench.relay.wait_for("the end", |stats| stats.get("connections") == 0 && stats.get("tenants") == 0);
    bench.relay.stop();
}

/// The descriptors that a relay with this many threads has, once it listens.
fn descriptors_of(threads: usize) -> BTreeSet<usize> {
    let unused = "127.0.0.1:1".parse().expect("an address");
    let relay = Relay::start_as(Command::new(program()), unused, &["--threads", &threads.to_string()]);
    let descriptors = relay.descriptors();
    relay.stop();
    descriptors
}

/// The first of these limits with which a relay with this many threads starts; with those before it prints the reason.
fn enough_descriptors(threads: usize, limits: Range<usize>) -> usize {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for limit in limits {
        let log = folder.path().join(limit.to_string());
        let mut few = Command::new("sh");
        few.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).arg(program());
        few.args(["--quiet", "--backend", "127.0.0.1:1", "--threads", &threads.to_string()]);
        let mut child =
            few.stdout(Stdio::piped()).stderr(File::create(&log).expect("a file")).spawn().expect("sh starts");
        let mut printed = String::new();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout).read_line(&mut printed).expect("it prints where it listens, or ends");
        if !printed.is_empty() {
            kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
            assert_eq!(child.wait().expect("it ends").code(), Some(0), "{limit}");
            return limit;
        }
        assert_eq!(child.wait().expect("it ends").code(), Some(1), "{limit}");
        let message = std::fs::read_to_string(&log).expect("text");
        assert!(message.contains("h2relay: ") && message.contains("Too many open files"), "{limit}: {message}");
    }
    panic!("it never started");
}

#[test]
fn threads_that_cannot_start_end_the_relay() {
    const THREADS: usize = 8;
    // Those of all threads but the first. Some numbers in between may belong to the process that started this test.
    let (first, all) = (descriptors_of(1), descriptors_of(THREADS));
    let more: BTreeSet<_> = all.difference(&first).collect();
    assert!(more.len() >= 2 * (THREADS - 1), "each thread has a loop and a socket of its own: {first:?} {all:?}");
    let last = **more.last().expect("they have some");
    // From just enough for one thread on, each of these is missing once.
    let enough = enough_descriptors(1, 6..last);
    assert!((7..=last - more.len() + 1).contains(&enough), "{enough} are enough for one thread: {first:?} {all:?}");
    assert_eq!(enough_descriptors(THREADS, enough..100), last + 1, "{all:?}");
}
