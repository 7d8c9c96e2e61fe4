//! The results as figures, and the verdict about the honest clients.

use std::time::Duration;

use demuxbuf_demo::honest::Attempt;
use demuxbuf_demo::relay::Statistics;
use demuxbuf_demo::requests::{Requests, milliseconds};
use demuxbuf_demo::text::{counted, thousands};
use serde::Serialize;
use tokio::time::Instant;

use crate::options::Options;
use crate::scene::{self, Load, Sample, Scene};

/// In an overload, at least this part of the requests of the first step must be served; less is a collapse.
const THROUGHPUT_MIN: f64 = 0.5;

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
    pub(crate) request_time_limit_ms: f64,
    pub(crate) attacks: Vec<Attack>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Attack {
    pub(crate) name: String,
    pub(crate) attackers: u64,
    /// Since the first honest client came.
    pub(crate) attacked_s: f64,
    pub(crate) complete_s: f64,
    pub(crate) left_s: f64,
    pub(crate) ended_s: f64,
    /// Honest requests begun before the first attacker came.
    pub(crate) before: Requests,
    /// Begun while attackers were coming.
    pub(crate) coming: Requests,
    /// Begun with all attackers in place.
    pub(crate) during: Requests,
    /// Begun after the last attacker had left.
    pub(crate) after: Requests,
    /// More honest clients than there are buffers for, step by step.
    pub(crate) loads: Vec<Load>,
    pub(crate) attackers_shed: u64,
    /// Connections of attackers that were closed without that reason, or without any.
    pub(crate) attackers_closed: u64,
    /// From when the last attacker had left until each honest client was served with what it asked for after that.
    pub(crate) full_service_after_ms: Option<f64>,
    /// The relay at the end of the attack.
    pub(crate) relay: Option<Statistics>,
    /// The most of its memory that was resident, as the kernel counts it.
    pub(crate) resident_bytes_peak: Option<u64>,
    pub(crate) samples: Vec<Point>,
    /// Every honest request: when it was begun and how long it took, in seconds and milliseconds.
    pub(crate) requests: Vec<(f64, f64)>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) time_s: f64,
    pub(crate) attackers: u64,
    pub(crate) buffers_in_use: Option<u64>,
    pub(crate) waiting: Option<u64>,
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
            request_time_limit_ms: milliseconds(options.patience()),
            attacks,
        }
    }
}

impl Attack {
    fn new(options: &Options, scene: Scene) -> Attack {
        let times = scene.times;
        let since = |moment: Instant| (moment - times.began).as_secs_f64();
        let requests = |from: Instant, until: Instant| {
            let is_inside = |attempt: &&Attempt| (from..until).contains(&attempt.began);
            Requests::count(scene.attempts.iter().filter(is_inside))
        };
        let recovered = scene::recovered(&scene.attempts, options.honest, times.left);
        let [before, coming] = [requests(times.began, times.attacked), requests(times.attacked, times.complete)];
        let [during, after] = [requests(times.complete, times.left), requests(times.left, times.ended)];
        let honest_shed = [&before, &coming, &during, &after].map(|part| part.shed).iter().sum::<u64>();
        let attackers_shed = match scene.relay {
            _ if scene.attackers == 0 => 0,
            Some(relay) => relay.shed - honest_shed.min(relay.shed),
            None => scene.ended_shed,
        };
        Attack {
            name: scene.name.text(),
            attackers: scene.attackers,
            attacked_s: since(times.attacked),
            complete_s: since(times.complete),
            left_s: since(times.left),
            ended_s: since(times.ended),
            before,
            coming,
            during,
            after,
            attackers_closed: (scene.ended_shed + scene.closed).saturating_sub(attackers_shed),
            attackers_shed,
            full_service_after_ms: recovered.map(milliseconds),
            relay: scene.relay,
            resident_bytes_peak: scene.samples.iter().filter_map(|sample| sample.relay.map(|(_, bytes)| bytes)).max(),
            loads: scene.loads,
            samples: scene.samples.iter().map(|sample| Point::new(sample, since(sample.at))).collect(),
            requests: scene.attempts.iter().map(|one| (since(one.began), milliseconds(one.counts_as()))).collect(),
        }
    }

    pub(crate) fn parts(&self) -> [&Requests; 4] {
        [&self.before, &self.coming, &self.during, &self.after]
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
        if let Some(relay) = self.relay.as_ref().filter(|_| judges_latency) {
            let [longest, most] = relay.waits_ms();
            complain(longest > most, format!("a receiver waited {longest:.0} ms for room; the bound is {most:.0} ms"));
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
            attacked_s: 1.0,
            complete_s: 2.0,
            left_s: 5.0,
            ended_s: 6.0,
            before: served(),
            coming: served(),
            during: served(),
            after: served(),
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
            requests: Vec::new(),
        }
    }

    #[test]
    fn report_names_each_failure() {
        assert_eq!(attack().complaints(PATIENCE, true), Vec::<String>::new());
        type Spoil = fn(&mut Attack);
        let wrongs: [(Spoil, &str); 10] = [
            (|attack| attack.before = requests(Outcome::TimedOut), "1 honest request not answered within 3 s"),
            (|attack| attack.after = requests(Outcome::Shed), "1 honest connection shed"),
            (|attack| attack.coming = requests(Outcome::Failed("reset".into())), "lost (the first: reset)"),
            (|attack| attack.during = Requests::count([].iter()), "use more --seconds"),
            (|attack| attack.full_service_after_ms = None, "service did not come back"),
            (
                |attack| attack.relay.as_mut().expect("there is one").longest_claim_ns = 8_000_000,
                "a receiver waited 8 ms for room; the bound is 7 ms",
            ),
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
            let is_latency = ["for room", "requests a second"].iter().any(|words| complaint.contains(words));
            assert_eq!(attack.complaints(PATIENCE, false).is_empty(), is_latency, "{complaint}");
        }
    }
}
