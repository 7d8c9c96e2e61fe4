//! Whether an attack was as strong as it is meant to be, while honest requests were measured.

use demuxbuf_demo::requests::milliseconds;
use demuxbuf_demo::text::thousands;
use serde::Serialize;

use crate::options::Options;
use crate::plan::Name;
use crate::scene::{Pair, Scene};

/// At least these parts of the attackers have sent what they attack with, as often as they should: timers of 2.5 ms end
/// after 3 or 4, and leavers that all came at once come back half as often at first.
const STRUCK_MIN: f64 = 0.9;
const ACTS_MIN: f64 = 1.0 / 3.0;

/// All that act at once do so within this time.
const MOMENT_MS: f64 = 500.0;

/// What the attackers achieved; of several pairs the worst.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Strength {
    pub(crate) attackers: u64,
    /// From the first that came until all had an answer.
    pub(crate) came_within_ms: f64,
    /// Those that had sent what they attack with, and from when they could until the last of them had.
    pub(crate) struck: u64,
    pub(crate) struck_within_ms: f64,
    /// They are meant to act at once.
    pub(crate) is_at_once: bool,
    /// How often those that have a rate acted in a second, over all pairs, and how often they should; 0 if there are
    /// none.
    pub(crate) acts_per_second: f64,
    pub(crate) planned_per_second: f64,
}

impl Strength {
    pub(crate) fn of(options: &Options, scene: &Scene) -> Strength {
        let most = |ms: fn(&Pair) -> f64| scene.pairs.iter().map(ms).fold(0.0, f64::max);
        let acts: u64 = scene.pairs.iter().map(|pair| pair.strength.acts).sum();
        let lasted: f64 = scene.pairs.iter().map(|pair| (pair.left - pair.complete).as_secs_f64()).sum();
        Strength {
            attackers: scene.attackers,
            came_within_ms: most(|pair| milliseconds(pair.strength.came_within)),
            struck: scene.pairs.iter().map(|pair| pair.strength.struck).min().unwrap_or(0),
            struck_within_ms: most(|pair| milliseconds(pair.strength.struck_within)),
            is_at_once: scene.name == Name::AtOnce,
            acts_per_second: acts as f64 / lasted,
            planned_per_second: scene.name.bands(options).iter().map(|band| band.acts_per_second()).sum(),
        }
    }

    /// How much of their rate they achieved, if they have one.
    pub(crate) fn share_of_rate(&self) -> Option<f64> {
        (self.planned_per_second > 0.0).then(|| self.acts_per_second / self.planned_per_second)
    }

    /// Why honest clients were hardly attacked, if so.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let (struck, attackers) = (thousands(self.struck), thousands(self.attackers));
        let [within, acts, planned] =
            [self.struck_within_ms, self.acts_per_second, self.planned_per_second].map(|figure| format!("{figure:.0}"));
        let is_weak = [
            (self.struck as f64) < STRUCK_MIN * self.attackers as f64,
            self.is_at_once && self.struck_within_ms > MOMENT_MS,
            self.share_of_rate().is_some_and(|share| share < ACTS_MIN),
        ];
        let texts = [
            format!("too weak: only {struck} of {attackers} attackers had sent what they attack with"),
            format!("too weak: they did not act at once, but within {within} ms"),
            format!("too weak: attackers acted {acts} times a second, not {planned} times"),
        ];
        texts.into_iter().zip(is_weak).filter(|(_, is_weak)| *is_weak).map(|(text, _)| text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_attack_is_named() {
        let strong = Strength {
            attackers: 100,
            struck: 90,
            struck_within_ms: 500.0,
            is_at_once: true,
            acts_per_second: 34.0,
            planned_per_second: 100.0,
            ..Strength::default()
        };
        assert_eq!(strong.complaints(), Vec::<String>::new());
        type Weaken = fn(&mut Strength);
        let cases: [(Weaken, &str); 3] = [
            (|attack| attack.struck = 89, "only 89 of 100 attackers"),
            (|attack| attack.struck_within_ms = 501.0, "within 501 ms"),
            (|attack| attack.acts_per_second = 33.0, "acted 33 times a second, not 100 times"),
        ];
        for (weaken, named) in cases {
            let mut weak = strong.clone();
            weaken(&mut weak);
            let complaints = weak.complaints();
            let [complaint] = &complaints[..] else { panic!("one complaint about {named:?}: {complaints:?}") };
            assert!(complaint.contains(named), "{complaint}");
        }
        let paceless = Strength { planned_per_second: 0.0, acts_per_second: 0.0, is_at_once: false, ..strong };
        assert_eq!(Strength { struck_within_ms: 1e9, ..paceless }.complaints(), Vec::<String>::new());
    }
}
