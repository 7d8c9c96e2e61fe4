//! Pools that share memory, called as C calls them.
#![allow(unsafe_code)]

use super::c::c_policy;
use super::{CPool, ThreadSystem};
use demuxbuf::pool::PoolConfig;
use demuxbuf_capi::*;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// As C has it, of one thread or of several.
pub(super) fn c_config(config: &PoolConfig) -> demuxbuf_pool_config {
    let mut c = demuxbuf_pool_config::default();
    // SAFETY: a pointer to a local.
    let status = unsafe { demuxbuf_pool_config_init(&mut c, config.memory_bytes, config.receivers_max) };
    assert_eq!(status, DEMUXBUF_OK);
    (c.buffer_bytes, c.waiters_max, c.tenants_max) = (config.buffer_bytes, config.waiters_max, config.tenants_max);
    (c.frame_grace_ns, c.blocked_ns) = (config.frame_grace_ns, config.blocked_ns);
    c.lease_ns = config.lease_ns.unwrap_or(0);
    c.in_flight_max = config.in_flight_max;
    (c.classes, c.class_burst) = (config.classes.into(), config.class_burst);
    (c.reserves, c.class_caps) = (config.reserves, config.class_caps);
    let policy = c_policy(config.policy);
    (c.mode, c.reads_per_wake) = (policy.mode, policy.reads_per_wake);
    (c.resume_free_bytes, c.pause_when_blocked) = (policy.resume_free_bytes, policy.pause_when_blocked);
    (c.reads_ahead, c.counting, c.audit) = (policy.reads_ahead, policy.counting, config.audit.into());
    (c.wipe, c.no_dump) = (config.wipe.into(), config.no_dump.into());
    c
}

/// A shared pool, behind the pointer that C has.
#[derive(Debug)]
pub struct CSharedPool(*mut demuxbuf_shared_pool);

/// A receiver that is exported. C may copy it as it likes.
#[derive(Debug)]
pub struct CExported(demuxbuf_exported_receiver);

impl Clone for CExported {
    fn clone(&self) -> CExported {
        // SAFETY: an exported receiver is a plain value, which C copies as bytes too.
        CExported(unsafe { std::ptr::read(&raw const self.0) })
    }
}

impl CSharedPool {
    /// A pool that this many threads share, with this configuration, which is allowed.
    pub(crate) fn new(config: &PoolConfig, shards: u32) -> CSharedPool {
        let mut shared_pool = null_mut();
        // SAFETY: pointers to locals; no message is asked for.
        let status =
            unsafe { demuxbuf_shared_pool_new(&c_config(config), shards, &mut shared_pool, null_mut(), null_mut()) };
        assert_eq!(status, DEMUXBUF_OK, "an allowed configuration");
        CSharedPool(shared_pool)
    }

    /// The pool of a thread.
    ///
    /// # Errors
    ///
    /// The status of the refusal.
    pub(crate) fn shard(&self, index: u32) -> Result<CPool, i32> {
        let mut pool = null_mut();
        // SAFETY: our own shared pool; a pointer to a local.
        match unsafe { demuxbuf_shared_pool_shard(self.0, index, &mut pool) } {
            DEMUXBUF_OK => Ok(CPool::of_shard(pool)),
            status => Err(status),
        }
    }

    /// A thread that is to be signalled.
    pub(crate) fn poll_wake(&self) -> Option<usize> {
        let mut index = 0;
        // SAFETY: our own shared pool; a pointer to a local.
        let status = unsafe { demuxbuf_shared_pool_poll_wake(self.0, &mut index) };
        named(status, index)
    }
}

/// Memory that a receive brings bytes to, or a look: the host's to write until its outcome.
#[derive(Debug)]
pub(crate) struct CArea {
    data: *mut u8,
    bytes: u32,
}

impl CArea {
    /// What a system fills memory with that it has for a receive.
    const IN_FLIGHT: u8 = 0xa5;

    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Writes as much as there is room for.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let length = bytes.len().min(self.bytes as usize);
        // SAFETY: the pool lets nothing else use these bytes before the outcome, and none was reported; `bytes` is the
        // caller's.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data, length) };
    }

    /// As the system has it, once a receive is submitted.
    pub(crate) fn fill(&self) {
        self.write(&vec![CArea::IN_FLIGHT; self.bytes as usize]);
    }

    /// Whether it is as `fill` left it.
    pub(crate) fn is_untouched(&self) -> bool {
        // SAFETY: as in `write`.
        let shown = unsafe { std::slice::from_raw_parts(self.data, self.bytes as usize) };
        shown.iter().all(|&byte| byte == CArea::IN_FLIGHT)
    }
}

impl Drop for CSharedPool {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and nothing else has it.
        unsafe { demuxbuf_shared_pool_free(self.0) };
    }
}

fn named(status: i32, index: u32) -> Option<usize> {
    assert!(status == DEMUXBUF_OK || status == DEMUXBUF_STATUS_NONE, "status {status}");
    (status == DEMUXBUF_OK).then_some(index as usize)
}

impl CPool {
    /// Where a receiver receives now, or looks.
    pub(crate) fn area(&mut self, receiver: u64) -> Option<CArea> {
        // SAFETY: our own pool.
        let shown = unsafe { demuxbuf_receiver_pending(self.as_ptr(), receiver) };
        let has_area = shown.actions & DEMUXBUF_ERROR == 0 && shown.actions & (DEMUXBUF_RECV | DEMUXBUF_PEEK) != 0;
        has_area.then_some(CArea { data: shown.data, bytes: shown.bytes })
    }
}

impl ThreadSystem for CPool {
    type Shared = CSharedPool;
    type Exported = CExported;

    fn of_threads(config: &PoolConfig, threads: u32) -> (CSharedPool, Vec<CPool>) {
        let shared_pool = CSharedPool::new(config, threads);
        let pools = (0..threads as usize).map(|thread| CPool::of_thread(&shared_pool, thread)).collect();
        (shared_pool, pools)
    }

    fn of_thread(shared: &CSharedPool, thread: usize) -> CPool {
        shared.shard(thread as u32).expect("it is free")
    }

    /// C closes it as it frees it.
    fn close(_shared: &CSharedPool) -> bool {
        false
    }

    fn export(&mut self, receiver: u64) -> Result<CExported, i32> {
        let mut exported = MaybeUninit::uninit();
        // SAFETY: our own pool; a place to write to.
        match unsafe { demuxbuf_receiver_export(self.as_ptr(), receiver, exported.as_mut_ptr()) } {
            // SAFETY: it is written on success.
            DEMUXBUF_OK => Ok(CExported(unsafe { exported.assume_init() })),
            status => Err(status),
        }
    }

    fn import(&mut self, exported: &mut CExported) -> Result<u64, i32> {
        let mut receiver = 0;
        // SAFETY: our own pool; pointers to a plain value and to a local.
        match unsafe { demuxbuf_receiver_import(self.as_ptr(), &mut exported.0, &mut receiver) } {
            DEMUXBUF_OK => Ok(receiver),
            status => Err(status),
        }
    }

    fn poll_wake(&mut self) -> Option<usize> {
        let mut index = 0;
        // SAFETY: our own pool; a pointer to a local.
        let status = unsafe { demuxbuf_pool_poll_wake(self.as_ptr(), &mut index) };
        named(status, index)
    }

    fn poll_wake_of_any(shared: &CSharedPool) -> Option<usize> {
        shared.poll_wake()
    }

    /// C checks this for each thread.
    fn check_shared(_shared: &CSharedPool) -> Result<(), String> {
        Ok(())
    }
}
