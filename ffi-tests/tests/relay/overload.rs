//! Too few buffers: which client parks, which is shed, which has a share.

use super::crowd::{PART_BYTES, are_settled, large, read_to_any_end, serve_once};
use super::frames::*;
use super::harness::*;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame of which clients send a part and stay.
fn begun() -> Vec<u8> {
    frame(HEADERS, 0, 1, &[1; 8000])
}

/// A client of each of these pairs sends the beginning of a frame.
fn begin(pairs: &mut [(TcpStream, TcpStream)], bytes: usize) {
    for (client, backend) in pairs {
        pass(client, backend, &client_opening());
        client.write_all(&begun()[..bytes]).expect("the relay, or the kernel, takes it");
    }
}

#[test]
fn shed_client_gets_goaway_and_a_log_line() {
    for mode in POOLS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let mut command = command();
        command.stderr(File::create(&log).expect("a file"));
        let bench = Bench::start_as(command, &[&with_little(mode)[..], &["--grace-ms", "100"]].concat());
        let mut attackers: Vec<_> = (0..40).map(|_| bench.pair()).collect();
        begin(&mut attackers, 5000);
        let at_rest = |stats: &Stats| {
            let [connections, shed, waiting] = ["connections", "shed", "waiting"].map(|key| stats.get(key));
            shed >= 15 && connections + shed == 40 && waiting == 0
        };
        let stats = bench.relay.wait_for("the last ones, with no waiter", at_rest);
        let shed = stats.get("shed");
        assert_eq!((stats.get("goaway_sent"), stats.get("grace_ms")), (shed, 100));
        serve_once(&mut bench.open_pair(), 1);
        // The others stay, and have nothing to read.
        let (start, mut notified) = (Instant::now(), 0);
        while notified < shed {
            assert!(start.elapsed() < PATIENCE, "{notified} of {shed} got a GOAWAY");
            attackers.retain_mut(|(client, backend)| {
                if !has_arrived(client) {
                    return true;
                }
                let settings = Frame { kind: SETTINGS, flags: 0, stream: 0, payload: vec![] };
                assert_eq!(Frame::read(client), Some(settings));
                let farewell = Frame::read(client).expect("a second frame");
                assert_eq!(farewell.goaway(), Some((0, ENHANCE_YOUR_CALM)), "{farewell:?}");
                assert!(read_to_any_end(client) && read_to_any_end(backend), "both sides are closed");
                notified += 1;
                false
            });
        }
        bench.relay.stop();
        let log = std::fs::read_to_string(&log).expect("text");
        // At most ten lines a second; the first line of the next second would count the missing ones.
        let lines = log.lines().filter(|line| line.contains("shed client 127.0.0.1 port ")).count();
        assert!((5..=30).contains(&lines), "{log}");
        let reasons = ["was not whole at its deadline", "was kept beyond its deadline"];
        assert!(reasons.iter().any(|reason| log.contains(reason)), "{log}");
    }
}

#[test]
fn partial_frames_of_each_size_go_on() {
    for mode in POOLS {
        for bytes in [65, 257, 1025, 4097] {
            let bench = Bench::start(mode);
            let mut attackers: Vec<_> = (0..34).map(|_| bench.pair()).collect();
            begin(&mut attackers, bytes);
            let all = 34 * bytes as u64;
            bench.relay.wait_for("partial frames", |stats| stats.get("receive_bytes_used") == all);
            for (client, backend) in &mut attackers {
                client.write_all(&begun()[bytes..]).expect("the relay reads");
                expect(backend, &begun());
            }
            assert_eq!(bench.relay.stop().get("shed"), 0);
        }
    }
}

#[test]
fn partial_frames_go_on_or_are_shed() {
    for mode in POOLS {
        let bench = Bench::start(&[&with_little(mode)[..], &["--grace-ms", "400"]].concat());
        let mut attackers: Vec<_> = (0..60).map(|_| bench.pair()).collect();
        begin(&mut attackers, 5000);
        bench.relay.wait_for("sheds", |stats| stats.get("shed") >= 20);
        serve_once(&mut bench.open_pair(), 1);
        let mut whole = 0;
        for (client, backend) in &mut attackers {
            let is_sent = client.write_all(&begun()[5000..]).is_ok();
            let mut seen = vec![0; begun().len()];
            whole += u64::from(is_sent && backend.read_exact(&mut seen).is_ok() && seen == begun());
        }
        // A client that has waited may be shed for one that goes on.
        let shed = bench.relay.stats().get("shed");
        assert!(whole + shed == 60 && whole > 0, "{whole} frames went on where they stopped, {shed} were shed");
        drop(attackers);
        bench.relay.stop();
    }
}

#[test]
fn tenant_lives_while_it_has_connections() {
    for (kind, threads) in [("address", "1"), ("none", "1"), ("address", "3")] {
        let bench = Bench::start(&["--tenant", kind, "--tenants", "3", "--threads", threads]);
        let first = [bench.pair_from([127, 0, 1, 1]), bench.pair_from([127, 0, 1, 200])];
        let others: Vec<_> = (2..7).map(|net| bench.pair_from([127, 0, net, 1])).collect();
        let expected = |count| if kind == "none" { 0 } else { count };
        bench.relay.wait_for("as many as there may be", |stats| stats.get("tenants") == expected(3));
        // Clients without a place for their tenant are served as the default tenant.
        for (mut client, mut backend) in others {
            pass(&mut client, &mut backend, &client_opening());
        }
        let alone = |stats: &Stats| stats.get("connections") == 2;
        assert_eq!(bench.relay.wait_for("the first", alone).get("tenants"), expected(1));
        let [first, second] = first;
        drop(first);
        bench.relay.wait_for("one connection", |stats| stats.get("connections") == 1);
        assert_eq!(bench.relay.stats().get("tenants"), expected(1));
        drop(second);
        assert_eq!(bench.relay.wait_for("no connection", |stats| stats.get("connections") == 0).get("tenants"), 0);
        bench.relay.stop();
    }
}

/// Each sends the part, one after the other, so that they are served in this order.
fn send_parts(bench: &Bench, flood: &mut [(TcpStream, TcpStream)]) {
    for (count, (client, backend)) in (1..).zip(flood) {
        pass(client, backend, &client_opening());
        client.write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
        bench.relay.wait_for("its place", |stats| are_settled(stats, count));
    }
}

/// How many clients of the flood must end their frames before this client is served, which has sent a whole one.
fn releases_needed(bench: &Bench, flood: &mut [(TcpStream, TcpStream)], honest_backend: &mut TcpStream) -> u64 {
    let count = flood.len() as u64;
    bench.relay.wait_for("the last one", |stats| are_settled(stats, count + 1));
    for (released, (client, backend)) in (1..).zip(flood) {
        client.write_all(&large()[PART_BYTES as usize..]).expect("the relay reads");
        expect(backend, &large());
        let left = count - released;
        bench.relay.wait_for("the next one", |stats| are_settled(stats, left) || are_settled(stats, left + 1));
        if has_arrived(honest_backend) {
            expect(honest_backend, &large());
            return released;
        }
    }
    panic!("it was not served at all");
}

#[test]
fn tenant_flood_does_not_delay_another_tenant() {
    for kind in ["none", "address"] {
        let bench = Bench::start(&[LITTLE, &["--tenant", kind]].concat());
        let mut flood: Vec<_> = (1..=20).map(|host| bench.pair_from([127, 0, 1, host])).collect();
        let (mut client, mut backend) = bench.pair_from([127, 0, 2, 1]);
        send_parts(&bench, &mut flood);
        pass(&mut client, &mut backend, &client_opening());
        client.write_all(&large()).expect("the kernel takes it");
        if kind == "address" {
            // At once: the flood's tenant holds more than twice as much, and the first of it is shed. No other is.
            expect(&mut backend, &large());
            let is_rest = |stats: &Stats| are_settled(stats, 19) && stats.get("connections") == 20;
            let stats = bench.relay.wait_for("the rest of the flood", is_rest);
            assert_eq!(["evicted", "shed"].map(|key| stats.get(key)), [1; 2], "{stats:?}");
            let farewell = std::iter::from_fn(|| Frame::read(&mut flood[0].0)).find_map(|frame| frame.goaway());
            assert_eq!(farewell, Some((0, ENHANCE_YOUR_CALM)));
        } else {
            let releases = releases_needed(&bench, &mut flood, &mut backend);
            assert!((8..=20).contains(&releases), "{releases}");
            assert_eq!(bench.relay.stats().get("shed"), 0);
        }
        drop(flood);
        bench.relay.stop();
    }
}

#[test]
fn tenant_by_listener() {
    for threads in ["1", "2"] {
        by_listener(threads);
    }
}

fn by_listener(threads: &str) {
    let listeners = ["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--tenant", "listener"];
    let mut bench = Bench::start(&[&listeners[..], &["--threads", threads]].concat());
    let first = [bench.pair(), bench.pair_from([127, 0, 9, 1])];
    // The relay connects to the backend before it looks for the tenant.
    bench.relay.wait_for("one tenant", |stats| stats.get("tenants") == 1);
    bench.relay.turn_to_next_address();
    let second = bench.open_pair();
    assert_eq!(bench.relay.stats().get("tenants"), 2);
    drop(first);
    bench.relay.wait_for("one listener's end", |stats| stats.get("tenants") == 1);
    drop(second);
    bench.relay.wait_for("the other's end", |stats| stats.get("tenants") == 0);
    bench.relay.stop();
}
