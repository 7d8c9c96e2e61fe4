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

server!(
    epoll_level,
    Server::c("embed/c/epoll", &[], &[]),
    &[(&["--trigger", "sideways"], "level|edge"), (&["level"], "usage")]
);
server!(epoll_edge, Server::c("embed/c/epoll", &[], &["--trigger", "edge"]), &[(&["--trigger", ""], "level|edge")]);
server!(libevent, Server::c("embed/c/libevent", &["libevent"], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(own_buffers, Server::c("porting/0-own-buffers", &[], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(sync, Server::c("porting/1-sync", &[], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(events, Server::c("porting/2-events", &[], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(receivers, Server::c("porting/3-receivers", &[], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(io_uring, Server::c("embed/c/io_uring", &["liburing"], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(libuv, Server::c("embed/c/libuv", &["libuv"], &[]), &[(&["--trigger", "edge"], "usage")]);
server!(mio, Server::rust(env!("CARGO_BIN_EXE_embed-mio"), &[]), &[(&["--threads", "1"], "Usage")]);
server!(tokio, Server::rust(env!("CARGO_BIN_EXE_embed-tokio"), &[]), &[(&["--threads", "1"], "Usage")]);
server!(
    tokio_threads,
    Server::rust(env!("CARGO_BIN_EXE_embed-tokio-threads"), &[]).map(|server| Server { least_kib: 256, ..server }),
    &[(&["--threads", "17"], "16"), (&["--memory-kib", "160"], "need")]
);
