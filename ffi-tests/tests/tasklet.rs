//! A C host that works as big proxies do (`c/tasklet/`): a run queue of tasklets, read interest that is off after
//! its first report, optimistic receives, its own wrapping rings and its own pool. It uses the state machine alone,
//! through `sync`, plays the scenarios, and checks after every call that the machine and it agree.

use demuxbuf_ffi_tests::{Program, root, run};
use std::process::Command;

/// The scenarios that the host must have played, in its order.
const PLAYED: [&str; 39] = [
    "s01",
    "s02",
    "s03",
    "s04",
    "s05",
    "s06",
    "s07",
    "s08",
    "s09",
    "s12",
    "s13",
    "s17",
    "s18",
    "s20",
    "s21",
    "s22",
    "s23",
    "s24",
    "s25",
    "s26",
    "s27",
    "s28",
    "s29",
    "s30",
    "s31",
    "s32",
    "s33",
    "s34",
    "s35",
    "s36",
    "s37",
    "s38",
    "s39",
    "s40",
    "s41",
    "s44",
    "soak",
    "sockets",
    "low_water",
];

fn sources() -> Vec<String> {
    let folder = "ffi-tests/c/tasklet";
    let files = std::fs::read_dir(root().join(folder)).expect("the folder of the host exists");
    let names =
        files.map(|file| file.expect("a folder can be read").file_name().into_string().expect("names are ASCII"));
    let mut sources: Vec<_> =
        names.filter(|name| name.ends_with(".c")).map(|name| format!("{folder}/{name}")).collect();
    sources.sort();
    sources
}

#[test]
fn tasklet_host_plays_every_scenario() {
    let sources = sources();
    let sources: Vec<_> = sources.iter().map(String::as_str).collect();
    let program = Program::new("tasklet", &sources).counted().build();
    for seed in ["0", "1"] {
        let printed = run(Command::new(&program).arg(seed));
        let played: Vec<_> = printed.lines().map(|line| line.strip_suffix(" ok").expect("NAME ok")).collect();
        assert_eq!(played, PLAYED);
    }
}
