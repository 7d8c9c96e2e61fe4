//! The attack in small: what it writes, and that it fails when honest clients are not served.

use std::path::Path;
use std::process::{Command, Output};

use demuxbuf_demo::relay::{self, Relay};
use demuxbuf_demo::server::Server;
use serde_json::Value;
use tokio::task::spawn_blocking;

/// Runs it in a folder of its own; what it printed, and its report.
fn attack(folder: &Path, arguments: &[&str]) -> (Output, Value) {
    let report = folder.join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_attack"));
    command.args(["--connections", "60", "--honest", "8", "--memory-kib", "129", "--networks", "4", "--no-latency"]);
    command.arg("--json").arg(&report).args(arguments);
    let output = command.output().expect("the attack starts");
    let text = std::fs::read_to_string(&report).expect("the report is at the path of --json");
    let explain = |error| panic!("{error}: {text:?}\n{}", String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_str(&text).unwrap_or_else(explain);
    (output, report)
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} is a number in {value:#}"))
}

#[test]
fn honest_clients_are_served_and_never_shed() {
    serves_and_never_sheds("129", "1");
}

#[test]
fn honest_clients_of_two_threads_are_served_not_shed() {
    serves_and_never_sheds("257", "2");
}

/// With as little memory as these threads need.
fn serves_and_never_sheds(memory_kib: &str, threads: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    // Longer than the frames of attackers may take, and slow clients get the time that they need.
    let seconds = ["--seconds", "4", "--patience", "60", "--attack", "partial-4097"];
    let relay = ["--threads", threads, "--", "--memory-kib", memory_kib];
    let (output, report) = attack(folder.path(), &[&seconds[..], &relay].concat());
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{out}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["passed"], true);
    let held = &report["attacks"][0];
    for part in ["quiet", "coming", "during", "after"] {
        assert_eq!(held[part]["served"], held[part]["sent"], "{part}: {:#}", held[part]);
    }
    assert!(number(held, "/during/sent") >= 8 && number(held, "/attackers_shed") > 0, "{:#}", held["relay"]);
    assert_eq!(number(held, "/during/shed"), 0);
    // No later than `--patience`.
    let full_service_after_ms = held["full_service_after_ms"].as_f64().expect("service is back when they have left");
    assert!(full_service_after_ms < 60_000.0, "{full_service_after_ms} ms");
    for figure in ["longest_claim_ns", "clock_gap_max_ns", "wait_ns_max"] {
        assert!(number(held, &format!("/relay/{figure}")) > 0, "{figure}: {:#}", held["relay"]);
    }
    let by_reason =
        ["shed_at_deadline", "evicted", "shed_for_memory"].map(|reason| number(&held["relay"], &format!("/{reason}")));
    assert_eq!(by_reason.iter().sum::<u64>(), number(held, "/relay/shed"), "{:#}", held["relay"]);
    let shapes = held["shapes"].as_array().expect("the shapes of requests");
    for part in ["quiet_beside", "beside"] {
        assert!(held[part]["max_ms"].is_number(), "the server itself was asked too: {:#}", held[part]);
    }
    assert!(shapes.len() == 8 && shapes.iter().all(|shape| shape["during"]["max_ms"].is_number()), "{shapes:#?}");
    let picture =
        std::fs::read_to_string(folder.path().join("report.svg")).expect("the picture lies beside the report");
    for words in ["60 hostile connections against h2relay", "partial-4097", "with all of them"] {
        assert!(picture.contains(words), "{words:?} is in the picture");
    }
}

#[test]
fn unserved_honest_clients_fail_the_attack() {
    let folder = tempfile::tempdir().expect("a folder");
    // There are fewer places than honest clients: when each of them has had one is up to the machine.
    let more = ["--seconds", "2", "--pairs", "2", "--patience", "60", "--attack", "partial-65"];
    let (output, report) = attack(folder.path(), &[&more[..], &["--", "--connections", "6"]].concat());
    assert_eq!((output.status.code(), &report["passed"]), (Some(1), &Value::Bool(false)));
    assert_eq!(report["attacks"][0]["pairs"].as_array().map(Vec::len), Some(2), "{:#}", report["attacks"][0]["pairs"]);
    let failed = ["coming", "during"].map(|part| number(&report, &format!("/attacks/0/{part}/failed")));
    assert!(failed.iter().sum::<u64>() > 0, "{:#}", report["attacks"][0]["during"]);
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("partial-65: ") && out.contains("lost (the first: "), "{out}");
}

/// Each habit, in a second: honest clients are served beside it, and it connects.
#[test]
fn each_attack_is_carried_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = ["partial", "at-once", "drip", "back-to-back", "leave", "tiny", "burst", "urgent", "announce", "mixed"];
    let attacks: Vec<&str> = names.iter().flat_map(|name| ["--attack", name]).collect();
    let (output, report) = attack(folder.path(), &[&["--seconds", "1", "--patience", "60"], &attacks[..]].concat());
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{out}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let attacks = report["attacks"].as_array().expect("the attacks");
    assert_eq!(attacks.iter().map(|attack| attack["name"].as_str()).collect::<Vec<_>>(), names.map(Some));
    for attack in attacks {
        let connected =
            attack["samples"].as_array().expect("samples").iter().map(|sample| number(sample, "/attackers"));
        assert!(connected.max() > Some(0), "{}", attack["name"]);
        assert!(out.contains(attack["name"].as_str().expect("a name")), "{out}");
    }
}

#[test]
fn overload_has_no_attackers() {
    let folder = tempfile::tempdir().expect("a folder");
    // Most of the 80 clients of the largest step are closed at once.
    let (output, report) =
        attack(folder.path(), &["--seconds", "1", "--attack", "overload", "--", "--connections", "20"]);
    let overload = &report["attacks"][0];
    assert_eq!(["/attackers", "/attackers_shed", "/attackers_closed"].map(|path| number(overload, path)), [0; 3]);
    assert!(number(overload, "/loads/3/lost") > 0, "{:#}", overload["loads"]);
    assert_eq!((output.status.code(), &report["passed"]), (Some(1), &Value::Bool(false)));
}

#[tokio::test]
async fn target_option_reports_what_clients_see() {
    let server = Server::start(1 << 14).expect("the server starts");
    let program = relay::build().expect("the relay is built");
    let arguments = ["--memory-kib", "129"].map(String::from);
    let mut relay = Relay::start(&program, server.address, &arguments).await.expect("the relay starts");
    let target = relay.address.to_string();
    let attacked = spawn_blocking(move || {
        let folder = tempfile::tempdir().expect("a folder");
        let target = ["--target", &target, "--path", "/bytes/100"];
        attack(
            folder.path(),
            &[&target[..], &["--seconds", "4", "--patience", "60", "--attack", "partial-4097"]].concat(),
        )
    });
    let (output, report) = attacked.await.expect("it does not panic");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{out}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(report["target"], relay.address.to_string());
    assert!(out.contains("its buffers and waits are unknown"), "{out}");
    let held = &report["attacks"][0];
    assert_eq!((&held["relay"], &held["samples"][0]["buffers_in_use"]), (&Value::Null, &Value::Null));
    assert_eq!(held["beside"]["max_ms"], Value::Null, "there is no server behind the target");
    assert!(number(held, "/during/sent") >= 8 && held["during"]["served"] == held["during"]["sent"], "{held:#}");
    // Some are shed and leave before they get a GOAWAY.
    let statistics = relay.statistics().await.expect("the relay answers");
    let notified = number(held, "/attackers_shed");
    assert!(0 < notified && notified <= statistics.shed, "{notified} of {} got a GOAWAY", statistics.shed);
}

#[test]
fn missing_target_is_named() {
    for (target, code, error) in [
        ("nowhere", 2, "'nowhere' for '--target <HOST:PORT>'"),
        ("127.0.0.1:1", 1, "attack: 127.0.0.1:1: Connection refused"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_attack"));
        command.args(["--target", target, "--json"]).arg(folder.path().join("report.json"));
        let output = command.output().expect("the attack starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(error), "{err}");
    }
}
