//! As `ops`, through the C functions, with calls mixed in that no correct host makes.
#![allow(unsafe_code)]

use super::ops;
use super::text::Line;
use crate::{CPool, Differential, ModelPool, System, check_refusal};
use demuxbuf_capi::*;
use std::ptr::{null, null_mut};

pub(super) const EXAMPLES: &[&str] = &[
    "null 0",
    "no-output 0",
    "forged 5",
    "config 1 99",
    "buffers 9",
    "counting",
    "attach 0 0",
    "attach 0 70",
    "readable 0",
    "peer-closed 0",
    "kernel-full 0",
    "received 0 5",
    "obey 0 0 2",
    "decoded 0 1 2",
    "take 0",
    "adopt 0 0 0 10",
    "later 10",
    "request 0",
    "release 0",
    "release 100",
    "cancel 0",
    "cancel 200",
    "poll",
    "mode 4",
    "end 0",
    "close 0",
];

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let config = ops::config(text);
    let mut differential = Differential::new(ModelPool::new(&config), CPool::new(&config));
    ops::play(&mut differential, text, misuse)
}

/// A call that is a mistake: it is refused with the right error and changes nothing that can be seen.
pub(super) fn misuse(differential: &mut Differential<ModelPool, CPool>, line: Line<'_>) -> Result<(), String> {
    let pool = differential.system.system.as_ptr();
    let before = differential.system.system.stats();
    let (expected, seen) = match line.word {
        "null" => (DEMUXBUF_ERR_NULL, without_pool(line.number(0))),
        "no-output" => (DEMUXBUF_ERR_NULL, without_output(pool, line.number(0))),
        "forged" => {
            let known =
                [differential.system.receivers(), differential.system.leases(), differential.system.waits()].concat();
            if known.contains(&line.number(0)) {
                return Ok(());
            }
            (DEMUXBUF_ERR_STALE, with_forged(pool, line.number(0), line.number(1)))
        }
        "config" => return with_config(line),
        _ => return Ok(()),
    };
    if seen != expected {
        return Err(format!("{line:?}: expected {expected}, seen {seen}"));
    }
    check_refusal(before, differential.system.system.stats())?;
    differential.system.system.check_invariants()
}

fn without_pool(choice: u64) -> i32 {
    let (mut handle, mut bytes) = (0, 0);
    // SAFETY: pointers to locals, or NULL, which every function allows.
    unsafe {
        match choice % 12 {
            0 => demuxbuf_pool_request(null_mut(), 0, 0, &mut handle),
            1 => demuxbuf_pool_release(null_mut(), 1),
            2 => demuxbuf_pool_cancel(null_mut(), 1),
            3 => demuxbuf_pool_poll_notice(null_mut(), &mut Default::default()),
            4 => demuxbuf_pool_handle_timeout(null_mut(), 5),
            5 => demuxbuf_pool_get_stats(null(), &mut Default::default()),
            6 => demuxbuf_pool_check_invariants(null()),
            7 => demuxbuf_receiver_readable(null_mut(), 1).actions as i32,
            8 => demuxbuf_receiver_received(null_mut(), 1, 5).actions as i32,
            9 => demuxbuf_receiver_take(null_mut(), 1, &mut Default::default()),
            10 => demuxbuf_receiver_describe(null(), 1, &mut Default::default()),
            _ => demuxbuf_pool_trim(null_mut(), &mut bytes),
        }
    }
}

fn without_output(pool: *mut demuxbuf_pool, choice: u64) -> i32 {
    // SAFETY: a pool that is alive; NULL is allowed everywhere.
    unsafe {
        match choice % 8 {
            0 => demuxbuf_pool_request(pool, 0, 0, null_mut()),
            1 => demuxbuf_pool_poll_notice(pool, null_mut()),
            2 => demuxbuf_pool_get_stats(pool, null_mut()),
            3 => demuxbuf_pool_buffer(pool, 1, null_mut(), null_mut()),
            4 => demuxbuf_receiver_describe(pool, 1, null_mut()),
            5 => demuxbuf_receiver_take(pool, 1, null_mut()),
            6 => demuxbuf_pool_bypass_bound(pool, null_mut()),
            _ => demuxbuf_pool_trim(pool, null_mut()),
        }
    }
}

/// A handle of any bits. Kinds of handles are distinguished by what they name, so all are tried that name nothing.
fn with_forged(pool: *mut demuxbuf_pool, handle: u64, choice: u64) -> i32 {
    let (mut data, mut bytes) = (null_mut(), 0);
    // SAFETY: a pool that is alive, and pointers to locals.
    unsafe {
        match choice % 8 {
            0 => demuxbuf_pool_release(pool, handle),
            1 => demuxbuf_pool_cancel(pool, handle),
            2 => demuxbuf_pool_buffer(pool, handle, &mut data, &mut bytes),
            3 => demuxbuf_receiver_take(pool, handle, &mut Default::default()),
            4 => demuxbuf_receiver_describe(pool, handle, &mut Default::default()),
            5 => demuxbuf_receiver_decoded(pool, handle, 1, 0).actions as i32,
            6 => demuxbuf_receiver_close(pool, handle).actions as i32,
            _ => demuxbuf_receiver_received(pool, handle, 7).actions as i32,
        }
    }
}

/// A configuration with one field that is not allowed is refused, with a message, and gives out no pool.
fn with_config(line: Line<'_>) -> Result<(), String> {
    let mut config = demuxbuf_pool_config::default();
    // SAFETY: a pointer to a local.
    unsafe { demuxbuf_pool_config_init(&mut config, 1 << 20, 1) };
    let value = line.short(1);
    match line.number(0) % 8 {
        0 => config.struct_size = value % 8,
        1 => config.classes = 9 + value % 1000,
        2 => config.buffer_bytes = 64 * (value % 1000) + 1,
        3 => config.memory_bytes = u64::from(value) % (8 * 16_448),
        4 => config.mode = 5 + (value % 100) as u8,
        5 => config.class_burst = 0,
        6 => config.frame_grace_ns = u64::from(value) % 8,
        _ => config.reserved_word = 1 + value % 255,
    }
    let mut pool = null_mut();
    let mut message = [0x7f_u8; 80];
    let room = value as usize % message.len();
    let mut needed = room;
    // SAFETY: pointers to locals, and the room that there is.
    let status = unsafe { demuxbuf_pool_new(&config, &mut pool, message.as_mut_ptr().cast(), &mut needed) };
    if !(status < 0 && pool.is_null()) {
        return Err(format!("{line:?}: taken, with status {status}"));
    }
    let length = message[..room].iter().position(|&byte| byte == 0).map_or(0, |end| end + 1);
    if needed < length.max(2) || (needed <= room && needed != length) {
        return Err(format!("{line:?}: the message needs {needed} bytes by the call, and has {length}"));
    }
    if room > 0 && !message[..room].contains(&0) || message[room..].iter().any(|&byte| byte != 0x7f) {
        return Err(format!("{line:?}: the message is not ended in its {room} bytes, or goes on behind them"));
    }
    Ok(())
}
