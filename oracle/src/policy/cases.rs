//! The attacks.

use super::clients::Behaviour;

/// One attack: what all attackers do.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What attackers do.
    pub behaviour: Behaviour,
    /// How much of a frame they send at first.
    pub first_bytes: u32,
    /// Attackers that are shed come back.
    pub reconnects: bool,
    /// Each attacker draws its behaviour and its first bytes.
    pub is_mixed: bool,
}

/// How much of a frame is sent at first: around each size of cells.
pub(super) const FIRST_BYTES: [u32; 11] = [1, 20, 65, 100, 257, 1_000, 1_025, 4_097, 8_000, 12_000, 16_000];

const BY_SIZE: [(&str, Behaviour, bool); 6] = [
    ("static", Behaviour::Static, false),
    ("static, reconnects", Behaviour::Static, true),
    ("drip", Behaviour::Drip, false),
    ("back-to-back", Behaviour::BackToBack, false),
    ("1 byte", Behaviour::OneByte, false),
    ("complete", Behaviour::Complete, false),
];

const OTHERS: [(&str, Behaviour, bool, bool); 6] = [
    ("fast", Behaviour::Fast, false, false),
    ("fast, reconnects", Behaviour::Fast, true, false),
    ("blocked", Behaviour::Blocked, false, false),
    ("blocked, reconnects", Behaviour::Blocked, true, false),
    ("mixed", Behaviour::Static, false, true),
    ("mixed, reconnects", Behaviour::Static, true, true),
];

/// All 72.
pub fn all_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, behaviour, reconnects) in BY_SIZE {
        for first_bytes in FIRST_BYTES {
            cases.push(Case { name, behaviour, first_bytes, reconnects, is_mixed: false });
        }
    }
    for (name, behaviour, reconnects, is_mixed) in OTHERS {
        cases.push(Case { name, behaviour, first_bytes: 100, reconnects, is_mixed });
    }
    cases
}

/// 18 that differ most: two sizes of each attack but that of single bytes, and all without a size.
pub fn few_cases() -> Vec<Case> {
    let is_among = |case: &Case| match case.behaviour {
        Behaviour::OneByte => false,
        Behaviour::Fast | Behaviour::Blocked => true,
        _ if case.is_mixed => true,
        Behaviour::Complete => [20, 8_000, 16_000].contains(&case.first_bytes),
        Behaviour::Static if !case.reconnects => [20, 1_000, 16_000].contains(&case.first_bytes),
        _ => [20, 16_000].contains(&case.first_bytes),
    };
    all_cases().into_iter().filter(is_among).collect()
}
