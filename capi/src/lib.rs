//! The `extern "C"` layer: the only one that C sees.
//!
//! Every function checks its pointers, keeps panics on this side of the boundary and translates between Rust results
//! and the numbers of the C API. It holds no rules of its own: those are in [`connection`](demuxbuf::connection),
//! [`pool`](demuxbuf::pool) and [`receiver`](demuxbuf::pool). The header `include/demuxbuf.h` is generated from the
//! docs here; a test fails when it is out of date.
//!
//! # Safety
//!
//! Of every function: pointers are NULL or valid for what the parameter's type says, and no other thread uses the
//! objects meanwhile, unless the function's thread rule says otherwise.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc, reason = "one rule for all, stated above")]

mod any_pool;
mod config;
mod connection;
mod framing;
mod pool;
mod receiver;
mod shared_pool;
mod status;
mod tag;
mod tenant;

pub use config::*;
pub use connection::*;
pub use framing::*;
pub use pool::*;
pub use receiver::*;
pub use shared_pool::*;
pub use status::*;
pub use tenant::*;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; if it panics, `None`. The caller poisons what `body` was working on.
fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        tests::panic_if_told();
        body()
    }))
    .ok()
}

/// As `guarded`, for calls that work on nothing that could be poisoned.
fn guarded_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    guarded(body).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use core::ptr::null_mut;
    use std::path::Path;

    std::thread_local! {
        static IS_TOLD: Cell<bool> = const { Cell::new(false) };
    }

    /// Inside of a guard, where any defect of the library would panic.
    pub(super) fn panic_if_told() {
        assert!(!IS_TOLD.take(), "a defect, for a test");
    }

    /// Runs a call whose guard has to catch a panic.
    fn with_panic<T>(call: impl FnOnce() -> T) -> T {
        IS_TOLD.set(true);
        let result = call();
        assert!(!IS_TOLD.take(), "the call has a guard");
        result
    }

    /// Name and body of each function that C can call, as the source has them.
    fn exported() -> Vec<(String, String)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.ends_with("lib.rs") {
                continue; // It exports nothing, and has the words that are looked for.
            }
            let text = std::fs::read_to_string(path).expect("a source is text");
            for part in text.split("extern \"C\" fn ").skip(1) {
                let (name, rest) = part.split_once('(').expect("a function has parameters");
                let (_, body) = rest.split_once("{\n").expect("a function has a body");
                let (body, _) = body.split_once("\n}\n").expect("a body ends");
                found.push((name.to_owned(), body.to_owned()));
            }
        }
        found
    }

    /// Each function is the call of a guard, or of what is one; only NULL is looked for before.
    #[test]
    #[cfg_attr(miri, ignore)] // it reads files
    fn every_exported_function_is_behind_the_guard() {
        let guards = [
            "guarded(",
            "guarded_or(",
            "with_pool(",
            "with_pool_ref(",
            "with_own_pool(",
            "with_sound_pool(",
            "new_object(",
            "step_fast(",
            "step(",
            "report(",
            "handle(",
        ];
        let exported = exported();
        assert!(exported.len() > 80, "the sources were misread: {} functions", exported.len());
        for (name, body) in exported {
            let is_word = |at: usize| !body[..at].ends_with(|c: char| c == '_' || c.is_ascii_alphanumeric());
            let calls = |guard: &&str| body.match_indices(guard).any(|(at, _)| is_word(at));
            assert!(guards.iter().any(calls), "{name} has no guard:\n{body}");
        }
    }

    #[test]
    fn panic_in_a_call_without_a_pool_is_caught() {
        let mut connection = demuxbuf_connection::default();
        let mut decoder = demuxbuf_h2_decoder::default();
        let next = demuxbuf_h2_next::default();
        let (mut info, mut config) = (demuxbuf_connection_info::default(), core::mem::MaybeUninit::uninit());
        // SAFETY: every pointer is NULL or to a local that lives.
        unsafe {
            for status in [
                with_panic(|| demuxbuf_pool_config_init(config.as_mut_ptr(), 1, 1)),
                with_panic(|| demuxbuf_connection_init(&mut connection, core::ptr::null())),
                with_panic(|| demuxbuf_connection_describe(&connection, &mut info)),
                with_panic(|| demuxbuf_connection_pending(&connection)) as i32,
                with_panic(|| demuxbuf_actions_status(1)),
                with_panic(|| demuxbuf_h2_init(&mut decoder, DEMUXBUF_H2_CLIENT)),
                with_panic(|| demuxbuf_h2_set_max_frame_size(&mut decoder, 16_384)),
                with_panic(|| demuxbuf_h2_accept(&mut decoder, &next)),
                with_panic(|| demuxbuf_h2_check_padding(&next, 0)),
                with_panic(|| demuxbuf_h2_peek(&decoder, core::ptr::null(), 0, &mut demuxbuf_h2_next::default())),
            ] {
                assert_eq!(status, DEMUXBUF_ERR_POISONED);
            }
            assert_eq!(with_panic(|| demuxbuf_connection_recv_max(&connection)), 0);
            assert_eq!(with_panic(|| demuxbuf_connection_buffered_bytes(&connection)), 0);
            assert_eq!(with_panic(|| demuxbuf_connection_capacity(&connection)), 0);
            assert_eq!(with_panic(|| demuxbuf_connection_readable(&mut connection)), DEMUXBUF_ERR_POISONED as u32);
        }
        assert_eq!(with_panic(|| demuxbuf_version()), 0);
        assert!(!with_panic(|| demuxbuf_strerror(0)).is_null());
    }

    #[test]
    fn panic_in_a_free_is_caught() {
        let (mut shards, mut pool) = (null_mut(), null_mut());
        let mut config = core::mem::MaybeUninit::uninit();
        // SAFETY: every pointer is NULL or to a local that lives; what is freed under the panic stays allocated, and is
        // freed once after it.
        unsafe {
            assert_eq!(demuxbuf_pool_config_init(config.as_mut_ptr(), 1, 1), DEMUXBUF_OK);
            let made = || demuxbuf_shared_pool_new(config.as_ptr(), 1, &raw mut shards, null_mut(), 0);
            assert_eq!(with_panic(made), DEMUXBUF_ERR_POISONED);
            assert_eq!(demuxbuf_shared_pool_new(config.as_ptr(), 1, &raw mut shards, null_mut(), 0), DEMUXBUF_OK);
            assert_eq!(with_panic(|| demuxbuf_shared_pool_shard(shards, 0, &raw mut pool)), DEMUXBUF_ERR_POISONED);
            assert_eq!(demuxbuf_shared_pool_shard(shards, 0, &raw mut pool), DEMUXBUF_OK);
            with_panic(|| demuxbuf_pool_free(pool));
            with_panic(|| demuxbuf_shared_pool_free(shards));
            demuxbuf_pool_free(pool);
            demuxbuf_shared_pool_free(shards);
        }
    }
}
