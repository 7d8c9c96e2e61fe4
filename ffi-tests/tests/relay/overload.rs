//! Too few buffers: which client parks, which is shed, which has a share.

use super::crowd::{read_to_any_end, serve_once};
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
        let mut attackers: Vec<_> = (0..30).map(|_| bench.pair()).collect();
        begin(&mut attackers, 5000);
        let at_rest = |stats: &Stats| {
            let [connections, shed, waiting] = ["connections", "shed", "waiting"].map(|key| stats.get(key));
            shed >= 15 && connections + shed == 30 && waiting == 0
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
        let reason = if mode.contains(&"--threads") { "beyond its deadline" } else { "not whole at its deadline" };
        assert!(log.contains(reason), "{log}");
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
