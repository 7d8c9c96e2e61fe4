//! What the hosts run on: the library's receivers, here, or the machine with the host's own buffers, in
//! [`crate::bare`].

use super::{BUFFER_BYTES, CONNECTIONS, Settings};
use demuxbuf::connection::{Actions, Connection, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};

/// What a host needs of its side; buffers are no concern of its event loop.
pub(super) trait Side {
    fn handle(&mut self, at: usize, event: Event) -> Actions;
    fn pending(&self, at: usize) -> Actions;
    fn connection(&self, at: usize) -> Connection;
    fn data(&self, at: usize) -> &[u8];
    fn receive_area(&mut self, at: usize) -> &mut [u8];
    fn next_grant(&mut self) -> Option<usize>;
    fn take(&mut self, at: usize) -> Option<Vec<u8>>;
    fn check(&self);
    fn held(&self) -> u32;
    /// What an audit at this time names.
    fn audit(&mut self, _now_ns: u64) -> Vec<String> {
        Vec::new()
    }
}

/// The library does everything about memory: receives borrow, only partial frames keep. There is enough for every
/// frame, so that nothing depends on time.
pub(super) struct Pooled {
    pool: Pool,
    ids: Vec<ReceiverId>,
}

impl Pooled {
    pub(super) fn new(settings: &Settings) -> Pooled {
        let memory_bytes = (8 + u64::from(settings.buffers)) * u64::from(BUFFER_BYTES);
        let config = PoolConfig {
            buffer_bytes: BUFFER_BYTES,
            policy: settings.policy,
            audit: true,
            ..PoolConfig::new(memory_bytes, CONNECTIONS as u32)
        };
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        pool.handle_timeout(0);
        let ids = (0..CONNECTIONS)
            .map(|at| pool.attach(&AttachOptions::new(0, at as u64)).expect("the table has room"))
            .collect();
        Pooled { pool, ids }
    }
}

impl Side for Pooled {
    fn handle(&mut self, at: usize, event: Event) -> Actions {
        // Nothing else asks for memory.
        if matches!(event, Event::ReclaimRequested | Event::LeaseExpired) {
            return self.pending(at);
        }
        self.pool.handle(self.ids[at], event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
    }

    fn pending(&self, at: usize) -> Actions {
        self.pool.pending(self.ids[at]).expect("attached")
    }

    fn connection(&self, at: usize) -> Connection {
        self.pool.connection(self.ids[at]).expect("attached")
    }

    fn data(&self, at: usize) -> &[u8] {
        self.pool.data(self.ids[at]).expect("attached")
    }

    fn receive_area(&mut self, at: usize) -> &mut [u8] {
        self.pool.receive_area(self.ids[at]).expect("attached")
    }

    fn next_grant(&mut self) -> Option<usize> {
        match self.pool.poll_notice()? {
            Notice::Receiver { token, .. } => Some(token as usize),
            notice => unreachable!("this host requests nothing for itself: {notice:?}"),
        }
    }

    fn take(&mut self, at: usize) -> Option<Vec<u8>> {
        let content = self.pool.take(self.ids[at]).ok()?;
        let range = content.offset as usize..(content.offset + content.buffered_bytes) as usize;
        let bytes = self.pool.buffer(content.lease).expect("the lease is the host's")[range].to_vec();
        self.pool.release(content.lease).expect("the lease is the host's");
        Some(bytes)
    }

    fn check(&self) {
        self.pool.check_invariants().expect("the invariants hold");
    }

    fn held(&self) -> u32 {
        let memory = self.pool.memory();
        let split = memory.split();
        memory.cells().map(|(_, cells)| cells).sum::<u32>() + split.buffers
            - 1
            - split.header_buffers
            - memory.free_buffers()
    }

    /// At the end of an iteration, before the clock of the next one.
    fn audit(&mut self, now_ns: u64) -> Vec<String> {
        let findings = core::iter::from_fn(|| self.pool.poll_audit(now_ns).expect("the audit is on"));
        let lines = findings.map(|finding| finding.to_string()).collect();
        self.pool.handle_timeout(now_ns);
        lines
    }
}
