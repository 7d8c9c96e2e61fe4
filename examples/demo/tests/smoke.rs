//! The demo in small: what it writes, how it ends, and that nothing of it stays behind.

#![allow(clippy::disallowed_methods, reason = "a test that waits for a process needs a clock")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demuxbuf-demo"));
    command.args(arguments);
    command
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} is a number in {value:#}"))
}

#[test]
fn memory_model_serves_all_honest_clients() {
    serves_all_honest_clients("1");
}

#[test]
fn honest_clients_of_two_threads_are_served() {
    serves_all_honest_clients("2");
}

fn serves_all_honest_clients(threads: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("figures.json");
    // On a busy machine each client needs some patience.
    let output = demo(&["--connections", "100", "--memory-kib", "640", "--seconds", "4", "--patience", "60"])
        .args(["--threads", threads])
        .arg("--json")
        .arg(&report)
        .output()
        .expect("the demo starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("On the memory model, all"), "{out}");
    for run in ["run 1 of 3, a buffer each", "run 2 of 3, pool", "run 3 of 3, pool, counting"] {
        assert!(err.contains(run), "{run}: {err}");
    }

    let text = fs::read_to_string(&report).expect("the report is at the path of --json");
    let report: Value = serde_json::from_str(&text).expect("the report is JSON");
    assert_eq!(report["passed"], true);
    assert_eq!(["/connections", "/memory_kib"].map(|path| number(&report, path)), [100, 640]);
    let [each, model, counting] = [0, 1, 2].map(|run| &report["runs"][run]);
    for run in [model, counting] {
        for part in ["before_attack", "attackers_coming", "under_attack"] {
            let requests = &run[part];
            assert_eq!(requests["served"], requests["sent"], "{part}: {requests}");
        }
        assert!(number(run, "/under_attack/sent") >= 16, "every client: {}", run["under_attack"]);
        assert!(run["under_attack"]["p50_ms"].as_f64() <= run["under_attack"]["p99_ms"].as_f64());
    }
    assert!(number(each, "/before_attack/served") >= 16, "every client: {}", each["before_attack"]);
    // Clients that leave find their places taken when they come back: how many do is up to the machine.
    let lost = ["attackers_coming", "under_attack"].map(|part| number(&each[part], "/failed"));
    assert!(lost.iter().sum::<u64>() > 0, "of the clients that left: {lost:?}");

    let figures = |run: &Value, names: [&str; 3]| names.map(|name| number(run, &format!("/relay/{name}")));
    let bytes = 640 * 1024;
    for run in [model, counting] {
        let [connections, keeping, refused] = figures(run, ["connections", "keeping", "refused"]);
        assert!(connections <= 100 && keeping > 0 && refused == 0, "{}", run["relay"]);
    }
    let [connections, keeping, refused] = figures(each, ["connections", "keeping", "refused"]);
    assert!(connections == bytes / (2 * 16448) && keeping == 0 && refused > 0, "{}", each["relay"]);
    for run in [each, model, counting] {
        assert!(number(run, "/relay/memory_bytes") <= bytes, "{}", run["relay"]);
        assert!(number(run, "/resident_bytes") > 0);
        let samples = run["samples"].as_array().expect("samples");
        assert!(samples.len() >= 2, "{} samples in 4 s", samples.len());
        assert!(samples.windows(2).all(|pair| pair[0]["time_s"].as_f64() < pair[1]["time_s"].as_f64()));
        assert!(!run["slowest_ms"].as_array().expect("half seconds").is_empty());
    }

    let picture = fs::read_to_string(folder.path().join("figures.svg")).expect("the picture lies beside the report");
    for words in ["100 half-sent frames in 640 KiB", "a buffer each", "pool, counting", "Honest requests served"] {
        assert!(picture.contains(words), "{words:?} is in the picture");
    }
}

#[test]
fn bad_option_value_starts_nothing() {
    for (arguments, code, error) in [
        (["--memory-kib", "none"], 2, "invalid value 'none' for '--memory-kib <KIB>'"),
        (["--seconds", "0"], 2, "0 is not in 1..=600"),
        (["--json", "/proc/no/report.json"], 1, "demo: /proc/no"),
        (["--json", "/"], 2, "it must name a file"),
    ] {
        let output = demo(&arguments).output().expect("the demo starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(error), "{arguments:?}: {err}");
        assert!(!err.contains("building"), "{arguments:?}: {err}");
    }
}

#[test]
fn missing_compiler_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let output = demo(&["--json"]).arg(&report).env("CC", "no-such-compiler").output().expect("the demo starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("\"no-such-compiler\"") && err.contains("No such file") && !err.contains("panicked"), "{err}");
}

#[test]
fn interrupt_ends_the_relay_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = demo(&["--connections", "5", "--seconds", "600", "--json"])
        .arg(folder.path().join("report.json"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let running = lines.by_ref().find(|line| line.starts_with("run 1 of 3"));
    let children = children(process.id());
    kill_process(Pid::from_child(&process), Signal::TERM).expect("the demo runs");
    let status = process.wait().expect("the demo ends");

    assert!(running.is_some(), "the first run began");
    assert_eq!(status.code(), Some(130));
    let [relay] = children[..] else { panic!("one relay: {children:?}") };
    // A killed process stays in the table until its new parent has waited for it.
    let is_gone = |relay| test_kill_process(relay).is_err() || is_dead(relay);
    let since = Instant::now();
    while !is_gone(relay) {
        assert!(since.elapsed() < Duration::from_secs(60), "the relay has not ended");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn children(parent: u32) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("the demo runs");
    text.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().expect("ids are numbers"))).collect()
}

fn is_dead(process: Pid) -> bool {
    let path = format!("/proc/{}/stat", process.as_raw_nonzero());
    fs::read_to_string(Path::new(&path)).map_or(true, |stat| stat.contains(") Z "))
}
