//! What stands between C and the core: NULL, poison, threads and panics.

use super::any_pool::AnyPool;
use super::status::*;
use super::tag::Tag;
use core::cell::Cell;
use demuxbuf::alloc_util::TryArc;
use demuxbuf::pool::FastPath;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A pool: buffers, cells for partial frames, a queue of requests, and the receivers that use them. Made by
/// `demuxbuf_pool_new` for one thread at a time, or by `demuxbuf_shared_pool_shard` for one of the threads that
/// share its buffers.
#[allow(non_camel_case_types)]
pub struct demuxbuf_pool {
    inner: AnyPool,
    /// A call that only reads may find a defect, too.
    poisoned: Cell<bool>,
    /// The mark of the one thread that may use the pool; 0 for any thread, one at a time. Never changed.
    owner: usize,
    /// Dropped last: until then no other pool has it.
    _tag: TryArc<Tag>,
}

impl demuxbuf_pool {
    /// A pool with this tag, which no other pool in the process has.
    pub(super) fn new(mut inner: AnyPool, tag: TryArc<Tag>) -> demuxbuf_pool {
        inner.salt(tag.salt());
        demuxbuf_pool { inner, poisoned: Cell::new(false), owner: 0, _tag: tag }
    }

    /// The same pool, for the calling thread alone.
    pub(super) fn bound_to_this_thread(self) -> demuxbuf_pool {
        demuxbuf_pool { owner: thread_mark(), ..self }
    }
}

/// A number that no other living thread has: the address of a variable of its own.
fn thread_mark() -> usize {
    std::thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| core::ptr::from_ref(mark).addr())
}

/// Runs `body`; `None` if it panics. The caller poisons what `body` was working on.
#[inline(always)]
pub(super) fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        tests::panic_if_armed();
        body()
    }))
    .ok()
}

/// As `guarded`, for calls that work on nothing that could be poisoned.
pub(super) fn guarded_or<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    guarded(body).unwrap_or(otherwise)
}

/// A pool as C passes it, for one call.
#[derive(Clone, Copy)]
pub(super) struct InPool(*mut demuxbuf_pool);

impl InPool {
    /// # Safety
    ///
    /// `pool` is NULL, or was made by this library and is not freed until the call returns. Of a pool that is bound to
    /// a thread, other threads call `with_own` at most, which refuses them. Any other pool is used by no other
    /// thread meanwhile.
    #[inline(always)]
    pub(super) unsafe fn new(pool: *const demuxbuf_pool) -> InPool {
        InPool(pool.cast_mut())
    }

    /// Runs `body` on a pool that is neither NULL nor poisoned.
    #[inline(always)]
    pub(super) fn with<T>(self, body: impl FnOnce(&mut AnyPool) -> Result<T, i32>) -> Result<T, i32> {
        if cfg!(debug_assertions) {
            self.check_thread()?;
        }
        let (inner, poisoned) = self.parts().ok_or(DEMUXBUF_ERR_NULL)?;
        unless_poisoned(inner, poisoned, body)
    }

    /// As `with`, for a fast path, in which nothing can panic: `None` for NULL. A poisoned pool has no fast path, since
    /// what poisons it closes that.
    #[inline(always)]
    pub(super) fn fast<T>(self, body: impl FnOnce(FastPath<'_>) -> Option<T>) -> Option<T> {
        if cfg!(debug_assertions) && self.check_thread().is_err() {
            return None;
        }
        #[cfg(test)]
        if tests::is_armed() {
            return None;
        }
        body(self.parts()?.0.fast_path())
    }

    /// As `with`, for a fast path: `None` for a pool that may not be used, and the slow path reports why.
    #[inline(always)]
    pub(super) fn with_sound<T>(self, body: impl FnOnce(&mut AnyPool) -> Option<T>) -> Result<Option<T>, i32> {
        if cfg!(debug_assertions) && self.check_thread().is_err() {
            return Ok(None);
        }
        match self.parts() {
            Some((inner, poisoned)) if !poisoned.get() => unless_poisoned(inner, poisoned, |inner| Ok(body(inner))),
            _ => Ok(None),
        }
    }

    /// What the owner uses of a pool that is not NULL. There is no reference to the whole: `owner` may be read by other
    /// threads meanwhile.
    #[inline(always)]
    fn parts<'a>(self) -> Option<(&'a mut AnyPool, &'a Cell<bool>)> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: not NULL, so alive until the call returns, and other threads read at most `owner`, by the rule of
        // `new`. The two fields do not overlap. On this thread the references of one call of `with` end before the
        // next: nothing that it runs is given the pointer.
        Some(unsafe { (&mut (*self.0).inner, &(*self.0).poisoned) })
    }

    /// As `with`, for calls that only read.
    pub(super) fn look<T>(self, body: impl FnOnce(&AnyPool) -> Result<T, i32>) -> Result<T, i32> {
        self.with(|pool| body(pool))
    }

    /// As `with`, for calls that are so rare that checking the thread costs nothing.
    pub(super) fn with_own<T>(self, body: impl FnOnce(&mut AnyPool) -> Result<T, i32>) -> Result<T, i32> {
        self.check_thread()?;
        self.with(body)
    }

    /// Refuses a call from another thread than the one that the pool is bound to.
    fn check_thread(self) -> Result<(), i32> {
        if self.0.is_null() {
            return Err(DEMUXBUF_ERR_NULL);
        }
        // SAFETY: not NULL, so alive, by the rule of `new`. The owner may be using the pool meanwhile, but has
        // references to other fields only (`parts`); this one is set before the host has the pointer and never
        // changed.
        let owner = unsafe { (&raw const (*self.0).owner).read() };
        if owner == 0 || owner == thread_mark() { Ok(()) } else { Err(DEMUXBUF_ERR_WRONG_THREAD) }
    }
}

#[inline(always)]
fn unless_poisoned<T>(
    inner: &mut AnyPool,
    poisoned: &Cell<bool>,
    body: impl FnOnce(&mut AnyPool) -> Result<T, i32>,
) -> Result<T, i32> {
    if poisoned.get() {
        return Err(DEMUXBUF_ERR_POISONED);
    }
    guarded(|| body(&mut *inner)).unwrap_or_else(|| {
        poisoned.set(true);
        inner.fast_path().close();
        Err(DEMUXBUF_ERR_POISONED)
    })
}

/// The bytes at `data`.
///
/// # Safety
///
/// `data` is NULL, or valid for reads of `bytes` bytes for `'a`.
pub(super) unsafe fn bytes_at<'a>(data: *const u8, bytes: usize) -> Result<&'a [u8], i32> {
    match (data.is_null(), bytes) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(DEMUXBUF_ERR_NULL),
        (false, _) if bytes > isize::MAX as usize => Err(DEMUXBUF_ERR_TOO_MANY_BYTES),
        // SAFETY: not NULL, so valid for `bytes` bytes, which are no more than a slice can have.
        (false, _) => Ok(unsafe { core::slice::from_raw_parts(data, bytes) }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use core::cell::Cell;
    use core::ptr::null_mut;
    use std::path::Path;

    std::thread_local! {
        static IS_ARMED: Cell<bool> = const { Cell::new(false) };
    }

    /// Inside of a guard, where any defect of the library would panic.
    pub(super) fn panic_if_armed() {
        assert!(!IS_ARMED.take(), "a defect, for a test");
    }

    /// Whether the next guard panics.
    pub(super) fn is_armed() -> bool {
        IS_ARMED.get()
    }

    /// Runs a call whose guard has to catch a panic.
    fn with_panic<T>(call: impl FnOnce() -> T) -> T {
        IS_ARMED.set(true);
        let result = call();
        assert!(!IS_ARMED.take(), "the call has a guard");
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
            "with(",
            "look(",
            "with_own(",
            "with_sound(",
            "fast(",
            "try_fast(",
            "kept!(",
            "new_object(",
            "step(",
            "report(",
            "stopped(",
            "armed(",
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
        let mut records = demuxbuf_fcgi_decoder::default();
        let mut record = demuxbuf_fcgi_record::default();
        let (mut info, mut config) = (demuxbuf_connection_info::default(), demuxbuf_pool_config::default());
        // SAFETY: every pointer is NULL or to a local that lives.
        unsafe {
            for status in [
                with_panic(|| demuxbuf_pool_config_init(&mut config, 1 << 20, 1)),
                with_panic(|| demuxbuf_connection_init(&mut connection, core::ptr::null(), null_mut(), null_mut())),
                with_panic(|| demuxbuf_connection_describe(&connection, &mut info)),
                with_panic(|| demuxbuf_connection_pending(&connection)) as i32,
                with_panic(|| demuxbuf_actions_status(1)),
                with_panic(|| demuxbuf_h2_init(&mut decoder, DEMUXBUF_H2_CLIENT)),
                with_panic(|| demuxbuf_h2_set_max_frame_size(&mut decoder, 16_384)),
                with_panic(|| demuxbuf_h2_accept(&mut decoder, &next)),
                with_panic(|| demuxbuf_h2_check_padding(&next, 0)),
                with_panic(|| demuxbuf_h2_peek(&decoder, core::ptr::null(), 0, &mut demuxbuf_h2_next::default())),
                with_panic(|| demuxbuf_fcgi_init(&mut records, DEMUXBUF_FCGI_WEB_SERVER)),
                with_panic(|| demuxbuf_fcgi_set_max_discrete_bytes(&mut records, 16_448)),
                with_panic(|| demuxbuf_fcgi_peek(&records, core::ptr::null(), 0, &mut record)),
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

    /// In release builds `with` and `with_sound` do not look at the thread.
    #[test]
    #[cfg(debug_assertions)]
    #[allow(clippy::disallowed_methods, reason = "a test may start threads")]
    fn guard_of_a_debug_build_refuses_other_threads() {
        use super::InPool;
        fn refused(pool: *const demuxbuf_pool, status: i32) {
            // SAFETY: NULL, or alive; a debug build refuses every call from another thread.
            let guard = unsafe { InPool::new(pool) };
            assert_eq!(guard.with_sound(|_| Some(())), Ok(None), "the slow path reports the cause");
            assert_eq!(guard.with(|_| Ok(())), Err(status));
            assert_eq!(guard.with_own(|_| Ok(())), Err(status));
        }
        refused(core::ptr::null(), DEMUXBUF_ERR_NULL);
        // SAFETY: NULL is allowed.
        assert!(unsafe { InPool::new(core::ptr::null()) }.parts().is_none(), "a release build looks only here");
        let config = demuxbuf::pool::PoolConfig::new(1 << 20, 1);
        let pool = demuxbuf::pool::Pool::new(&config).expect("the defaults are allowed");
        let tag = super::super::make::new_tag().ok().expect("there is a tag");
        let pool = demuxbuf_pool::new(super::AnyPool::Own(pool), tag).bound_to_this_thread();
        let address = core::ptr::from_ref(&pool).expose_provenance();
        let other = std::thread::spawn(move || {
            refused(core::ptr::with_exposed_provenance(address), DEMUXBUF_ERR_WRONG_THREAD);
        });
        other.join().expect("the other thread ends");
    }

    /// No slice may have more bytes than `isize::MAX`.
    #[test]
    fn bytes_at_refuses_null_and_impossible_lengths() {
        let byte = 7;
        let at = |data, bytes| {
            // SAFETY: NULL, or the bytes are there, or the length is refused before anything is read.
            unsafe { super::bytes_at(data, bytes) }
        };
        assert_eq!(at(&raw const byte, 1), Ok(&[7][..]));
        for data in [core::ptr::null(), &raw const byte] {
            assert_eq!(at(data, 0), Ok(&[][..]));
        }
        assert_eq!(at(core::ptr::null(), 1), Err(DEMUXBUF_ERR_NULL));
        for bytes in [isize::MAX as usize + 1, usize::MAX] {
            assert_eq!(at(&raw const byte, bytes), Err(DEMUXBUF_ERR_TOO_MANY_BYTES));
        }
    }

    #[test]
    fn panic_in_a_free_is_caught() {
        let (mut shards, mut pool) = (null_mut(), null_mut());
        let mut config = demuxbuf_pool_config::default();
        // SAFETY: every pointer is NULL or to a local that lives; what is freed under the panic stays allocated, and is
        // freed once after it.
        unsafe {
            assert_eq!(demuxbuf_pool_config_init(&mut config, 1 << 20, 1), DEMUXBUF_OK);
            let made = || demuxbuf_shared_pool_new(&config, 1, &raw mut shards, null_mut(), null_mut());
            assert_eq!(with_panic(made), DEMUXBUF_ERR_POISONED);
            assert_eq!(demuxbuf_shared_pool_new(&config, 1, &raw mut shards, null_mut(), null_mut()), DEMUXBUF_OK);
            assert_eq!(with_panic(|| demuxbuf_shared_pool_shard(shards, 0, &raw mut pool)), DEMUXBUF_ERR_POISONED);
            assert_eq!(demuxbuf_shared_pool_shard(shards, 0, &raw mut pool), DEMUXBUF_OK);
            with_panic(|| demuxbuf_pool_free(pool));
            with_panic(|| demuxbuf_shared_pool_free(shards));
            demuxbuf_pool_free(pool);
            demuxbuf_shared_pool_free(shards);
        }
    }
}
