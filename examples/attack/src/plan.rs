//! The attacks, the clients in each, and how they behave.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::options::Options;

/// Each slow reader and each burst pins kernel memory on both sides of the relay; more of them would attack the machine
/// instead of the relay.
const SLOW_READERS_MAX: usize = 1000;
const BURSTS_MAX: usize = 1000;

/// Connections that send each byte in a segment of its own, which takes the kernel a kilobyte each.
const TINY_MAX: usize = 100;

/// Writes of all trickling connections together, of all those with tiny segments, frames of all that send back to
/// back, and reconnects of all leavers, in each second: the processor is not the target.
const DROPS_PER_SECOND: usize = 4000;
const TINY_PER_SECOND: usize = 40_000;
const FRAMES_PER_SECOND: usize = 1000;
const CONNECTS_PER_SECOND: usize = 500;

/// Connections that were all closed at once come back at this rate, but each within this time at least.
const RETURNS_PER_SECOND: usize = 4000;
const AWAY_MIN: Duration = Duration::from_millis(500);

/// Within its allowance of 3 s a frame that is sent back to back is whole.
const BACK_TO_BACK_MAX: Duration = Duration::from_millis(2500);

/// A payload as long as HTTP/2 allows without being asked, which with its head just fits a buffer of the usual size.
pub(crate) const LARGE_FRAME: u32 = 1 << 14;

/// The largest partial frame, and the one that is used where the size does not matter.
const PARTIAL_MAX: u16 = 1 << 14;
pub(crate) const PARTIAL_BYTES: usize = 4097;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Part of a large frame, of this size; of any size if there is none.
    Partial(Option<u16>),
    AtOnce,
    Drip,
    BackToBack,
    Leave,
    Tiny,
    Burst,
    Urgent,
    Announce,
    SlowReaders,
    Flood,
    Overload,
    Mixed,
}

/// All but the partial frames of a given size.
const NAMES: [(&str, Name); 13] = [
    ("partial", Name::Partial(None)),
    ("at-once", Name::AtOnce),
    ("drip", Name::Drip),
    ("back-to-back", Name::BackToBack),
    ("leave", Name::Leave),
    ("tiny", Name::Tiny),
    ("burst", Name::Burst),
    ("urgent", Name::Urgent),
    ("announce", Name::Announce),
    ("slow-readers", Name::SlowReaders),
    ("flood", Name::Flood),
    ("overload", Name::Overload),
    ("mixed", Name::Mixed),
];

/// The sizes that are tried without being asked for: a byte, one more than a cell of 256 and of 4,096 bytes, and all
/// but the end.
const SIZES: [u16; 4] = [1, 257, 4097, PARTIAL_MAX];

/// Those that do not wear the processor down, which are mixed.
const MIXED: [Name; 9] = [
    Name::Partial(None),
    Name::Drip,
    Name::BackToBack,
    Name::Leave,
    Name::Tiny,
    Name::Burst,
    Name::Urgent,
    Name::Announce,
    Name::SlowReaders,
];

/// The behaviour of an attacker on its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Habit {
    /// Sends this many bytes of a frame, or any number of them, and stays.
    Partial { bytes: Option<u16> },
    /// The same, at the moment at which all do.
    AtOnce,
    /// Sends a byte of a frame after each such time.
    Drip { pause: Duration },
    /// Sends the end of a frame and the begin of the next after each such time.
    BackToBack { pause: Duration },
    /// Sends part of a frame, leaves soon, and is back after about so long.
    Leaver { pause: Duration },
    /// Sends each byte in a segment, as small as the kernel makes them, after each such time.
    Tiny { pause: Duration },
    /// Sends many frames at once, and part of one more.
    Burst,
    /// Sends an urgent byte inside of a frame.
    Urgent,
    /// Sends this many bytes of the largest header block that the peer's settings allow, after it has read them.
    Announce { bytes: usize },
    /// Asks for more than the sockets hold, and reads nothing.
    SlowReader,
    /// Sends a request in two pieces and waits for the answer, again and again, with a pause of up to so long.
    Requests { pause_max: Duration },
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
    pub(crate) fn parse(text: &str) -> Result<Name, String> {
        if let Some(bytes) = text.strip_prefix("partial-") {
            let bytes = bytes.parse().ok().filter(|bytes| (1..=PARTIAL_MAX).contains(bytes));
            return bytes.map(|bytes| Name::Partial(Some(bytes))).ok_or_else(allowed);
        }
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, name)| *name).ok_or_else(allowed)
    }

    pub(crate) fn text(self) -> String {
        match (self, NAMES.iter().find(|(_, name)| *name == self)) {
            (Name::Partial(Some(bytes)), _) => format!("partial-{bytes}"),
            (_, named) => named.expect("all others have a name").0.into(),
        }
    }

    /// Those that are tried without being asked for.
    pub(crate) fn usual() -> Vec<Name> {
        SIZES.map(|bytes| Name::Partial(Some(bytes))).into_iter().chain(NAMES.map(|(_, name)| name)).collect()
    }

    /// Whether memory alone decides how long honest requests take, if the relay counts: the kernel can hold what
    /// attackers send, and the processor is not worn down.
    pub(crate) fn spares_counting(self) -> bool {
        !matches!(self, Name::Tiny | Name::Burst | Name::Mixed | Name::Flood | Name::Overload)
    }

    /// The attackers beside the honest clients; of an overload the clients of the largest step.
    pub(crate) fn bands(self, options: &Options) -> Vec<Band> {
        match self {
            Name::Overload => vec![load(LOAD_MAX, options)],
            Name::Mixed => mixed(options),
            name => vec![band(name, options.connections, options)],
        }
    }
}

fn allowed() -> String {
    let names = NAMES.map(|(name, _)| name).join(", ");
    format!("allowed is one of {names}, or partial-N with N from 1 to {PARTIAL_MAX}")
}

/// The most connections at once, in this attack, beside those of the honest clients.
pub(crate) fn connections(bands: &[Band]) -> usize {
    bands.iter().map(|band| band.count).sum()
}

fn mixed(options: &Options) -> Vec<Band> {
    let share = (options.connections / MIXED.len()).max(1);
    MIXED.map(|name| band(name, share, options)).into()
}

fn band(name: Name, connections: usize, options: &Options) -> Band {
    let most = match name {
        Name::SlowReaders => SLOW_READERS_MAX,
        Name::Burst => BURSTS_MAX,
        Name::Tiny => TINY_MAX,
        _ => usize::MAX,
    };
    let count = connections.min(most);
    let habit = match name {
        Name::Partial(bytes) => Habit::Partial { bytes },
        Name::AtOnce => Habit::AtOnce,
        Name::Drip => Habit::Drip { pause: each(count, DROPS_PER_SECOND) },
        Name::BackToBack => Habit::BackToBack { pause: each(count, FRAMES_PER_SECOND).min(BACK_TO_BACK_MAX) },
        Name::Leave => Habit::Leaver { pause: each(count, CONNECTS_PER_SECOND) },
        Name::Tiny => Habit::Tiny { pause: each(count, TINY_PER_SECOND) },
        Name::Burst => Habit::Burst,
        Name::Urgent => Habit::Urgent,
        Name::Announce => Habit::Announce { bytes: 100 },
        Name::SlowReaders => Habit::SlowReader,
        Name::Flood | Name::Overload | Name::Mixed => Habit::Requests { pause_max: Duration::ZERO },
    };
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
    /// An attacker that was closed connects again within this time.
    pub(crate) fn away_max(&self) -> Duration {
        each(self.count, RETURNS_PER_SECOND).max(AWAY_MIN)
    }

    /// How often they act in a second, if they have a rate.
    pub(crate) fn acts_per_second(&self) -> f64 {
        match self.habit {
            Habit::Drip { pause } | Habit::BackToBack { pause } | Habit::Leaver { pause } | Habit::Tiny { pause } => {
                self.count as f64 / pause.as_secs_f64()
            }
            _ => 0.0,
        }
    }

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

/// Where the client of this number that asks the server itself comes from.
pub(crate) fn beside_source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + number as u8)
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
        assert!(seen.is_disjoint(&networks((0..250).map(beside_source))));
        for name in Name::usual().into_iter().filter(|name| !matches!(name, Name::Overload | Name::Mixed)) {
            let band = band(name, options.connections, &options);
            let expected = band.count.min(if name == Name::Flood { 1 } else { 1000 });
            let hostile = networks((0..band.count).map(|number| band.source(number)));
            assert_eq!(hostile.len(), expected, "{band:?}");
            assert!(seen.is_disjoint(&hostile), "{band:?}");
        }
        let load = load(LOAD_MAX, &options);
        seen.extend(networks((0..load.count).map(|number| load.source(number))));
        assert_eq!(seen.len(), 250 + 630);
    }

    #[test]
    fn each_attack_has_the_habit_of_its_name() {
        let options = Options::parse_from(["attack", "--connections", "10"]);
        for name in Name::usual().into_iter().filter(|name| *name != Name::Mixed) {
            let bands = name.bands(&options);
            let habit = match bands[0].habit {
                Habit::Partial { bytes: Some(bytes) } => format!("partial-{bytes}"),
                Habit::Partial { bytes: None } => "partial".into(),
                Habit::AtOnce => "at-once".into(),
                Habit::Drip { .. } => "drip".into(),
                Habit::BackToBack { .. } => "back-to-back".into(),
                Habit::Leaver { .. } => "leave".into(),
                Habit::Tiny { .. } => "tiny".into(),
                Habit::Burst => "burst".into(),
                Habit::Urgent => "urgent".into(),
                Habit::Announce { .. } => "announce".into(),
                Habit::SlowReader => "slow-readers".into(),
                Habit::Requests { pause_max: Duration::ZERO } => "flood".into(),
                Habit::Requests { .. } => "overload".into(),
            };
            assert_eq!((bands.len(), habit), (1, name.text()));
        }
    }

    #[test]
    fn attack_names_are_read_as_they_are_written() {
        for name in Name::usual() {
            assert_eq!(Name::parse(&name.text()), Ok(name));
        }
        for wrong in ["partial-0", "partial-16385", "partial-", "bribery", ""] {
            let error = Name::parse(wrong).expect_err(wrong);
            assert!(error.contains("slow-readers") && error.contains("from 1 to 16384"), "{error}");
        }
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
    fn closed_attackers_come_back_at_a_rate() {
        let options = Options::parse_from(["attack", "--connections", "100000"]);
        let away_max = |count| band(Name::Drip, count, &options).away_max().as_secs_f64();
        assert_eq!([100, 2000, 10_000].map(away_max), [0.5, 0.5, 2.5]);
    }

    #[test]
    fn overload_counts_its_clients() {
        let options = Options::parse_from(["attack", "--connections", "50", "--memory-kib", "4830"]);
        let counts = [Name::Drip, Name::Overload, Name::Mixed].map(|name| connections(&name.bands(&options)));
        assert_eq!(counts, [50, 3000, 45]);
    }

    #[test]
    fn plan_limits_connections_per_second() {
        for connections in ["10", "2000", "100000"] {
            let options = Options::parse_from(["attack", "--connections", connections]);
            for name in Name::usual() {
                for band in name.bands(&options) {
                    let per_second = |pause: Duration| band.count as f64 / pause.as_secs_f64();
                    match band.habit {
                        Habit::Drip { pause } => assert!(per_second(pause) < 4001.0),
                        Habit::Tiny { pause } => assert!(band.count <= 100 && per_second(pause) < 40_001.0),
                        // All of them send a frame within its allowance, however many they are.
                        Habit::BackToBack { pause } => {
                            assert!(pause < Duration::from_secs(3) && per_second(pause) < (band.count + 1000) as f64);
                        }
                        Habit::Leaver { pause } => assert!(per_second(pause) < 501.0),
                        Habit::SlowReader | Habit::Burst => assert!(band.count <= 1000),
                        Habit::Partial { .. } | Habit::AtOnce | Habit::Urgent => {}
                        Habit::Announce { .. } | Habit::Requests { .. } => {}
                    }
                }
            }
        }
    }
}
