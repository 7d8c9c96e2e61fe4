//! The results as figures, and the verdict about the honest clients.

use std::time::Duration;

use demuxbuf_demo::honest::Attempt;
use demuxbuf_demo::relay::Statistics;
use demuxbuf_demo::requests::{Requests, milliseconds};
use demuxbuf_demo::shape::{SHAPES, Shape};
use demuxbuf_demo::text::{counted, thousands};
use serde::Serialize;
use tokio::time::Instant;

use crate::options::Options;
use crate::scene::{self, Load, Pair, Sample, Scene};
use crate::strength::Strength;

/// In an overload, at least this part of the requests of the first step must be served; less is a collapse.
const THROUGHPUT_MIN: f64 = 0.5;

/// While the relay counts, the 99th percentile under attack is at most this multiple of that without, and this time
/// more.
const SLOWER_MAX: f64 = 2.0;
const LATER_MAX_MS: f64 = 5.0;

/// Claims that are due are settled in groups of this size, one in each loop iteration, and two iterations are of any
/// size.
const TRIALS_PER_ITERATION: u64 = 64;

/// The report, as written in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Nothing is wrong with what the honest got.
    pub(crate) passed: bool,
    pub(crate) verdict: Vec<String>,
    /// The target.
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) networks: usize,
    pub(crate) honest_clients: usize,
    /// The relay's, or what an overload of another target reckons with.
    pub(crate) memory_kib: u64,
    /// The relay's.
    pub(crate) threads: u64,
    /// It leaves partial frames in the kernel.
    pub(crate) counting: bool,
    pub(crate) request_time_limit_ms: f64,
    pub(crate) attacks: Vec<Attack>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Attack {
    pub(crate) name: String,
    pub(crate) attackers: u64,
    pub(crate) pairs: Vec<Times>,
    pub(crate) strength: Strength,
    /// Honest requests begun without attackers.
    pub(crate) quiet: Requests,
    /// Begun while attackers were coming.
    pub(crate) coming: Requests,
    /// Begun with all attackers in place.
    pub(crate) during: Requests,
    /// Begun after the last attacker had left.
    pub(crate) after: Requests,
    /// Without attackers, and with all of them: the medians over the pairs.
    pub(crate) quiet_latency: Latency,
    pub(crate) latency: Latency,
    /// The same for requests to the server itself, around the relay; nothing for another target.
    pub(crate) quiet_beside: Latency,
    pub(crate) beside: Latency,
    /// The same for each shape of request, over all pairs together.
    pub(crate) shapes: Vec<ShapeLatency>,
    /// Whether that latency is judged.
    pub(crate) is_spared: bool,
    /// Requests that took longer than the bound for each of their frames, one after the other.
    pub(crate) beyond_bound: u64,
    /// The longest that a receiver may wait for room, of which the machine has a part: `wait_ns_max`, and the loop
    /// iterations in which those are settled that are due at once.
    pub(crate) wait_max_ms: Option<f64>,
    /// More honest clients than there are buffers for, step by step.
    pub(crate) loads: Vec<Load>,
    pub(crate) attackers_shed: u64,
    /// Connections of attackers that were closed without that reason, or without any.
    pub(crate) attackers_closed: u64,
    /// From when the last attacker had left until each honest client was served with what it asked for after that: the
    /// longest.
    pub(crate) full_service_after_ms: Option<f64>,
    /// The relay at the end of the attack.
    pub(crate) relay: Option<Statistics>,
    /// The most of its memory that was resident, as the kernel counts it.
    pub(crate) resident_bytes_peak: Option<u64>,
    pub(crate) samples: Vec<Point>,
}

/// When what happened, since the first honest client came.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) began_s: f64,
    pub(crate) attacked_s: f64,
    pub(crate) complete_s: f64,
    pub(crate) left_s: f64,
    pub(crate) ended_s: f64,
}

/// How long requests took; nothing if there were none.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ShapeLatency {
    pub(crate) name: &'static str,
    pub(crate) quiet: Latency,
    pub(crate) during: Latency,
}

#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) time_s: f64,
    pub(crate) attackers: u64,
    pub(crate) buffers_in_use: Option<u64>,
    pub(crate) waiting: Option<u64>,
}

/// The parts of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Quiet,
    Coming,
    During,
    After,
}

impl Report {
    pub(crate) fn new(options: &Options, scenes: Vec<Scene>) -> Report {
        let attacks: Vec<Attack> = scenes.into_iter().map(|scene| Attack::new(options, scene)).collect();
        let complaints: Vec<String> =
            attacks.iter().flat_map(|attack| attack.complaints(options.patience(), !options.no_latency)).collect();
        let sent = attacks.iter().flat_map(Attack::parts).map(|part| part.sent).sum();
        let all = format!("All {} honest requests were served; no honest connection was shed.", thousands(sent));
        Report {
            passed: complaints.is_empty(),
            verdict: if complaints.is_empty() { vec![all] } else { complaints },
            target: options.target.map_or("h2relay".into(), |target| target.to_string()),
            connections: options.connections,
            networks: options.networks,
            honest_clients: options.honest,
            memory_kib: options.memory_kib,
            threads: options.threads,
            counting: options.counting,
            request_time_limit_ms: milliseconds(options.patience()),
            attacks,
        }
    }
}

impl Attack {
    fn new(options: &Options, scene: Scene) -> Attack {
        let began = scene.pairs[0].began;
        let since = |moment: Instant| (moment - began).as_secs_f64();
        let requests =
            |part: Part| Requests::count(scene.attempts.iter().filter(|one| place(&scene.pairs, one).1 == part));
        let [quiet, coming, during, after] = [Part::Quiet, Part::Coming, Part::During, Part::After].map(requests);
        let recovered = |pair: &Pair| scene::recovered(&scene.attempts, options.honest, pair.left).map(milliseconds);
        let honest_shed = [&quiet, &coming, &during, &after].map(|part| part.shed).iter().sum::<u64>();
        let attackers_shed = match scene.relay {
            _ if scene.attackers == 0 => 0,
            Some(relay) => relay.shed - honest_shed.min(relay.shed),
            None => scene.ended_shed,
        };
        Attack {
            name: scene.name.text(),
            attackers: scene.attackers,
            strength: Strength::of(options, &scene),
            quiet,
            coming,
            during,
            after,
            quiet_latency: Latency::of_pairs(&scene, &scene.attempts, Part::Quiet),
            latency: Latency::of_pairs(&scene, &scene.attempts, Part::During),
            quiet_beside: Latency::of_pairs(&scene, &scene.beside, Part::Quiet),
            beside: Latency::of_pairs(&scene, &scene.beside, Part::During),
            shapes: shapes(&scene),
            is_spared: options.counting && scene.name.spares_counting(),
            beyond_bound: beyond_bound(&scene),
            wait_max_ms: scene.relay.map(|relay| wait_max_ms(&relay, scene.attackers)),
            attackers_closed: (scene.ended_shed + scene.closed).saturating_sub(attackers_shed),
            attackers_shed,
            full_service_after_ms: scene
                .pairs
                .iter()
                .map(recovered)
                .try_fold(0.0, |most, after| after.map(|after| f64::max(most, after))),
            relay: scene.relay,
            resident_bytes_peak: scene.samples.iter().filter_map(|sample| sample.relay.map(|(_, bytes)| bytes)).max(),
            loads: scene.loads,
            samples: scene.samples.iter().map(|sample| Point::new(sample, since(sample.at))).collect(),
            pairs: scene
                .pairs
                .iter()
                .map(|pair| Times {
                    began_s: since(pair.began),
                    attacked_s: since(pair.attacked),
                    complete_s: since(pair.complete),
                    left_s: since(pair.left),
                    ended_s: since(pair.ended),
                })
                .collect(),
        }
    }

    pub(crate) fn parts(&self) -> [&Requests; 4] {
        [&self.quiet, &self.coming, &self.during, &self.after]
    }

    pub(crate) fn sum(&self, count: impl Fn(&Requests) -> u64) -> u64 {
        self.parts().into_iter().map(count).sum()
    }

    /// Honest connections that were shed, in an overload too. Without attackers the relay counts each shed connection,
    /// even one that left before it got its GOAWAY.
    pub(crate) fn honest_shed(&self) -> u64 {
        let notified = self.sum(|part| part.shed) + self.loads.iter().map(|load| load.shed).sum::<u64>();
        let relay = self.relay.as_ref().filter(|_| self.attackers == 0);
        relay.map_or(notified, |relay| relay.shed.max(notified))
    }

    /// Honest connections that were closed without being shed.
    pub(crate) fn honest_lost(&self) -> u64 {
        self.sum(|part| part.failed) + self.loads.iter().map(|load| load.lost).sum::<u64>()
    }

    /// The failures of service to honest clients, a sentence for each.
    fn complaints(&self, patience: Duration, judges_latency: bool) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut complain = |is_wrong: bool, what: String| {
            if is_wrong {
                complaints.push(format!("{}: {what}.", self.name));
            }
        };
        let connections = |count: u64, what: &str| format!("{} {what}", counted(count as usize, "honest connection"));
        complain(self.honest_shed() > 0, connections(self.honest_shed(), "shed"));
        let first = self.parts().into_iter().find_map(|part| part.first_failure.as_deref()).unwrap_or("closed");
        complain(self.honest_lost() > 0, connections(self.honest_lost(), &format!("lost (the first: {first})")));
        let timed_out = self.sum(|part| part.timed_out);
        let within = patience.as_secs();
        complain(
            timed_out > 0,
            format!("{} not answered within {within} s", counted(timed_out as usize, "honest request")),
        );
        complain(self.during.sent == 0, "no honest request was begun under attack; use more --seconds".into());
        complain(self.full_service_after_ms.is_none(), "service did not come back".into());
        for weakness in self.strength.complaints() {
            complain(judges_latency, weakness);
        }
        if let Some(relay) = self.relay.as_ref().filter(|_| judges_latency) {
            let ([longest, each], most) = (relay.waits_ms(), self.wait_max_ms.unwrap_or(f64::INFINITY));
            complain(longest > most, format!("a receiver waited {longest:.0} ms for room; the bound is {most:.0} ms"));
            let beyond = counted(self.beyond_bound as usize, "honest request");
            complain(self.beyond_bound > 0, format!("{beyond} took longer than {each:.0} ms for each frame"));
        }
        if let (Some(quiet), Some(under), true) =
            (self.quiet_latency.p99_ms, self.latency.p99_ms, self.is_spared && judges_latency)
        {
            let most = SLOWER_MAX * quiet + LATER_MAX_MS;
            let text = format!("of 100 honest requests one took {under:.1} ms, and {quiet:.1} ms without attackers");
            complain(under > most, text);
        }
        if let ([enough, more @ ..], true) = (&self.loads[..], judges_latency) {
            let least = more.iter().map(|load| load.served_per_second).fold(f64::INFINITY, f64::min);
            let before = enough.served_per_second;
            complain(
                least < THROUGHPUT_MIN * before,
                format!("only {least:.0} requests a second of {before:.0} before"),
            );
        }
        complaints
    }
}

/// The pair in which a request was begun, and the part of it.
fn place(pairs: &[Pair], attempt: &Attempt) -> (usize, Part) {
    let index = pairs.iter().rposition(|pair| pair.began <= attempt.began).unwrap_or(0);
    let Pair { attacked, complete, left, .. } = pairs[index];
    let part = match attempt.began {
        began if began < attacked => Part::Quiet,
        began if began < complete => Part::Coming,
        began if began < left => Part::During,
        _ => Part::After,
    };
    (index, part)
}

/// The requests that each shape of client began in these parts.
fn shapes(scene: &Scene) -> Vec<ShapeLatency> {
    let latency = |index: usize, part| {
        let is_of = |one: &&Attempt| one.client % SHAPES.len() == index && place(&scene.pairs, one).1 == part;
        Latency::of(&Requests::count(scene.attempts.iter().filter(is_of)))
    };
    let shape = |(index, shape): (usize, &Shape)| ShapeLatency {
        name: shape.name,
        quiet: latency(index, Part::Quiet),
        during: latency(index, Part::During),
    };
    SHAPES.iter().enumerate().map(shape).collect()
}

fn wait_max_ms(relay: &Statistics, attackers: u64) -> f64 {
    let iterations = 2 + attackers.div_ceil(TRIALS_PER_ITERATION);
    // The pool counts no more of a gap.
    let iteration_ms = (relay.clock_gap_max_ns as f64 / 1e6).min(relay.grace_ms as f64 / 8.0);
    relay.waits_ms()[1] + iterations as f64 * iteration_ms
}

fn beyond_bound(scene: &Scene) -> u64 {
    let Some(relay) = scene.relay else {
        return 0;
    };
    let is_beyond = |one: &&Attempt| {
        let frames = SHAPES[one.client % SHAPES.len()].frames();
        one.lasted.as_nanos() > u128::from(relay.wait_ns_max) * frames as u128
    };
    scene.attempts.iter().filter(is_beyond).count() as u64
}

impl Latency {
    fn of(requests: &Requests) -> Latency {
        Latency { p50_ms: requests.p50_ms, p99_ms: requests.p99_ms, max_ms: requests.max_ms }
    }

    /// The medians over the pairs.
    fn of_pairs(scene: &Scene, attempts: &[Attempt], part: Part) -> Latency {
        let of_pair = |index: usize| {
            Latency::of(&Requests::count(attempts.iter().filter(|one| place(&scene.pairs, one) == (index, part))))
        };
        let pairs: Vec<Latency> = (0..scene.pairs.len()).map(of_pair).collect();
        let median_of = |figure: fn(&Latency) -> Option<f64>| median(pairs.iter().filter_map(figure).collect());
        Latency {
            p50_ms: median_of(|pair| pair.p50_ms),
            p99_ms: median_of(|pair| pair.p99_ms),
            max_ms: median_of(|pair| pair.max_ms),
        }
    }
}

/// Of two in the middle the larger.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

impl Point {
    fn new(sample: &Sample, time_s: f64) -> Point {
        let relay = sample.relay.map(|(relay, _)| relay);
        Point {
            time_s,
            attackers: sample.attackers,
            buffers_in_use: relay.map(|relay| relay.in_use()),
            waiting: relay.map(|relay| relay.waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Name;
    use demuxbuf_demo::honest::Outcome;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn requests(outcome: Outcome) -> Requests {
        let (began, lasted) = (Instant::now(), Duration::from_millis(1));
        let attempt = Attempt { client: 0, began, lasted, patience: PATIENCE, outcome };
        Requests::count([attempt].iter())
    }

    fn load(served_per_second: f64) -> Load {
        Load { factor: 1.0, clients: 128, served_per_second, slowest_ms: 1.0, shed: 0, lost: 0 }
    }

    /// A report without complaints.
    fn attack() -> Attack {
        let served = || requests(Outcome::Served);
        Attack {
            name: "drip".into(),
            attackers: 10,
            pairs: Vec::new(),
            strength: Strength { attackers: 10, struck: 10, ..Strength::default() },
            quiet: served(),
            coming: served(),
            during: served(),
            after: served(),
            quiet_latency: Latency { p99_ms: Some(1.0), ..Latency::default() },
            latency: Latency { p99_ms: Some(7.0), ..Latency::default() },
            quiet_beside: Latency::default(),
            beside: Latency::default(),
            shapes: Vec::new(),
            is_spared: true,
            beyond_bound: 0,
            wait_max_ms: Some(9.0),
            loads: vec![load(1000.0), load(500.0)],
            attackers_shed: 3,
            attackers_closed: 2,
            full_service_after_ms: Some(1.0),
            relay: Some(Statistics {
                longest_claim_ns: 7_000_000,
                wait_ns_max: 7_000_000,
                shed: 3,
                ..Statistics::default()
            }),
            resident_bytes_peak: None,
            samples: Vec::new(),
        }
    }

    #[test]
    fn report_names_each_failure() {
        assert_eq!(attack().complaints(PATIENCE, true), Vec::<String>::new());
        type Spoil = fn(&mut Attack);
        let wrongs: [(Spoil, &str); 13] = [
            (|attack| attack.strength.struck = 8, "too weak: only 8 of 10 attackers"),
            (|attack| attack.quiet = requests(Outcome::TimedOut), "1 honest request not answered within 3 s"),
            (|attack| attack.after = requests(Outcome::Shed), "1 honest connection shed"),
            (|attack| attack.coming = requests(Outcome::Failed("reset".into())), "lost (the first: reset)"),
            (|attack| attack.during = Requests::count([].iter()), "use more --seconds"),
            (|attack| attack.full_service_after_ms = None, "service did not come back"),
            (
                |attack| attack.relay.as_mut().expect("there is one").longest_claim_ns = 10_000_000,
                "a receiver waited 10 ms for room; the bound is 9 ms",
            ),
            (
                |attack| attack.latency.p99_ms = Some(7.1),
                "of 100 honest requests one took 7.1 ms, and 1.0 ms without attackers",
            ),
            (|attack| attack.beyond_bound = 2, "2 honest requests took longer than 7 ms for each frame"),
            (|attack| attack.loads.push(load(499.0)), "only 499 requests a second of 1000"),
            (|attack| attack.loads[1].shed = 2, "2 honest connections shed"),
            (|attack| attack.loads[0].lost = 1, "lost (the first: closed)"),
            (|attack| attack.attackers = 0, "3 honest connections shed"),
        ];
        for (spoil, named) in wrongs {
            let mut attack = attack();
            spoil(&mut attack);
            let complaints = attack.complaints(PATIENCE, true);
            let [complaint] = &complaints[..] else { panic!("one complaint about {named:?}: {complaints:?}") };
            assert!(complaint.starts_with("drip: ") && complaint.contains(named), "{complaint}");
            let is_latency = ["too weak", "for room", "for each frame", "of 100", "requests a second"]
                .iter()
                .any(|words| complaint.contains(words));
            assert_eq!(attack.complaints(PATIENCE, false).is_empty(), is_latency, "{complaint}");
        }
    }

    /// Two pairs of 4 s each: a second of each part; a request in the middle of each.
    fn scene() -> Scene {
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let pair = |from: f64| Pair {
            began: at(from),
            attacked: at(from + 1.0),
            complete: at(from + 2.0),
            left: at(from + 3.0),
            ended: at(from + 4.0),
            strength: scene::Strength::default(),
        };
        let attempt = |index: usize| Attempt {
            client: index % 2,
            began: at(index as f64 + 0.5),
            lasted: Duration::from_millis(1 + index as u64),
            patience: PATIENCE,
            outcome: Outcome::Served,
        };
        Scene {
            name: Name::Drip,
            attackers: 10,
            pairs: vec![pair(0.0), pair(4.0)],
            attempts: (0..8).map(attempt).collect(),
            beside: Vec::new(),
            samples: Vec::new(),
            loads: Vec::new(),
            ended_shed: 0,
            closed: 0,
            relay: Some(Statistics { wait_ns_max: 700_000, ..Statistics::default() }),
        }
    }

    #[test]
    fn requests_count_where_they_began() {
        let scene = scene();
        let places: Vec<(usize, Part)> = scene.attempts.iter().map(|one| place(&scene.pairs, one)).collect();
        let parts = [Part::Quiet, Part::Coming, Part::During, Part::After];
        let expected: Vec<(usize, Part)> = (0..2).flat_map(|pair| parts.map(|part| (pair, part))).collect();
        assert_eq!(places, expected);
    }

    #[test]
    fn latency_is_the_median_of_the_pairs() {
        let near = |value: Option<f64>, expected: f64| (value.expect("measured") - expected).abs() < expected / 500.0;
        let scene = scene();
        assert!(near(Latency::of_pairs(&scene, &scene.attempts, Part::Quiet).p99_ms, 5.0));
        assert!(near(Latency::of_pairs(&scene, &scene.attempts, Part::During).max_ms, 7.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
        // Each client has one shape; the first asked without attackers and with all of them.
        let shapes = shapes(&scene);
        assert!(near(shapes[0].quiet.max_ms, 5.0) && near(shapes[0].during.max_ms, 7.0), "{shapes:?}");
        assert!(shapes[1].quiet.max_ms.is_none(), "{shapes:?}");
    }

    #[test]
    fn service_is_back_once_each_client_is_served() {
        let mut scene = scene();
        let left = scene.pairs[0].left;
        let back = |scene: &Scene| scene::recovered(&scene.attempts, 2, left);
        let after = |seconds: f64, lasted_ms: u64| Duration::from_secs_f64(seconds) + Duration::from_millis(lasted_ms);
        // The second client is served before the first.
        assert_eq!(back(&scene), Some(after(1.5, 5)));
        // What was begun while attackers were there does not count, nor does what failed.
        scene.attempts[3].began = left - Duration::from_millis(1);
        assert_eq!(back(&scene), Some(after(2.5, 6)));
        scene.attempts[4].outcome = Outcome::Failed("reset".into());
        assert_eq!(back(&scene), Some(after(3.5, 7)));
        scene.attempts.truncate(6);
        assert_eq!(back(&scene), None);
    }

    #[test]
    fn bound_grows_with_the_attackers() {
        let relay = Statistics { wait_ns_max: 3_000_000_000, grace_ms: 1000, ..Statistics::default() };
        let gap = |clock_gap_max_ns| Statistics { clock_gap_max_ns, ..relay };
        let bounds = [wait_max_ms(&gap(0), 640), wait_max_ms(&gap(10_000_000), 640), wait_max_ms(&gap(u64::MAX), 641)];
        assert_eq!(bounds, [3000.0, 3120.0, 3000.0 + 13.0 * 125.0]);
    }

    #[test]
    fn bound_holds_for_each_frame() {
        // 10 frames within 0.7 ms each.
        let mut scene = scene();
        assert_eq!(beyond_bound(&scene), 1);
        scene.relay = None;
        assert_eq!(beyond_bound(&scene), 0);
    }
}
