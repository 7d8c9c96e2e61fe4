//! The attacks, the clients in each, and how they behave.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::ValueEnum;

use crate::options::Options;

/// Each slow reader pins kernel memory on both sides of the relay; more of them would attack the machine instead of the
/// relay.
const SLOW_READERS_MAX: usize = 1000;

/// Writes of all trickling connections together, and reconnects of all leavers together, in each second: the processor
/// is not the target.
const DROPS_PER_SECOND: usize = 4000;
const CONNECTS_PER_SECOND: usize = 500;

/// A header block that with its head just fits a buffer of the usual size, so that it is kept until it is whole.
pub(crate) const LARGE_FRAME: u32 = 16_000;

/// The size of a buffer, if nothing else is said.
const BUFFER_BYTES: u64 = 16_448;

/// The steps of an overload, as multiples of the requests that the buffers are enough for.
pub(crate) const LOADS: [f64; 5] = [1.0, 1.2, 2.0, LOAD_MAX, 1.0];
const LOAD_MAX: f64 = 5.0;

/// Each client of an overload has a buffer in use half of the time.
const CLIENTS_PER_BUFFER: f64 = 2.0;

/// The networks from 127.1.0 on; one client of the largest overload comes from each.
pub(crate) const NETWORKS_MAX: usize = 254 * 256;
/// The least that a relay takes, and as much as there are networks for.
pub(crate) const MEMORY_KIB_MIN: u64 = (8 * BUFFER_BYTES).div_ceil(1024);
pub(crate) const MEMORY_KIB_MAX: u64 = 100_000;
const _: () = assert!(buffers(MEMORY_KIB_MAX) as f64 * CLIENTS_PER_BUFFER * LOAD_MAX <= NETWORKS_MAX as f64);

/// Buffers in this memory.
const fn buffers(memory_kib: u64) -> u64 {
    memory_kib * 1024 / BUFFER_BYTES
}

/// Time between the two pieces of a request, during which it has a buffer in use.
pub(crate) const REQUEST_LASTS: Duration = Duration::from_millis(20);

/// The attacks, by the names that the command line has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// A frame, a few bytes at a time
    Drip,
    /// 65 bytes of a large frame
    #[value(name = "partial-65")]
    Partial65,
    /// 257 bytes of a large frame
    #[value(name = "partial-257")]
    Partial257,
    /// 1025 bytes of a large frame
    #[value(name = "partial-1025")]
    Partial1025,
    /// 4097 bytes of a large frame
    #[value(name = "partial-4097")]
    Partial4097,
    /// 100 bytes of a frame of 16 MiB
    Announce,
    /// Requests whose responses stay unread
    SlowReaders,
    /// Request after request without a pause, from one network
    Flood,
    /// Connections that send part of a frame and leave
    Leave,
    /// More honest requests than there are buffers for, by a factor of 1.2, 2 and 5, and back
    Overload,
    /// All of them at once, but for the overload
    All,
}

/// The behaviour of an attacker on its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Habit {
    /// Sends 1 to 8 bytes of a frame after each such time.
    Drip { pause: Duration },
    /// Sends this many bytes of a header block, and stays.
    Partial { bytes: usize },
    /// Sends this many bytes of the largest header block that the peer's settings allow, after it has read them.
    Announce { bytes: usize },
    /// Asks for more than the sockets hold, and reads nothing.
    SlowReader,
    /// Sends a request in two pieces and waits for the answer, again and again, with a pause of up to so long.
    Requests { pause_max: Duration },
    /// Sends part of a frame, leaves soon, and is back after about so long.
    Leaver { pause: Duration },
}

/// Attackers of one habit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Band {
    pub(crate) habit: Habit,
    pub(crate) count: usize,
    /// Networks that they come from.
    pub(crate) networks: usize,
}

impl Name {
    pub(crate) fn text(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().into()
    }

    /// The attackers beside the honest clients; of an overload the clients of the largest step.
    pub(crate) fn bands(self, options: &Options) -> Vec<Band> {
        match self {
            Name::Overload => vec![load(LOAD_MAX, options)],
            Name::All => all(options),
            name => vec![band(name, options.connections, options)],
        }
    }
}

/// The most connections at once, in this attack, beside those of the honest clients.
pub(crate) fn connections(bands: &[Band]) -> usize {
    bands.iter().map(|band| band.count).sum()
}

fn all(options: &Options) -> Vec<Band> {
    let names = Name::value_variants().iter().filter(|name| !matches!(name, Name::Overload | Name::All));
    let share = options.connections / names.clone().count();
    names.map(|name| band(*name, share.max(1), options)).collect()
}

fn band(name: Name, count: usize, options: &Options) -> Band {
    let habit = match name {
        Name::Drip => Habit::Drip { pause: each(count, DROPS_PER_SECOND) },
        Name::Partial65 => Habit::Partial { bytes: 65 },
        Name::Partial257 => Habit::Partial { bytes: 257 },
        Name::Partial1025 => Habit::Partial { bytes: 1025 },
        Name::Partial4097 => Habit::Partial { bytes: 4097 },
        Name::Announce => Habit::Announce { bytes: 100 },
        Name::SlowReaders => Habit::SlowReader,
        Name::Flood | Name::Overload | Name::All => Habit::Requests { pause_max: Duration::ZERO },
        Name::Leave => Habit::Leaver { pause: each(count, CONNECTS_PER_SECOND) },
    };
    let count = if habit == Habit::SlowReader { count.min(SLOW_READERS_MAX) } else { count };
    let networks = if name == Name::Flood { 1 } else { options.networks };
    Band { habit, count, networks }
}

/// The pause of each of `count` connections that together may act `per_second` times a second.
fn each(count: usize, per_second: usize) -> Duration {
    Duration::from_secs_f64(count as f64 / per_second as f64)
}

/// Honest clients with this multiple of the requests that the relay's buffers are enough for, each from a network of
/// its own.
pub(crate) fn load(factor: f64, options: &Options) -> Band {
    let count = (factor * CLIENTS_PER_BUFFER * buffers(options.memory_kib) as f64).round() as usize;
    Band { habit: Habit::Requests { pause_max: 2 * REQUEST_LASTS }, count, networks: count }
}

impl Band {
    /// Where its attacker of this number comes from: many addresses of each network.
    pub(crate) fn source(&self, number: usize) -> Ipv4Addr {
        let (network, host) = (number % self.networks, number / self.networks % 250);
        let network = u16::try_from(256 + network).expect("there are at most NETWORKS_MAX");
        let [high, low] = network.to_be_bytes();
        Ipv4Addr::new(127, high, low, 1 + host as u8)
    }
}

/// Where the honest client of this number comes from.
pub(crate) fn honest_source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1 + number as u8, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::collections::BTreeSet;

    fn networks(sources: impl Iterator<Item = Ipv4Addr>) -> BTreeSet<[u8; 3]> {
        sources.map(|source| source.octets()).map(|[a, b, c, _]| [a, b, c]).collect()
    }

    #[test]
    fn honest_clients_have_own_networks() {
        let options = Options::parse_from(["attack", "--connections", "9000", "--networks", "1000"]);
        let mut seen = networks((0..250).map(honest_source));
        assert_eq!(seen.len(), 250);
        for band in all(&options) {
            let expected = if band.networks == 1 { 1 } else { 1000 };
            let hostile = networks((0..band.count).map(|number| band.source(number)));
            assert_eq!(hostile.len(), expected, "{band:?}");
            assert!(seen.is_disjoint(&hostile), "{band:?}");
        }
        let load = load(LOAD_MAX, &options);
        seen.extend(networks((0..load.count).map(|number| load.source(number))));
        assert_eq!(seen.len(), 250 + 630);
    }

    #[test]
    fn overload_clients_have_own_networks() {
        let options = Options::parse_from(["attack", "--memory-kib", &MEMORY_KIB_MAX.to_string()]);
        let load = load(LOAD_MAX, &options);
        let honest = networks((0..250).map(honest_source));
        let crowd = networks((0..load.count).map(|number| load.source(number)));
        assert_eq!((load.count, crowd.len()), (62_250, 62_250));
        assert!(honest.is_disjoint(&crowd));
    }

    #[test]
    fn overload_counts_its_clients() {
        let options = Options::parse_from(["attack", "--connections", "50", "--memory-kib", "4830"]);
        let counts = [Name::Drip, Name::Overload, Name::All].map(|name| connections(&name.bands(&options)));
        assert_eq!(counts, [50, 3000, 45]);
    }

    #[test]
    fn plan_limits_connections_per_second() {
        for connections in ["10", "2000", "100000"] {
            let options = Options::parse_from(["attack", "--connections", connections]);
            for name in Name::value_variants() {
                for band in name.bands(&options) {
                    let per_second = |pause: Duration| band.count as f64 / pause.as_secs_f64();
                    match band.habit {
                        Habit::Drip { pause } => assert!(per_second(pause) < 4001.0),
                        Habit::Leaver { pause } => assert!(per_second(pause) < 501.0),
                        Habit::SlowReader => assert!(band.count <= 1000),
                        Habit::Partial { .. } | Habit::Announce { .. } | Habit::Requests { .. } => {}
                    }
                }
            }
        }
    }
}
