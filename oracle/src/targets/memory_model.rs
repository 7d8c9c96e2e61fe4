//! Receives on the memory model alone, the model and the core: what tenants hold, their shares and caps, claims, trials
//! and evictions. Each line is a call that is legal where it stands, or none.

use super::text::{Line, each_line, lines};
use crate::receiving_ops::{opening, wind_up};
use crate::receiving_system::{ReceivingConfig, TenantShare};
use crate::{CoreReceiving, Drawn, DrawnKind, ReceivingDifferential};

/// Lines of the configuration, wherever they are; then calls: the receiver, and two numbers that choose among what is
/// legal.
pub(super) const EXAMPLES: &[&str] = &[
    "buffers 9",
    "bytes 256",
    "receivers 4",
    "free 2",
    "grace-ms 80",
    "blocked-ms 80",
    "in-flight 2",
    "share 1 3 1 0",
    "share 2 1 0 3",
    "attach 0 1",
    "layer 0 0",
    "count 0",
    "kernel 0 1",
    "tenant 0 1",
    "tenant 1 2",
    "close 0",
    "obey 0 0 0",
    "obey 0 1000 1",
    "obey 1 2 5",
    "obey 2 4 7",
    "deliver 0 200",
    "guess 0",
    "dry 0",
    "submit 0 3",
    "use 0 100",
    "end 0",
    "later 0 3",
    "later 0 3",
    "poll",
    "poll",
    "drain 20",
    "wait 20",
    "lease",
    "release",
];

const MS: u64 = 1_000_000;

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let (config, free) = config(text);
    let mut pair = ReceivingDifferential::new(CoreReceiving::new(config)?, config)?;
    opening(config, free).into_iter().try_for_each(|op| pair.play(op).map(drop))?;
    each_line(text, |line| {
        let Some(drawn) = drawn(line) else { return Ok(()) };
        let times = if matches!(line.word, "drain" | "wait") { line.number(0).clamp(1, 31) } else { 1 };
        (0..times).try_for_each(|_| pair.play_drawn(drawn))
    })?;
    wind_up(pair.model.system.leases(), pair.now_ns(), |op| pair.play(op))
}

fn drawn(line: Line<'_>) -> Option<Drawn> {
    let [receiver, amount, rest] = [0, 1, 2].map(|at| line.number(at) as u16);
    let (kind, amount) = match line.word {
        "attach" => (DrawnKind::Attach, amount),
        "layer" => (DrawnKind::ReadAhead, amount),
        "count" => (DrawnKind::Count, amount),
        "kernel" => (DrawnKind::Kernel, amount),
        "tenant" => (DrawnKind::Tenant, amount),
        "close" => (DrawnKind::Close, amount),
        "obey" => (DrawnKind::Obey, amount),
        "deliver" => (DrawnKind::Deliver, amount),
        "guess" => (DrawnKind::Guess, amount),
        "dry" => (DrawnKind::Dry, amount),
        "submit" => (DrawnKind::Submit, amount),
        "use" => (DrawnKind::Use, amount),
        "end" => (DrawnKind::End, amount),
        "later" => (DrawnKind::Advance, amount),
        // As far as an advance counts.
        "wait" => (DrawnKind::Advance, 3),
        "poll" | "drain" => (DrawnKind::Poll, amount),
        "lease" => (DrawnKind::Lease, 0),
        "release" => (DrawnKind::Lease, 1),
        _ => return None,
    };
    Some(Drawn { kind, receiver: receiver as u8, amount, rest })
}

/// An allowed configuration in which a few calls exhaust memory, and how many buffers the host leaves at first.
fn config(text: &[u8]) -> (ReceivingConfig, u32) {
    let (mut buffers, mut free) = (8, u32::MAX);
    let new = ReceivingConfig::new(0, 4);
    let mut config = ReceivingConfig { buffer_bytes: 256, frame_grace_ns: 80 * MS, blocked_ns: 80 * MS, ..new };
    for line in lines(text) {
        let (number, ns) = (line.short(0), (line.number(0).min(1 << 40) * MS).max(8));
        match line.word {
            "buffers" => buffers = 8 + u64::from(number % 8),
            "bytes" => config.buffer_bytes = 128 + number / 64 % 40 * 64,
            "receivers" => config.receivers_max = 1 + number.wrapping_sub(1) % 15,
            "free" => free = number,
            "grace-ms" => config.frame_grace_ns = ns,
            "blocked-ms" => config.blocked_ns = ns,
            "in-flight" => config.in_flight_max = number % 4,
            "share" => {
                let cap = line.short(3).checked_sub(1).map(|cap| 1 + cap % 8);
                let guaranteed = (line.short(2) % 4).min(cap.unwrap_or(u32::MAX));
                let share = TenantShare { weight: 1 + line.short(1) % 8, guaranteed, cap };
                config.tenants.get_or_insert([TenantShare::DEFAULT; 2])[number as usize % 2] = share;
            }
            _ => {}
        }
    }
    config.memory_bytes = buffers * u64::from(config.buffer_bytes);
    (config, free)
}
