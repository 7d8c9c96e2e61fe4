//! Can jobs that hold one buffer and ask for another one wait for each other without end?
//!
//! A job that holds a buffer of class *k* and waits for one of class *j* releases nothing. A grant of class *k* leaves
//! at least the reserve of *k* free, so jobs that are stuck with buffers of some classes leave at least a certain
//! number of units free between them: the lowest of their reserves, or more, as far as caps keep them from it. If
//! another class may take a buffer even then, jobs that ask for it go on. So the classes that can be stuck are found
//! from above: all that jobs hold while they ask; of these, those that ask for one of them, or for a class which what
//! they leave free does not suffice for; and so on, until no class leaves the set. If it is not empty there is a
//! deadlock: jobs take as much of these classes as they can. Then each class of the set has its cap outstanding, or
//! what is free is its reserve at most; so it is blocked, and so are the others that are asked for.

use super::{CLASSES_MAX, ConfigError, SchedulerConfig};
use crate::config_error::Allowed;

/// While a job holds a buffer of one class, it may ask for one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedRequest {
    /// Class of the buffer that it holds.
    pub holds: u8,
    /// Class that it asks in, before it releases that buffer.
    pub asks: u8,
}

impl SchedulerConfig {
    /// Whether jobs that ask for a buffer while they hold one can wait for each other without end. `nested` is all that
    /// your jobs may ask for while they hold buffers: for a job that holds several, a pair for each of them. Jobs that
    /// ask for nothing, and receivers, release their buffers by themselves. As a rule, what is asked for is more
    /// critical than what is held, and its reserve is smaller by a buffer at least.
    ///
    /// With several sizes any of them may be asked for, so that the answer errs on the safe side. Tenants are not
    /// looked at: a tenant's cap has to leave room for what its own holders ask for.
    ///
    /// Cost: O(pairs), some hundred instructions for each. For the start of a program, or its tests.
    ///
    /// # Errors
    ///
    /// The configuration is not allowed; a class does not exist; or [`ConfigError::Deadlock`], with the first pair that
    /// can be part of a deadlock.
    pub fn check_nested_requests(&self, nested: &[NestedRequest]) -> Result<(), ConfigError> {
        self.check()?;
        let last = u64::from(self.classes) - 1;
        for (index, pair) in nested.iter().enumerate() {
            for (field, class) in [("holds", pair.holds), ("asks", pair.asks)] {
                if u64::from(class) > last {
                    let allowed = Allowed::Range { min: 0, max: last };
                    return Err(ConfigError::Refused { field, index: Some(index), value: class.into(), allowed });
                }
            }
        }
        match self.first_deadlock(nested) {
            None => Ok(()),
            Some((NestedRequest { holds, asks }, free)) => {
                Err(ConfigError::Deadlock { holds, asks, free_units: free, needed_units: self.needed_units(asks) })
            }
        }
    }

    /// The first pair that can be part of a deadlock, and how many units are free then.
    fn first_deadlock(&self, nested: &[NestedRequest]) -> Option<(NestedRequest, u32)> {
        let mut stuck = [false; CLASSES_MAX];
        nested.iter().for_each(|pair| stuck[usize::from(pair.holds)] = true);
        loop {
            let (held, free) = self.most_held(stuck);
            let waits = |pair: &&NestedRequest| {
                stuck[usize::from(pair.holds)] && (stuck[usize::from(pair.asks)] || free < self.needed_units(pair.asks))
            };
            let mut still = [false; CLASSES_MAX];
            nested.iter().filter(waits).for_each(|pair| still[usize::from(pair.holds)] = true);
            if still == stuck {
                // Of those that wait, one whose own reserve does not keep enough for what it asks for: the cause.
                let is_cause = |pair: &&NestedRequest| {
                    let holds = usize::from(pair.holds);
                    held[holds] > 0 && self.in_units(self.reserves[holds]) < self.needed_units(pair.asks)
                };
                let all = || nested.iter().filter(waits);
                return all().find(is_cause).or_else(|| all().next()).map(|&pair| (pair, free));
            }
            stuck = still;
        }
    }

    /// The most units that jobs can hold of these classes together, and what is free then. The class with the largest
    /// reserve takes first, because its grants have to leave most.
    fn most_held(&self, classes: [bool; CLASSES_MAX]) -> ([u32; CLASSES_MAX], u32) {
        let (mut held, mut free) = ([0; CLASSES_MAX], self.units());
        let mut order: [usize; CLASSES_MAX] = core::array::from_fn(|class| class);
        order.sort_unstable_by_key(|&class| core::cmp::Reverse(self.reserves[class]));
        for class in order.into_iter().filter(|&class| classes[class]) {
            let takes = free.saturating_sub(self.in_units(self.reserves[class]));
            held[class] = takes.min(self.in_units(self.class_caps[class]));
            free -= held[class];
        }
        (held, free)
    }

    /// Units that have to be free for every request of a class to be granted. With several sizes, a waiter of a more
    /// critical class that needs more than is free is waited for, too.
    fn needed_units(&self, class: u8) -> u32 {
        let class = usize::from(class);
        let largest = self.sizes.iter().copied().max().unwrap_or_default();
        let before = if self.sizes[1..].iter().any(|&units| units > 0) { 0..=class } else { class..=class };
        let reserve = before.map(|class| self.in_units(self.reserves[class])).max().unwrap_or_default();
        reserve.saturating_add(largest)
    }
}
