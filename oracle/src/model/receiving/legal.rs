//! Which calls a caller that keeps the order may make.

use super::ModelReceiving;

/// What may be called for a receiver now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legal {
    /// `begin`.
    pub begin: bool,
    /// `received` with at most this much, or `dry`; 0 if there is no receive now.
    pub receive_max: u32,
    /// `deliver`.
    pub deliver: bool,
    /// `decode`.
    pub decode: bool,
    /// `decoded`, with a rest that fits: `Nothing` exactly if all is consumed, `Short` only if the buffer has room and
    /// the stream has not ended.
    pub decoded: bool,
    /// `set_usable`.
    pub set_usable: bool,
    /// `end`.
    pub end: bool,
    /// The stream has ended.
    pub ended: bool,
    /// `close`.
    pub close: bool,
    /// `set_submits`.
    pub set_submits: bool,
    /// `submit`.
    pub submit: bool,
    /// `consume` with at most this much.
    pub consume_max: u32,
    /// `complete`.
    pub complete: bool,
    /// `looked`, or `dry`.
    pub looked: bool,
    /// What `received` brings is all of `receive_max`, or less only if the host could have no more.
    pub whole: bool,
    /// What `received` brings is all of `receive_max`, and stays in the kernel.
    pub whole_look: bool,
    /// `received_away` with at most this much.
    pub away_max: u32,
    /// `kernel_full`.
    pub kernel_full: bool,
    /// `peer_closed`.
    pub peer_closed: bool,
    /// `set_counts` with this.
    pub set_counts: Option<bool>,
    /// `set_reads_ahead` with `true`.
    pub reads_ahead: bool,
}

impl ModelReceiving {
    /// What may be called for this receiver now; nothing but `attach` if its number is free.
    pub fn legal(&self, id: u32) -> Legal {
        let Some(receiver) = self.receivers.get(&id) else {
            return Legal::default();
        };
        if receiver.shed.is_some() {
            return Legal { close: true, ..Legal::default() };
        }
        if receiver.closed {
            return Legal { complete: true, ..Legal::default() };
        }
        let is_held = receiver.held_since.is_some();
        let has_room = receiver.kept() < self.config.buffer_bytes;
        let looked = receiver.looks();
        let may_receive = receiver.borrow.map_or(0, |borrow| borrow.max);
        let receive_max = if looked { 0 } else { may_receive };
        let whole = receiver.whole_asked().is_some();
        Legal {
            begin: receiver.borrow.is_none() && !is_held && !receiver.ended && has_room,
            receive_max,
            deliver: receive_max > 0 && !receiver.counts && !receiver.is_in_flight() && !self.has_in_place(),
            decode: is_held && receiver.borrow.is_none(),
            decoded: receiver.borrow.is_some() && may_receive == 0 && receiver.owes() == 0,
            set_usable: receiver.bytes.is_empty() && !receiver.ended,
            end: !receiver.ended && !self.is_in_place(id) && !receiver.is_looked_at(),
            ended: receiver.ended,
            close: true,
            set_submits: may_receive == 0,
            submit: receiver.submits
                && receive_max > 0
                && !whole
                && receiver.look_asked().is_none()
                && !receiver.is_in_flight(),
            consume_max: if receiver.is_in_flight() { receiver.kept() } else { 0 },
            complete: false,
            looked,
            whole,
            whole_look: receiver.look_asked().is_some(),
            away_max: receiver.owes(),
            kernel_full: receiver.may_be_full(),
            peer_closed: !receiver.ended,
            set_counts: Some(!receiver.counts).filter(|_| receiver.may_change_counting()),
            reads_ahead: !receiver.counts,
        }
    }

    /// Whether a receiver of this number may be attached.
    pub fn may_attach(&self, id: u32) -> bool {
        !self.receivers.contains_key(&id) && self.receivers.len() < self.config.receivers_max as usize
    }

    /// Leases that the host has.
    pub fn leases(&self) -> u32 {
        self.leases
    }

    /// Receivers that are there, those that were shed too.
    pub fn attached(&self) -> Vec<u32> {
        self.receivers.keys().copied().collect()
    }
}
