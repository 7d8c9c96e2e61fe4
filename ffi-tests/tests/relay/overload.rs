//! Too few buffers: which client parks, which is shed, which has a share.

use super::crowd::{hold_on, read_to_any_end, serve_once};
use super::frames::*;
use super::harness::*;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

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
        let bench = Bench::start_as(command, &[mode, &["--buffers", "4", "--lease-ms", "100"]].concat());
        let mut attackers: Vec<_> = (0..30).map(|_| bench.pair()).collect();
        begin(&mut attackers, 5000);
        let at_rest = |stats: &Stats| ["connections", "client_buffers_held", "waiting"].map(|key| stats.get(key));
        let stats = bench.relay.wait_for("the last three, with no waiter", |stats| at_rest(stats) == [3, 3, 0]);
        let shed = stats.get("shed");
        assert_eq!((shed, stats.get("sheds_asked"), stats.get("goaway_sent")), (27, 27, 27));
        assert_eq!(stats.get("lease_ms"), 100);
        serve_once(&mut bench.open_pair(), 1);
        // Two or three stay, and have nothing to read.
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
        assert!((10..=27).contains(&lines), "{log}");
        assert!(log.contains("without progress; 5000 bytes buffered"), "{log}");
    }
}

#[test]
fn large_slots_are_used_only_while_others_wait() {
    for (bytes, slots) in [(257, "slots_in_use_1024"), (1025, "slots_in_use_4096"), (4096, "slots_in_use_4096")] {
        let bench = Bench::start(&["--buffers", "16", "--lease-ms", "2000"]);
        let mut attackers: Vec<_> = (0..14).map(|_| bench.pair()).collect();
        begin(&mut attackers, bytes);
        bench.relay.wait_for("the hold", |stats| stats.get("client_buffers_held") == 14);
        // Longer than the quarter of a lease after which they would be asked.
        bench.relay.pass_time(Duration::from_millis(600));
        let stats = bench.relay.stats();
        assert_eq!((stats.get("parks_asked"), stats.get("parked_on_demand")), (0, 0), "no request waits");
        let mut more: Vec<_> = (0..20).map(|_| bench.pair()).collect();
        begin(&mut more, bytes);
        let stats = bench.relay.wait_for("all that may be parked", |stats| stats.get("waiting") == 0);
        assert_eq!((stats.get("shed"), stats.get("connections")), (0, 34), "{bytes}");
        // One buffer is kept for what backends send.
        let (held, parked) = (stats.get("client_buffers_held"), stats.get(slots));
        assert!(held <= 15 && held + parked == 34 && stats.get("parked_on_demand") >= parked, "{bytes}: {stats:?}");
        // Nothing is lost: each frame goes on where it stopped.
        for (client, backend) in attackers.iter_mut().chain(&mut more) {
            client.write_all(&begun()[bytes..]).expect("the relay reads");
            expect(backend, &begun());
        }
        bench.relay.stop();
    }
}

#[test]
fn holder_without_a_slot_is_shed() {
    for mode in POOLS {
        let options = ["--buffers", "8", "--slot-percent", "10", "--lease-ms", "400"];
        let bench = Bench::start(&[mode, &options].concat());
        let mut attackers: Vec<_> = (0..60).map(|_| bench.pair()).collect();
        begin(&mut attackers, 1000);
        let at_rest = |stats: &Stats| {
            let kept = stats.get("slots_in_use") + stats.get("client_buffers_held");
            stats.get("waiting") == 0 && stats.get("connections") == kept && kept + stats.get("shed") == 60
        };
        bench.relay.wait_for("the last one, with no waiter", at_rest);
        let mut honest = bench.open_pair();
        serve_once(&mut honest, 1);
        drop(honest);
        let stats = bench.relay.wait_for("their rest", at_rest);
        // A tenth of the buffers' memory has room for 12 of 1024 bytes and for 3 of 4096; a share of it for each
        // thread.
        let (parked, shed) = (stats.get("parked_on_demand"), stats.get("shed"));
        assert!((14..=15).contains(&parked) && stats.get("slots_in_use") == parked, "{stats:?}");
        assert_eq!((stats.get("connections"), parked + stats.get("client_buffers_held")), (60 - shed, 60 - shed));
        assert!(shed >= 60 - 15 - 7 && stats.get("park_refused") > 0, "{stats:?}");
        let mut whole = 0;
        for (client, backend) in &mut attackers {
            let is_sent = client.write_all(&begun()[1000..]).is_ok();
            let mut seen = vec![0; begun().len()];
            whole += u64::from(is_sent && backend.read_exact(&mut seen).is_ok() && seen == begun());
        }
        // A client that still holds a buffer may be shed for one that goes on.
        let shed = bench.relay.stats().get("shed");
        assert!(whole + shed == 60 && whole >= parked, "{whole} frames went on where they stopped, {shed} were shed");
        drop(attackers);
        bench.relay.stop();
    }
}

#[test]
fn reserve_is_left_to_begun_frames() {
    // The lifeline and slots would keep them from asking for buffers.
    let bench = Bench::start(&["--buffers", "8", "--class-reserve", "6", "--park", "0", "--lease-ms", "0"]);
    let holders = hold_on(&bench, 5, 100);
    let stats = bench.relay.wait_for("the hold", |stats| stats.get("waiting") == 3);
    assert_eq!((stats.get("client_buffers_held"), stats.get("free")), (2, 6));
    drop(holders);
    bench.relay.stop();
}

#[test]
fn tenant_lives_while_it_has_connections() {
    for kind in ["address", "none"] {
        let bench = Bench::start(&["--tenant", kind, "--tenants", "3"]);
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

/// How many holders of buffers must leave before this client is served.
fn releases_needed(bench: &Bench, flood: &mut [(TcpStream, TcpStream)], honest: (TcpStream, TcpStream)) -> usize {
    begin_all(bench, flood);
    let (mut client, mut backend) = honest;
    client.write_all(&client_opening()).expect("the kernel takes it");
    let count = flood.len();
    bench.relay.wait_for("the last one", |stats| stats.get("waiting") == count as u64 - 3 + 1);
    for (released, (client, backend_of_flood)) in (1..).zip(flood) {
        client.write_all(&begun()[100..]).expect("the relay reads");
        expect(backend_of_flood, &[client_opening(), begun()].concat());
        // Each released buffer goes to a waiter, and the honest client passes it on at once.
        let left = (count - released) as u64;
        let figures = |stats: &Stats| ["assigned", "client_buffers_held", "waiting"].map(|key| stats.get(key));
        let is_served = |stats: &Stats| matches!(figures(stats), [0, held, waiting] if held + waiting == left);
        let is_another = |stats: &Stats| matches!(figures(stats), [0, 3, waiting] if 3 + waiting == left + 1);
        let stats = bench.relay.wait_for("the next one", |stats| is_served(stats) || is_another(stats));
        if is_served(&stats) {
            expect(&mut backend, &client_opening());
            return released;
        }
        assert!(!has_arrived(&backend), "it is not served before {released} have gone");
    }
    panic!("it was not served at all");
}

fn begin_all(bench: &Bench, flood: &mut [(TcpStream, TcpStream)]) {
    for (index, (client, _)) in (1..).zip(flood.iter_mut()) {
        client.write_all(&[&client_opening(), &begun()[..100]].concat()).expect("the kernel takes it");
        // One after the other, so that they are served in this order.
        bench.relay.wait_for("its place", |stats| stats.get("client_buffers_held") + stats.get("waiting") == index);
    }
}

#[test]
fn tenant_flood_does_not_delay_another_tenant() {
    for (kind, most, least) in [("none", 20, 18), ("address", 2, 1)] {
        let options = ["--buffers", "4", "--class-reserve", "1", "--park", "0", "--lease-ms", "0", "--tenant", kind];
        let bench = Bench::start(&options);
        let mut flood: Vec<_> = (1..=20).map(|host| bench.pair_from([127, 0, 1, host])).collect();
        let honest = bench.pair_from([127, 0, 2, 1]);
        let releases = releases_needed(&bench, &mut flood, honest);
        assert!((least..=most).contains(&releases), "tenant {kind}: {releases}");
        drop(flood);
        bench.relay.stop();
    }
}

#[test]
fn tenant_by_listener() {
    let mut bench = Bench::start(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--tenant", "listener"]);
    let first = [bench.pair(), bench.pair_from([127, 0, 9, 1])];
    assert_eq!(bench.relay.stats().get("tenants"), 1);
    bench.relay.turn_to_next_address();
    let second = bench.open_pair();
    assert_eq!(bench.relay.stats().get("tenants"), 2);
    drop(first);
    bench.relay.wait_for("one listener's end", |stats| stats.get("tenants") == 1);
    drop(second);
    bench.relay.wait_for("the other's end", |stats| stats.get("tenants") == 0);
    bench.relay.stop();
}
