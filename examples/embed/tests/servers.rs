//! Each server of this folder, and each step of `examples/porting`, under the same load. What is not installed is
//! skipped with a line.

#![allow(clippy::disallowed_methods, reason = "clients wait for the server")]

#[path = "servers/checks.rs"]
mod checks;
#[path = "servers/client.rs"]
mod client;
#[path = "servers/process.rs"]
mod process;
#[path = "servers/tls_checks.rs"]
mod tls_checks;

use process::Server;

/// The tests of one server: how to get it, and what its own options refuse.
macro_rules! server {
    ($name:ident, $server:expr, $refused:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn s65_s67_serves_a_crowd() {
                let _ = $server.map(|server| checks::serves_a_crowd(&server));
            }

            #[test]
            fn outlives_partial_frames() {
                let _ = $server.map(|server| checks::outlives_partial_frames(&server));
            }

            #[test]
            fn s72_sleeps_beside_peers_that_wait() {
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

/// The same for a step of the porting guide, and what its one-shot polling adds. With the least memory, it has room for
/// this many partial frames.
macro_rules! step {
    ($name:ident, $file:literal, $holders:literal) => {
        mod $name {
            use super::*;

            server!(server, Server::c(concat!("porting/", $file), &[], &[]), &[(&["--trigger", "edge"], "usage")]);

            #[test]
            fn forgets_waiting_peers_that_reset() {
                let server = Server::c(concat!("porting/", $file), &[], &[]);
                let _ = server.map(|server| checks::forgets_waiting_peers_that_reset(&server, $holders));
            }
        }
    };
}

server!(
    epoll_level,
    Server::c("embed/c/epoll", &[], &[]).map(Server::counting),
    &[(&["--trigger", "sideways"], "level|edge"), (&["level"], "usage")]
);
server!(
    epoll_edge,
    Server::c("embed/c/epoll", &[], &["--trigger", "edge"]).map(Server::counting),
    &[(&["--trigger", ""], "level|edge")]
);
server!(
    poll,
    Server::c("embed/c/poll", &[], &[]).map(Server::counting),
    &[(&["--fold", "yes"], "[--fold]"), (&["--trigger", "level"], "[--fold]")]
);

/// Handlers that pause reading and join frames in place, while the decoder uses the bytes.
#[test]
fn s74_s75_poll_folds_frames_in_place() {
    let _ = Server::c("embed/c/poll", &[], &["--fold"]).map(|server| checks::folds_frames_in_place(&server));
}

server!(
    libevent,
    Server::c("embed/c/libevent", &["libevent"], &[]).map(Server::counting),
    &[(&["--trigger", "edge"], "usage")]
);
step!(own_buffers, "0-own-buffers", 9);
step!(sync, "1-sync", 9);
step!(events, "2-events", 9);
step!(receivers, "3-receivers", 10);
server!(
    io_uring,
    Server::c("embed/c/io_uring", &["liburing"], &[]).map(Server::counting),
    &[(&["--trigger", "edge"], "usage")]
);
server!(io_uring_ring, Server::c("embed/c/io_uring_ring", &["liburing"], &[]), &[(&["--trigger", "edge"], "usage")]);

/// The ring has 64.
#[test]
fn s72_io_uring_ring_sleeps_without_buffers() {
    let _ = Server::c("embed/c/io_uring_ring", &["liburing"], &[])
        .map(|server| checks::sleeps_without_buffers(&server, 64));
}

#[test]
fn io_uring_ring_closes_peers_without_buffers() {
    let _ = Server::c("embed/c/io_uring_ring", &["liburing"], &[])
        .map(|server| checks::closes_peers_without_buffers(&server, 64));
}

server!(libuv, Server::c("embed/c/libuv", &["libuv"], &[]).map(Server::counting), &[(&["--trigger", "edge"], "usage")]);
server!(
    mio,
    Server::rust(env!("CARGO_BIN_EXE_embed-mio"), &[]).map(Server::counting),
    &[(&["--threads", "1"], "Usage")]
);
server!(
    tokio,
    Server::rust(env!("CARGO_BIN_EXE_embed-tokio"), &[]).map(Server::counting),
    &[(&["--threads", "1"], "Usage")]
);
server!(
    tokio_threads,
    Server::rust(env!("CARGO_BIN_EXE_embed-tokio-threads"), &[])
        .map(|server| Server { least_kib: 257, ..server.counting() }),
    &[(&["--threads", "17"], "16"), (&["--threads", "16", "--memory-kib", "160"], "allowed")]
);

/// The tests of records, of a server that speaks TLS: whether it counts them in the kernel, and whether a receive may
/// have to write first.
macro_rules! records {
    ($name:ident, $server:expr, $counts:expr, $writes_first:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn s69_drains_records_of_every_size() {
                let _ = $server.map(|server| tls_checks::drains_records_of_every_size(&server));
            }

            #[test]
            fn s71_waiting_connections_cost_no_record() {
                let _ = $server.map(|server| tls_checks::waiting_connections_cost_no_record(&server));
            }

            #[test]
            fn sleeps_beside_half_records() {
                let _ = $server.map(|server| tls_checks::sleeps_beside_half_records(&server, $counts));
            }

            #[test]
            fn truncation_is_no_end() {
                let _ = $server.map(|server| tls_checks::truncation_is_no_end(&server));
            }

            #[test]
            fn s70_sleeps_beside_key_updates_it_cannot_answer() {
                let check = tls_checks::sleeps_beside_key_updates_it_cannot_answer;
                let _ = $server.map(|server| check(&server, $writes_first));
            }
        }
    };
}

/// OpenSSL on epoll with these options.
fn openssl(options: &'static [&'static str]) -> Option<Server> {
    Server::c("embed/c/openssl", &["openssl"], options).map(Server::with_identity)
}

fn rustls() -> Option<Server> {
    Server::rust(env!("CARGO_BIN_EXE_embed-rustls"), &[]).map(Server::with_identity)
}

server!(
    openssl_level,
    openssl(&[]),
    &[
        (&["--trigger", "sideways"], "level|edge|one-shot|optimistic"),
        (&["--records", "some"], "whole|any|ahead"),
        (&["--socket-kib", "65537"], "65536"),
        (&["--key", "none.pem"], "PEM"),
    ]
);
server!(openssl_edge, openssl(&["--trigger", "edge"]), &[(&["--trigger", "leve"], "level|edge|one-shot|optimistic")]);
server!(
    openssl_one_shot,
    openssl(&["--trigger", "one-shot"]),
    &[(&["--trigger", ""], "level|edge|one-shot|optimistic")]
);
server!(
    openssl_optimistic,
    openssl(&["--trigger", "optimistic"]),
    &[(&["--trigger", "o"], "level|edge|one-shot|optimistic")]
);
server!(openssl_ahead, openssl(&["--records", "ahead"]), &[(&["--records", ""], "whole|any|ahead")]);
server!(mio_rustls, rustls(), &[(&["--key", "none.pem"], "PEM")]);

records!(openssl_level_records, openssl(&[]), true, true);
records!(openssl_edge_records, openssl(&["--trigger", "edge"]), true, true);
records!(openssl_one_shot_records, openssl(&["--trigger", "one-shot"]), true, true);
records!(openssl_optimistic_records, openssl(&["--trigger", "optimistic"]), true, true);
records!(openssl_level_any, openssl(&["--records", "any"]), false, true);
records!(openssl_edge_any, openssl(&["--trigger", "edge", "--records", "any"]), false, true);
records!(openssl_one_shot_any, openssl(&["--trigger", "one-shot", "--records", "any"]), false, true);
records!(openssl_level_ahead, openssl(&["--records", "ahead"]), false, true);
records!(openssl_edge_ahead, openssl(&["--trigger", "edge", "--records", "ahead"]), false, true);
records!(openssl_one_shot_ahead, openssl(&["--trigger", "one-shot", "--records", "ahead"]), false, true);
records!(openssl_optimistic_ahead, openssl(&["--trigger", "optimistic", "--records", "ahead"]), false, true);
records!(rustls_records, rustls(), false, false);

/// The kernel cannot hold some records, and is read as soon as it is full.
#[test]
fn openssl_serves_a_crowd_from_small_sockets() {
    for options in [&["--socket-kib", "0"][..], &["--socket-kib", "0", "--trigger", "edge"]] {
        let _ = openssl(options).map(|server| checks::serves_a_crowd(&server));
    }
}

#[test]
fn half_records_cost_no_read_buffer() {
    let Some((counting, plain)) = openssl(&[]).zip(openssl(&["--records", "any"])) else { return };
    tls_checks::half_records_cost_no_read_buffer(&counting, &plain);
}
