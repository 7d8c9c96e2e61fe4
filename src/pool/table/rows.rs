//! The rows of the table, packed, and views of those that the fast path knows: what they hold decides what a field is.

use crate::connection::Connection;
use alloc::vec::Vec;

pub(super) const NIL: u32 = u32::MAX;
/// In `ExtraState::wait`: the rest is the index of a buffer.
pub(super) const HIGH_BIT: u32 = 1 << 31;
pub(super) const USES: u32 = 0x00ff_ffff;
pub(super) const CLASS_SHIFT: u32 = 24;
pub(super) const CLASS_MASK: u32 = 0xf << CLASS_SHIFT;

/// One receiver, or a link of the free list.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) connection: Connection,
    pub(super) token: [u32; 2],
    /// How often the row was used, in the low 24 bits; above the class of its requests, and what `link` is. Both are 0 in
    /// a link of the free list.
    pub(super) key: u32,
    /// As a link of the free list: the next free row. Else what `key` says.
    pub(super) link: u32,
}

const _: () = assert!(size_of::<Row>() <= 48);

impl Row {
    /// Whether a handle with these uses is that of the receiver which is in this row now, if one is.
    #[inline(always)]
    pub(super) fn has_uses(&self, uses: u32) -> bool {
        self.key & USES == uses
    }

    #[inline(always)]
    pub(super) fn class(&self) -> u8 {
        ((self.key & CLASS_MASK) >> CLASS_SHIFT) as u8
    }
}

/// What `Row::link` is.
pub(super) mod link {
    /// The tenant: nothing is held, nothing waited for.
    pub(crate) const TENANT: u32 = 0;
    /// The buffer that is held: its row in the table of owners.
    pub(crate) const BUFFER: u32 = 1 << 30;
    /// The row in the table of extra states.
    pub(crate) const EXTRA: u32 = 2 << 30;
    pub(crate) const MASK: u32 = 3 << 30;
}

/// What a receiver waits for, its tenant, and which slot it holds; or a link of the free list (`tenant`).
#[derive(Clone, Copy, Debug)]
pub(super) struct ExtraState {
    pub(super) tenant: u32,
    /// Index of the wait, or of the buffer that was granted and cannot be used yet.
    pub(super) wait: u32,
    /// Number of the slot.
    pub(super) slot: u32,
}

const _: () = assert!(size_of::<ExtraState>() <= 12);

/// Which receiver uses a buffer, and where the content starts in it; with the tenant and the wait of the holder.
#[derive(Clone, Copy, Debug)]
pub(super) struct BufferOwner {
    pub(super) receiver: u32,
    pub(super) start: u32,
    pub(super) tenant: u32,
    pub(super) wait: u32,
}

const _: () = assert!(size_of::<BufferOwner>() <= 16);

impl BufferOwner {
    pub(super) const NONE: BufferOwner = BufferOwner { receiver: NIL, start: 0, tenant: 0, wait: NIL };
}

/// The row of a buffer, which is added with its first use.
#[inline(always)]
pub(super) fn owner_of(rows: &mut Vec<BufferOwner>, buffer: u32) -> &mut BufferOwner {
    let at = buffer as usize;
    if at < rows.len() { &mut rows[at] } else { add_owner(rows, at) }
}

/// Inside what was reserved: as many rows as buffers.
#[cold]
pub(super) fn add_owner(rows: &mut Vec<BufferOwner>, at: usize) -> &mut BufferOwner {
    rows.resize(at + 1, BufferOwner::NONE);
    &mut rows[at]
}

/// A receiver that holds and waits for nothing.
pub(crate) struct IdleRow<'a> {
    pub(super) entry: &'a mut Row,
    pub(super) owners: &'a mut Vec<BufferOwner>,
    pub(super) index: u32,
}

impl<'a> IdleRow<'a> {
    #[inline(always)]
    pub(crate) fn connection(&self) -> &Connection {
        &self.entry.connection
    }

    #[inline(always)]
    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.entry.connection
    }

    #[inline(always)]
    pub(crate) fn class(&self) -> u8 {
        self.entry.class()
    }

    #[inline(always)]
    pub(crate) fn tenant(&self) -> u32 {
        self.entry.link
    }

    /// Its row.
    #[inline(always)]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// It holds a buffer from now on.
    #[inline(always)]
    pub(crate) fn hold(self, buffer: u32) -> &'a mut Connection {
        let tenant = self.tenant();
        *owner_of(self.owners, buffer) = BufferOwner { receiver: self.index, start: 0, tenant, wait: NIL };
        self.entry.key |= link::BUFFER;
        self.entry.link = buffer;
        &mut self.entry.connection
    }
}

/// A receiver that holds a buffer and waits for nothing.
pub(crate) struct HoldingRow<'a> {
    pub(super) entry: &'a mut Row,
    pub(super) owner: &'a mut BufferOwner,
}

impl HoldingRow<'_> {
    #[inline(always)]
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.entry.connection
    }

    #[inline(always)]
    pub(crate) fn buffer(&self) -> u32 {
        self.entry.link
    }

    /// Where the content starts in the buffer.
    #[inline(always)]
    pub(crate) fn start(&self) -> u32 {
        self.owner.start
    }

    /// It holds nothing from now on.
    #[inline(always)]
    pub(crate) fn drop_buffer(self) {
        self.entry.key &= !link::MASK;
        self.entry.link = core::mem::replace(self.owner, BufferOwner::NONE).tenant;
    }
}
