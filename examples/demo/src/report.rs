//! The results as figures: the report in JSON, and the verdict about the honest clients.

use std::collections::BTreeMap;
use std::time::Duration;

use demuxbuf_demo::honest::{Attempt, Outcome};
use demuxbuf_demo::relay::Statistics;
use demuxbuf_demo::requests::{Requests, milliseconds};
use demuxbuf_demo::text::thousands;
use serde::Serialize;
use tokio::time::Instant;

use crate::options::Options;
use crate::run::{CLIENTS, Run, Sample};

/// The report, as written to `report.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// All requests of all runs but the first were served, with all attackers in place.
    pub(crate) passed: bool,
    pub(crate) verdict: String,
    pub(crate) connections: usize,
    pub(crate) memory_kib: u64,
    /// From the relay's statistics.
    pub(crate) buffer_bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) honest_clients: usize,
    pub(crate) request_time_limit_ms: f64,
    /// With a buffer each, then on the memory model, then with partial frames left in the kernel.
    pub(crate) runs: [RunReport; 3],
}

#[derive(Debug, Serialize)]
pub(crate) struct RunReport {
    pub(crate) name: &'static str,
    pub(crate) attack_began_s: f64,
    pub(crate) attack_complete_s: f64,
    /// Requests begun before the first attacker came.
    pub(crate) before_attack: Requests,
    /// Requests begun while the attackers were coming.
    pub(crate) attackers_coming: Requests,
    /// Requests begun with all attackers in place.
    pub(crate) under_attack: Requests,
    /// The relay with the honest clients gone and the attackers still there.
    pub(crate) relay: Statistics,
    /// Its memory of the same moment, as the kernel counts it.
    pub(crate) resident_bytes: u64,
    pub(crate) samples: Vec<Point>,
    /// Of the requests that began in each half second and were served, the slowest: the time and how long it took.
    pub(crate) slowest_ms: Vec<(f64, f64)>,
}

/// One sample, for other pictures.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) time_s: f64,
    pub(crate) connections: u64,
    pub(crate) refused: u64,
    pub(crate) buffers_in_use: u64,
    pub(crate) keeping: u64,
    pub(crate) waiting: u64,
    pub(crate) served: u64,
    pub(crate) unserved: u64,
    pub(crate) resident_bytes: u64,
}

impl Report {
    pub(crate) fn new(options: &Options, runs: [Run; 3]) -> Report {
        let Statistics { buffer_bytes, .. } = runs[1].settled.relay;
        let runs = runs.map(RunReport::new);
        let (passed, verdict) = judge(&runs[1..], options.patience());
        Report {
            passed,
            verdict,
            connections: options.connections,
            memory_kib: options.memory_kib,
            buffer_bytes,
            seconds: options.length().as_secs_f64(),
            honest_clients: CLIENTS,
            request_time_limit_ms: milliseconds(options.patience()),
            runs,
        }
    }
}

impl RunReport {
    fn new(run: Run) -> RunReport {
        let (began, complete) = (run.attack.began, run.attack.complete);
        let since_begin = |moment: Instant| (moment - run.began).as_secs_f64();
        let requests = |from: Option<Instant>, until: Option<Instant>| {
            let is_inside = |attempt: &&Attempt| {
                from.is_none_or(|from| attempt.began >= from) && until.is_none_or(|until| attempt.began < until)
            };
            Requests::count(run.attempts.iter().filter(is_inside))
        };
        RunReport {
            name: run.memory.name(),
            attack_began_s: since_begin(began),
            attack_complete_s: since_begin(complete),
            before_attack: requests(None, Some(began)),
            attackers_coming: requests(Some(began), Some(complete)),
            under_attack: requests(Some(complete), None),
            relay: run.settled.relay,
            resident_bytes: run.settled.resident_bytes,
            samples: run.samples.iter().map(Point::new).collect(),
            slowest_ms: slowest_ms(&run),
        }
    }
}

impl Point {
    fn new(sample: &Sample) -> Point {
        Point {
            time_s: sample.at.as_secs_f64(),
            connections: sample.relay.connections,
            refused: sample.relay.refused,
            buffers_in_use: sample.relay.in_use(),
            keeping: sample.relay.keeping,
            waiting: sample.relay.waiting,
            served: sample.served,
            unserved: sample.unserved,
            resident_bytes: sample.resident_bytes,
        }
    }
}

/// One figure for each of these spans of time in which a request was served.
const SLOWEST_OF_S: f64 = 0.5;

fn slowest_ms(run: &Run) -> Vec<(f64, f64)> {
    let mut slowest = BTreeMap::new();
    for attempt in run.attempts.iter().filter(|attempt| attempt.outcome == Outcome::Served) {
        let span = ((attempt.began - run.began).as_secs_f64() / SLOWEST_OF_S) as u32;
        let most: &mut f64 = slowest.entry(span).or_default();
        *most = most.max(milliseconds(attempt.lasted));
    }
    slowest.into_iter().map(|(span, ms)| ((f64::from(span) + 0.5) * SLOWEST_OF_S, ms)).collect()
}

/// Whether all honest clients were served beside all attackers in these runs, and a sentence with the verdict or the
/// reason.
fn judge(runs: &[RunReport], patience: Duration) -> (bool, String) {
    let mut all = 0;
    for run in runs {
        let parts = [&run.before_attack, &run.attackers_coming, &run.under_attack];
        let sum = |count: fn(&Requests) -> u64| parts.iter().map(|part| count(part)).sum::<u64>();
        let (sent, served, name) = (sum(|part| part.sent), sum(|part| part.served), run.name);
        if run.under_attack.sent == 0 {
            let complete = run.attack_complete_s;
            let why = format!("the attackers arrived only {complete:.1} s after the run had begun; use more --seconds");
            return (false, format!("{name}: no honest request was begun under attack: {why}."));
        }
        if served < sent {
            let (timed_out, failed) =
                (thousands(sum(|part| part.timed_out)), thousands(sum(|part| part.failed + part.shed)));
            let why = format!("{timed_out} had no answer within {} s, {failed} failed", patience.as_secs());
            let first = parts.iter().find_map(|part| part.first_failure.as_ref());
            let first = first.map_or(String::new(), |first| format!(" (the first: {first})"));
            let (unserved, sent) = (thousands(sent - served), thousands(sent));
            return (false, format!("{name}: {unserved} of {sent} honest requests were not served: {why}{first}."));
        }
        all += sent;
    }
    (true, format!("On the memory model, all {} honest requests were served.", thousands(all)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Memory;

    const PATIENCE: Duration = Duration::from_secs(3);

    fn attempts(count: usize, lasted: Duration, outcome: &Outcome) -> Vec<Attempt> {
        let attempt =
            Attempt { client: 0, began: Instant::now(), lasted, patience: PATIENCE, outcome: outcome.clone() };
        vec![attempt; count]
    }

    fn run(under_attack: &[Attempt]) -> RunReport {
        let calm = attempts(100, Duration::from_millis(1), &Outcome::Served);
        RunReport {
            name: Memory::Model.name(),
            attack_began_s: 0.2,
            attack_complete_s: 0.3,
            before_attack: Requests::count(calm.iter()),
            attackers_coming: Requests::count([].iter()),
            under_attack: Requests::count(under_attack.iter()),
            relay: Statistics::default(),
            resident_bytes: 0,
            samples: Vec::new(),
            slowest_ms: Vec::new(),
        }
    }

    #[test]
    fn unserved_request_fails_the_demo() {
        let mut under_attack = attempts(900, Duration::from_millis(1), &Outcome::Served);
        assert_eq!(
            judge(&[run(&under_attack)], PATIENCE),
            (true, "On the memory model, all 1,000 honest requests were served.".into())
        );
        let runs = [run(&under_attack), run(&under_attack)];
        assert_eq!(judge(&runs, PATIENCE).1, "On the memory model, all 2,000 honest requests were served.");

        under_attack.extend(attempts(1, PATIENCE, &Outcome::TimedOut));
        let (passed, verdict) = judge(&[run(&under_attack)], PATIENCE);
        assert!(
            !passed && verdict.contains("1 of 1,001 honest requests were not served: 1 had no answer"),
            "{verdict}"
        );

        under_attack.extend(attempts(1, Duration::ZERO, &Outcome::Failed("connect: refused".into())));
        let (passed, verdict) = judge(&[run(&under_attack)], PATIENCE);
        assert!(!passed && verdict.contains("1 failed (the first: connect: refused)"), "{verdict}");
    }

    #[test]
    fn run_without_requests_under_attack_fails() {
        let under_attack = attempts(900, Duration::from_millis(1), &Outcome::Served);
        let (passed, verdict) = judge(&[run(&under_attack), run(&[])], PATIENCE);
        assert!(!passed && verdict.contains("use more --seconds"), "{verdict}");
    }
}
