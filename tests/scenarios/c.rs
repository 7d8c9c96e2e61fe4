//! The library as a C host sees it: handles are numbers, results are statuses and masks.
#![allow(unsafe_code, reason = "the C functions are unsafe to call")]

use crate::host_pool::{CParent, HAS_SPARE, new_c_pool};
use demuxbuf_capi::*;
use demuxbuf_testkit::data_frame;

/// A pool made and freed through the C API.
pub(crate) struct CPool(*mut demuxbuf_pool, #[allow(dead_code, reason = "it lives as long")] CParent);

impl CPool {
    /// A pool of eight buffers of 1024 bytes, with these changes.
    pub(crate) fn new(receivers: u32, change: impl Fn(&mut demuxbuf_pool_config)) -> CPool {
        // One more receiver where one has the spare.
        let receivers = receivers + u32::from(HAS_SPARE);
        let mut config = demuxbuf_pool_config::default();
        // SAFETY: the struct says its size.
        assert_eq!(unsafe { demuxbuf_pool_config_init(&mut config, 8 * 1024, receivers) }, DEMUXBUF_OK);
        config.buffer_bytes = 1024;
        change(&mut config);
        let (pool, parent) = new_c_pool(&config);
        CPool(pool, parent)
    }

    /// Takes all buffers that the host can have, and leaves receivers none.
    pub(crate) fn take_all_buffers(&self) -> Vec<u64> {
        let free = self.stats().free;
        let granted = |(status, lease)| {
            assert_eq!(status, DEMUXBUF_OK);
            lease
        };
        let leases = (0..free).map(|token| granted(self.request(0, token.into()))).collect();
        if HAS_SPARE {
            let receiver = self.attach(u64::MAX, &[0; 700]);
            self.block(receiver, 1).expect("the handle is live");
        }
        leases
    }

    /// With no buffer free, a receiver gets the first bytes of a frame, and waits for room.
    pub(crate) fn wait(&self, receiver: u64) {
        self.step(demuxbuf_receiver_readable, receiver).expect("the handle is live");
        self.receive(receiver, &data_frame(300)[..64]).expect("a cell is free");
        self.decoded(receiver, 0, 236).expect("the frame is not whole");
        self.step(demuxbuf_receiver_readable, receiver).expect("the handle is live");
        assert_ne!(self.describe(receiver).waiting, 0);
    }

    /// The lease or the wait, with the status.
    pub(crate) fn request(&self, class: u32, token: u64) -> (i32, u64) {
        let mut handle = 0;
        // SAFETY: the pool is live, as in every function here, and the output is a live local.
        let status = unsafe { demuxbuf_pool_request(self.0, class, token, &mut handle) };
        self.check();
        (status, handle)
    }

    pub(crate) fn release(&self, lease: u64) -> i32 {
        // SAFETY: as in `request`.
        let status = unsafe { demuxbuf_pool_release(self.0, lease) };
        self.check();
        status
    }

    pub(crate) fn cancel(&self, wait: u64) -> i32 {
        // SAFETY: as in `request`.
        let status = unsafe { demuxbuf_pool_cancel(self.0, wait) };
        self.check();
        status
    }

    pub(crate) fn poll_notice(&self) -> Option<demuxbuf_notice> {
        // SAFETY: as in `request`; all-zero is a grant.
        let (status, notice) = unsafe {
            let mut notice = demuxbuf_notice::default();
            (demuxbuf_pool_poll_notice(self.0, &mut notice), notice)
        };
        self.check();
        assert!(status == DEMUXBUF_OK || status == DEMUXBUF_STATUS_NONE);
        (status == DEMUXBUF_OK).then_some(notice)
    }

    pub(crate) fn attach(&self, token: u64, bytes: &[u8]) -> u64 {
        let mut receiver = 0;
        let options =
            demuxbuf_attach_options { token, bytes: bytes.as_ptr(), length: bytes.len() as u64, ..Default::default() };
        // SAFETY: as in `request`; the bytes are a live slice.
        let status = unsafe {
            demuxbuf_receiver_attach(self.0, &options, &mut receiver, std::ptr::null_mut(), std::ptr::null_mut())
        };
        assert_eq!(status, DEMUXBUF_OK);
        self.check();
        receiver
    }

    /// One call that names a receiver: the mask of actions, or an error in place of it.
    pub(crate) fn step(
        &self,
        call: unsafe extern "C" fn(*mut demuxbuf_pool, u64) -> demuxbuf_step,
        receiver: u64,
    ) -> Result<u32, i32> {
        // SAFETY: as in `request`.
        let step = unsafe { call(self.0, receiver) };
        self.check();
        result_of(step.actions)
    }

    /// Copies bytes to where the pending receive wants them, and reports them.
    pub(crate) fn receive(&self, receiver: u64, bytes: &[u8]) -> Result<u32, i32> {
        // SAFETY: as in `request`; the step has the place and the size of the room.
        let step = unsafe {
            let step = demuxbuf_receiver_pending(self.0, receiver);
            assert!(step.actions & DEMUXBUF_RECV != 0 && step.bytes as usize >= bytes.len());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), step.data, bytes.len());
            demuxbuf_receiver_received(self.0, receiver, bytes.len() as u32)
        };
        self.check();
        result_of(step.actions)
    }

    /// Where the content is that is to be decoded, and its length.
    pub(crate) fn data(&self, receiver: u64) -> (*mut u8, u32) {
        // SAFETY: as in `request`.
        let step = unsafe { demuxbuf_receiver_pending(self.0, receiver) };
        assert!(step.actions & DEMUXBUF_DECODE != 0);
        (step.data, step.bytes)
    }

    /// Changes the content in place.
    pub(crate) fn change<T>(&self, receiver: u64, change: impl FnOnce(&mut [u8]) -> T) -> T {
        let (data, bytes) = self.data(receiver);
        // SAFETY: while `Decode` is pending the content is the host's to read and to write.
        change(unsafe { std::slice::from_raw_parts_mut(data, bytes as usize) })
    }

    /// A copy of the content.
    pub(crate) fn content(&self, receiver: u64) -> Vec<u8> {
        self.change(receiver, |content| content.to_vec())
    }

    /// Reports bytes that were not copied.
    pub(crate) fn received(&self, receiver: u64, bytes: u32) -> Result<u32, i32> {
        // SAFETY: as in `request`.
        let step = unsafe { demuxbuf_receiver_received(self.0, receiver, bytes) };
        self.check();
        result_of(step.actions)
    }

    pub(crate) fn decoded(&self, receiver: u64, consumed: u32, need_more: u32) -> Result<u32, i32> {
        // SAFETY: as in `request`.
        let step = unsafe { demuxbuf_receiver_decoded(self.0, receiver, consumed, need_more) };
        self.check();
        result_of(step.actions)
    }

    pub(crate) fn block(&self, receiver: u64, reasons: u32) -> Result<u32, i32> {
        // SAFETY: as in `request`.
        let step = unsafe { demuxbuf_receiver_block(self.0, receiver, reasons) };
        self.check();
        result_of(step.actions)
    }

    pub(crate) fn describe(&self, receiver: u64) -> demuxbuf_receiver_info {
        let mut info = demuxbuf_receiver_info::default();
        // SAFETY: as in `request`.
        assert_eq!(unsafe { demuxbuf_receiver_describe(self.0, receiver, &mut info) }, DEMUXBUF_OK);
        info
    }

    pub(crate) fn stats(&self) -> demuxbuf_pool_stats {
        let mut stats = demuxbuf_pool_stats::default();
        // SAFETY: as in `request`.
        assert_eq!(unsafe { demuxbuf_pool_get_stats(self.0, &mut stats) }, DEMUXBUF_OK);
        stats
    }

    fn check(&self) {
        // SAFETY: as in `request`.
        assert_eq!(unsafe { demuxbuf_pool_check_invariants(self.0) }, DEMUXBUF_OK, "the invariants hold");
    }
}

impl Drop for CPool {
    fn drop(&mut self) {
        // SAFETY: made in `new` and freed once.
        unsafe { demuxbuf_pool_free(self.0) };
    }
}

/// A bare connection, embedded as C hosts do.
#[derive(Default)]
pub(crate) struct Connection(demuxbuf_connection);

impl Connection {
    /// Attached with this many bytes in a buffer of this capacity; 0 for none.
    pub(crate) fn attached(buffered_bytes: u32, capacity: u32) -> (Connection, u32) {
        let mut connection = Connection::default();
        // SAFETY: a live local, as in every function here.
        let mask = unsafe { demuxbuf_connection_attach(&mut connection.0, buffered_bytes, capacity) };
        (connection, result_of(mask).expect("a fresh connection attaches"))
    }

    /// One call without a parameter.
    pub(crate) fn call(&mut self, call: unsafe extern "C" fn(*mut demuxbuf_connection) -> u32) -> Result<u32, i32> {
        // SAFETY: as in `attached`.
        result_of(unsafe { call(&mut self.0) })
    }

    /// One call with a number.
    pub(crate) fn call_with(
        &mut self,
        call: unsafe extern "C" fn(*mut demuxbuf_connection, u32) -> u32,
        number: u32,
    ) -> Result<u32, i32> {
        // SAFETY: as in `attached`.
        result_of(unsafe { call(&mut self.0, number) })
    }

    pub(crate) fn describe(&self) -> demuxbuf_connection_info {
        let mut info = demuxbuf_connection_info::default();
        // SAFETY: as in `attached`.
        assert_eq!(unsafe { demuxbuf_connection_describe(&self.0, &mut info) }, DEMUXBUF_OK);
        info
    }
}

fn result_of(mask: u32) -> Result<u32, i32> {
    if mask & DEMUXBUF_ERROR == 0 { Ok(mask) } else { Err(mask as i32) }
}
