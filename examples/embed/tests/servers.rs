//! Each server of this folder, and each step of `examples/porting`, under the same load. What is not installed is skipped with a line.

#![allow(clippy::disallowed_methods, reason = "clients wait for the server")]

#[path = "servers/checks.rs"]
mod checks;
#[path = "servers/process.rs"]
mod process;

use process::Server;

/// The tests of one server: how to get it, and what its own options refuse.
macro_rules! server {
    ($name:ident, $server:expr, $refused:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn serves_a_crowd() {
                let _ = $server.map(|server| checks::serves_a_crowd(&server));
            }

            #[test]
            fn outlives_partial_frames() {
                let _ = $server.map(|server| checks::outlives_partial_frames(&server));
            }

            #[test]
            fn sleeps_beside_peers_that_wait() {
                let _ = $server.map(|server| checks::sleeps_beside_peers_that_wait(&server));
            }

            #[test]
            fn sleeps_beside_peers_that_do_not_read() {
                let _ = $server.map(|server| checks::sleeps_beside_peers_that_do_not_read(&server));
            }

            #[test]
            fn refuses_wrong_options() {
                let _ = $server.map(|server| checks::refuses_wrong_options(&server, $refused));
            }
        }
    };
}

/// The same for a step of the porting guide, and what its one-shot polling adds. With the least memory, it has this many
/// buffers.
macro_rules! step {
    ($name:ident, $file:literal, $buffers:literal) => {
        mod $name {
            use super::*;

            server!(server, Server::c(concat!("porting/", $file), &[], &[]), &[(&["--trigger", "edge"], "usage")]);

            #[test]
            fn forgets_waiting_peers_that_reset() {
                let server = Server::c(concat!("porting/", $file), &[], &[]);
                let _ = server.map(|server| checks::forgets_waiting_peers_that_reset(&server, $buffers));
            }
        }
    };
}

server!(
    epoll_level,
    Server::c("embed/c/epoll", &[], &[]),
    &[(&["--trigger", "sideways"], "level|edge"), (&["level"], "usage")]
);
server!(epoll_edge, Server::c("embed/c/epoll", &[], &["--trigger", "edge"]), &[(&["--trigger", ""], "level|edge")]);
server!(libevent, Server::c("embed/c/libevent", &["libevent"], &[]), &[(&["--trigger", "edge"], "usage")]);
step!(own_buffers, "0-own-buffers", 9);
step!(sync, "1-sync", 9);
step!(events, "2-events", 9);
step!(receivers, "3-receivers", 4);
server!(io_uring, Server::c("embed/c/io_uring", &["liburing"], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(libuv, Server::c("embed/c/libuv", &["libuv"], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(mio, Server::rust(env!("CARGO_BIN_EXE_embed-mio"), &[]), &[(&["--threads", "1"], "Usage")]);
server!(tokio, Server::rust(env!("CARGO_BIN_EXE_embed-tokio"), &[]), &[(&["--threads", "1"], "Usage")]);
server!(
    tokio_threads,
    Server::rust(env!("CARGO_BIN_EXE_embed-tokio-threads"), &[]).map(|server| Server { least_kib: 256, ..server }),
    &[(&["--threads", "17"], "16"), (&["--memory-kib", "160"], "need")]
);
