//! Whether requests of jobs that hold buffers can wait for each other without end.

use super::config::{self, demuxbuf_pool_config};
use super::guard::guarded_or;
use super::refusal::{Message, Refusal};
use super::size_t;
use super::status::*;
use core::ffi::c_char;
use demuxbuf::pool::ConfigError;
use demuxbuf::scheduler::{CLASSES_MAX, NestedRequest};
use demuxbuf::{Allowed, SharedPool};

/// While a job of the host's holds a buffer of one class, it may ask for one of another.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_nested_request {
    /// Class of the buffer that it holds.
    pub holds: u32,
    /// Class that it asks in, before it releases that buffer.
    pub asks: u32,
}

const _: () = assert!(size_of::<demuxbuf_nested_request>() == 8 && align_of::<demuxbuf_nested_request>() == 4);

/// Whether jobs that ask for a buffer of the host's own while they hold one can wait for each other without end in a
/// pool with these settings: for the start of a program, or its tests. `shards` is that of `demuxbuf_shared_pool_new`,
/// or 0 for a pool of `demuxbuf_pool_new`. `nested` has all `count` pairs that can occur: for a job that holds several
/// buffers, one for each of them. Jobs that ask for nothing, and receivers, release their buffers by themselves. As a
/// rule, what is asked for is more critical than what is held, and its reserve is smaller by a buffer at least.
///
/// Tenants are not looked at: a tenant's cap has to leave room for what its own holders ask for. `message` and
/// `message_bytes` are as for `demuxbuf_pool_new`; the sentence names the first pair that can be part of a deadlock.
/// Thread rule: any thread. Cost: O(pairs). Returns `DEMUXBUF_OK` if no pair can; `DEMUXBUF_ERR_DEADLOCK`;
/// `DEMUXBUF_ERR_NULL` (also: `nested` NULL and `count` not 0), `DEMUXBUF_ERR_STRUCT_SIZE`,
/// `DEMUXBUF_ERR_UNKNOWN_FIELD`, `DEMUXBUF_ERR_CONFIG` (a setting is not allowed, or a class does not exist).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_config_check_nested_requests(
    config: *const demuxbuf_pool_config,
    shards: u32,
    nested: *const demuxbuf_nested_request,
    count: size_t,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        let read = || {
            // SAFETY: as the module asks.
            let config = unsafe { config::read(config, 0)? };
            let check = move |pairs: &[NestedRequest]| match shards {
                0 => config.check_nested_requests(pairs),
                shards => SharedPool::check_nested_requests(&config, shards, pairs),
            };
            Ok((config.classes, check))
        };
        // SAFETY: as the module asks.
        unsafe { check(config.is_null(), read, nested, count, Message::new(message, message_bytes)) }
    })
}

/// What settings that are read say to the pairs.
///
/// # Safety
///
/// `nested` is NULL, or valid for reads of `count` pairs.
unsafe fn check<C: FnOnce(&[NestedRequest]) -> Result<(), ConfigError> + Copy>(
    is_null: bool,
    read: impl FnOnce() -> Result<(u8, C), Refusal>,
    nested: *const demuxbuf_nested_request,
    count: size_t,
    message: Option<Message>,
) -> i32 {
    let Some(message) = message else {
        return DEMUXBUF_ERR_NULL;
    };
    if is_null || (nested.is_null() && count != 0) {
        return DEMUXBUF_ERR_NULL;
    }
    let check = || {
        let (classes, check) = read()?;
        // Settings that are not allowed are refused before the pairs are.
        check(&[])?;
        let mut pairs = Pairs::default();
        for at in 0..count {
            // SAFETY: as this function asks; `at` is below `count`.
            let pair = unsafe { nested.add(at).read() };
            pairs.add(at, pair, classes)?;
        }
        Ok(check(&pairs.all[..pairs.count])?)
    };
    check().map_or_else(|refusal: Refusal| message.refuse(&refusal), |()| DEMUXBUF_OK)
}

/// The pairs of the host, each once, in the order in which they came.
struct Pairs {
    all: [NestedRequest; CLASSES_MAX * CLASSES_MAX],
    count: usize,
}

impl Default for Pairs {
    fn default() -> Pairs {
        Pairs { all: [NestedRequest { holds: 0, asks: 0 }; CLASSES_MAX * CLASSES_MAX], count: 0 }
    }
}

impl Pairs {
    fn add(&mut self, index: usize, pair: demuxbuf_nested_request, classes: u8) -> Result<(), ConfigError> {
        let class = |field, value: u32| {
            let known = u8::try_from(value).ok().filter(|&class| class < classes);
            let allowed = Allowed::Range { min: 0, max: u64::from(classes) - 1 };
            known.ok_or(ConfigError::Refused { field, index: Some(index), value: value.into(), allowed })
        };
        let pair = NestedRequest { holds: class("holds", pair.holds)?, asks: class("asks", pair.asks)? };
        if !self.all[..self.count].contains(&pair) {
            self.all[self.count] = pair;
            self.count += 1;
        }
        Ok(())
    }
}
