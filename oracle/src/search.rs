//! Visits every state of a bounded instance, breadth first, until no new one appears.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Debug};

/// What is explored: something that is in a state, in which one of several things may happen next.
pub trait Instance: Clone {
    /// One thing that may happen.
    type Op: Copy + Debug;

    /// Everything that may happen now.
    fn ops(&mut self) -> Vec<Self::Op>;

    /// Lets one thing happen, and checks what must always hold.
    ///
    /// # Errors
    ///
    /// It does not hold.
    fn play(&mut self, op: Self::Op) -> Result<(), String>;

    /// As `play`, for what was played and checked before.
    fn replay(&mut self, op: Self::Op);

    /// A number for all that the future depends on: the same for states that are alike.
    fn key(&self) -> u128;

    /// Names what can be seen in this state, and of the last thing that happened.
    fn sights(&mut self, see: &mut dyn FnMut(&'static str));

    /// Plays on as an instance without faults does.
    ///
    /// # Errors
    ///
    /// A waiter is not served.
    fn finish(self) -> Result<(), String>;
}

/// What an exploration has visited.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Things that happened, in all states.
    pub transitions: usize,
    /// The most things that must happen to reach a state; no new state is behind those.
    pub depth: usize,
    /// In how many states, or of how many things that happened, each was seen.
    pub sights: BTreeMap<&'static str, usize>,
}

impl Explored {
    /// Checks that all of these were seen.
    ///
    /// # Errors
    ///
    /// Names those that were not.
    pub fn has_seen(&self, names: &[&'static str]) -> Result<(), String> {
        let missing: Vec<_> = names.iter().filter(|name| !self.sights.contains_key(*name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("never seen: {missing:?}")) }
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explored { states, transitions, depth, sights } = self;
        writeln!(f, "{states} states and {transitions} transitions; closed at depth {depth}")?;
        sights.iter().try_for_each(|(name, count)| writeln!(f, "  sometimes {name}: {count}"))
    }
}

/// How a state was first reached: from which, by what.
type Step<O> = (u32, O);

/// Visits every state that can be reached from `start`, and plays on from each until every waiter is served.
///
/// States are distinguished by 128 bits of hash, so that one would be missed for another once in 10^25 runs of this
/// size.
///
/// # Errors
///
/// Something that must hold does not; the error has what, and the shortest way there. Or there are more than
/// `states_max`.
pub fn explore<W: Instance>(start: &W, states_max: usize) -> Result<Explored, String> {
    let mut visited: HashSet<u128> = HashSet::from([start.key()]);
    // By number of the state; the start came from nowhere.
    let mut steps: Vec<Option<Step<W::Op>>> = vec![None];
    let mut explored = Explored { states: 1, ..Explored::default() };
    let (mut first, mut next) = (0, 1);
    while first < next {
        for number in first..next {
            let instance = rebuild(start, &steps, number);
            let here = instance.key();
            for op in instance.clone().ops() {
                let mut reached = instance.clone();
                let failed = |broken: String| format!("{:?}, then {op:?}: {broken}", path(&steps, number));
                reached.play(op).map_err(failed)?;
                explored.transitions += 1;
                reached.sights(&mut |name| *explored.sights.entry(name).or_default() += 1);
                let there = reached.key();
                if there == here {
                    continue;
                }
                if visited.insert(there) {
                    reached.finish().map_err(failed)?;
                    steps.push(Some((number as u32, op)));
                }
            }
            if steps.len() > states_max {
                return Err(format!("not closed: more than {states_max} states"));
            }
        }
        (first, next) = (next, steps.len());
        explored.depth += usize::from(first < next);
    }
    explored.states = steps.len();
    Ok(explored)
}

fn path<O: Copy>(steps: &[Option<Step<O>>], number: usize) -> Vec<O> {
    let mut path = Vec::new();
    let mut at = number;
    while let Some((before, op)) = steps[at] {
        path.push(op);
        at = before as usize;
    }
    path.reverse();
    path
}

fn rebuild<W: Instance>(start: &W, steps: &[Option<Step<W::Op>>], number: usize) -> W {
    let mut instance = start.clone();
    path(steps, number).into_iter().for_each(|op| instance.replay(op));
    instance
}
