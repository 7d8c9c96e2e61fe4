//! Instructions and system calls of a relay for one request: what more of them cost, so that start, connections and end
//! are left out.

use crate::parties::{Load, Relay};
use crate::support::system_calls::{count_of, has_strace, under_strace};
use crate::support::{Counted, Error, Options, has_valgrind, under_callgrind};
use std::net::SocketAddr;
use std::process::Command;

/// Callgrind is too slow for more.
pub(crate) const COUNTED_CONNECTIONS: u32 = 100;

/// A relay, and where it listens if it does not print that.
pub(crate) type Start = (Command, Option<SocketAddr>);

/// What can be counted on this machine.
pub(crate) struct Counter {
    has_valgrind: bool,
    has_strace: bool,
    few: u32,
    many: u32,
}

impl Counter {
    pub(crate) fn new(options: &Options) -> Counter {
        let (few, many) = options.pick((100, 200), (1_000, 5_000), (1_000, 5_000));
        Counter { has_valgrind: has_valgrind(), has_strace: has_strace(), few, many }
    }

    /// In the program, without what the system does for it.
    pub(crate) fn instructions(
        &self,
        connections: u32,
        start: impl Fn() -> Result<Start, Error>,
    ) -> Result<Option<f64>, Error> {
        let count = |requests: u32| {
            let (command, address) = start()?;
            let relay = Relay::start(&mut under_callgrind(&command, &[]), address)?;
            Load::run(relay.address, connections, requests)?;
            Ok(Counted::read(&relay.stop()?.1).instructions)
        };
        self.has_valgrind.then(|| self.each(count)).transpose()
    }

    /// Of all its threads and processes.
    pub(crate) fn system_calls(
        &self,
        connections: u32,
        start: impl Fn() -> Result<Start, Error>,
    ) -> Result<Option<f64>, Error> {
        let count = |requests: u32| {
            let (command, address) = start()?;
            let relay = Relay::start(&mut under_strace(&command), address)?;
            Load::run(relay.address, connections, requests)?;
            relay.stop()?;
            count_of()
        };
        self.has_strace.then(|| self.each(count)).transpose()
    }

    fn each(&self, count: impl Fn(u32) -> Result<u64, Error>) -> Result<f64, Error> {
        let [few, many] = [count(self.few)?, count(self.many)?];
        Ok((many as f64 - few as f64) / f64::from(self.many - self.few))
    }
}
