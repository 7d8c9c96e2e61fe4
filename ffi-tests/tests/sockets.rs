//! The helpers of `include/demuxbuf_posix.h` on loopback TCP (`c/posix`), with a pool that has no memory for partial
//! frames: no client is stuck, wake-ups are bounded by what happened, and every byte is compared.

use demuxbuf_ffi_tests::{Program, run_checks, skip};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// What `posix probe` exits with where the kernel does not count.
const NOT_SUPPORTED: i32 = 77;

/// The program; `None` where the kernel does not wake a host by a mark.
fn program() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let program = Program::new("posix", &["ffi-tests/c/posix/posix.c"]).counted().build();
        let status = Command::new(&program).arg("probe").status().expect("the program that was just built starts");
        if status.code() == Some(NOT_SUPPORTED) {
            skip("receivers that count: the kernel does not wake by SO_RCVLOWAT");
            return None;
        }
        assert!(status.success(), "the probe fails");
        Some(program)
    };
    PROGRAM.get_or_init(build).clone()
}

/// Runs a part of the program.
fn passes(arguments: &[&str]) {
    if let Some(program) = program() {
        println!("{}", run_checks(&program, arguments));
    }
}

#[test]
fn s91_socket_that_ignores_a_mark_does_not_count() {
    passes(&["init"]);
}

/// A small frame behind a large one is received, though the mark of the large one was in force.
#[test]
fn s91_mark_follows_each_frame() {
    passes(&["marks"]);
}

/// A receiver that waits under a mark moves between the threads of a shared pool, and waits for the same frame.
#[test]
fn mark_moves_along() {
    passes(&["moves"]);
}

/// FIN and RST behind a partial frame, with its bytes or later.
#[test]
fn ends_behind_a_partial_frame() {
    passes(&["ends"]);
}

/// A frame that becomes whole between count and poll is received as a whole.
#[test]
fn frame_that_becomes_whole_is_not_full() {
    passes(&["race"]);
}

/// A socket that cannot hold a frame, and no memory for a claim: nothing is reported meanwhile, and the receiver is
/// shed at its deadline.
#[test]
fn full_kernel_ends_at_the_deadline() {
    passes(&["full"]);
}

/// Frames back to back, on sockets with the system's receive buffer and with one that holds two frames: where the
/// kernel will hold no more of a frame, it is received as a claim.
#[test]
fn s92_frames_back_to_back_become_whole() {
    passes(&["back-to-back"]);
}

/// One urgent byte inside of a partial frame on each of 20 connections: nothing is reported while nothing comes.
#[test]
fn s93_urgent_bytes_wake_nothing() {
    passes(&["urgent"]);
}

/// Clients of every kind in each mode that counts: receive buffers from 2 KiB, segments of every size, urgent bytes,
/// ends and resets inside of frames.
#[test]
fn random_clients_are_served() {
    passes(&["random", "500", "1"]);
}

#[test]
#[ignore = "takes some minutes"]
fn ten_thousand_random_clients_are_served() {
    for seed in ["2", "3", "4", "5"] {
        passes(&["random", "2500", seed]);
    }
}
