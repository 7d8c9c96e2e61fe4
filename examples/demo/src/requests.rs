//! The outcomes of requests, as figures.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::honest::{Attempt, Outcome};

/// Requests of one part of a run.
#[derive(Debug, Serialize)]
pub struct Requests {
    /// All of them.
    pub sent: u64,
    /// Those with the answer that was to be expected.
    pub served: u64,
    /// Those without an answer within the client's patience.
    pub timed_out: u64,
    /// Requests whose connection was closed with ENHANCE_YOUR_CALM.
    pub shed: u64,
    /// Requests that failed in another way: the connection was closed, or the response was wrong.
    pub failed: u64,
    /// The median latency; each request [counts](Attempt::counts_as), served or not.
    pub p50_ms: Option<f64>,
    /// The 90th percentile.
    pub p90_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// The latency of the slowest.
    pub max_ms: Option<f64>,
    /// Why the first that failed did.
    pub first_failure: Option<String>,
}

impl Requests {
    /// Counts these.
    pub fn count<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> Requests {
        let mut latency_us = Histogram::<u64>::new(3).expect("three digits are allowed");
        let (mut served, mut timed_out, mut shed, mut failed, mut first_failure) = (0, 0, 0, 0, None);
        for attempt in attempts {
            latency_us.record(attempt.counts_as().as_micros() as u64).expect("it grows with what is recorded");
            match &attempt.outcome {
                Outcome::Served => served += 1,
                Outcome::TimedOut => timed_out += 1,
                Outcome::Shed => shed += 1,
                Outcome::Failed(why) => {
                    failed += 1;
                    first_failure.get_or_insert_with(|| why.clone());
                }
            }
        }
        let quantile_ms = |part| (!latency_us.is_empty()).then(|| latency_us.value_at_quantile(part) as f64 / 1e3);
        let [p50_ms, p90_ms, p99_ms, max_ms] = [0.5, 0.9, 0.99, 1.0].map(quantile_ms);
        let sent = latency_us.len();
        Requests { sent, served, timed_out, shed, failed, p50_ms, p90_ms, p99_ms, max_ms, first_failure }
    }
}

/// A duration in milliseconds.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[test]
    fn unserved_requests_count_as_the_time_limit() {
        let patience = Duration::from_secs(3);
        let attempts = |count, lasted, outcome| {
            vec![Attempt { client: 0, began: Instant::now(), lasted, patience, outcome }; count]
        };
        let all = [
            attempts(60, Duration::from_millis(10), Outcome::Served),
            attempts(20, Duration::ZERO, Outcome::TimedOut),
            attempts(15, Duration::ZERO, Outcome::Shed),
            attempts(4, Duration::ZERO, Outcome::Failed("reset".into())),
            attempts(1, Duration::ZERO, Outcome::Failed("refused".into())),
        ]
        .concat();
        let Requests { sent, served, timed_out, shed, failed, p50_ms, p99_ms, max_ms, first_failure, .. } =
            Requests::count(all.iter());
        assert_eq!([sent, served, timed_out, shed, failed], [100, 60, 20, 15, 5]);
        assert_eq!(first_failure.as_deref(), Some("reset"));
        let near = |value: Option<f64>, expected: f64| (value.expect("measured") - expected).abs() < expected / 500.0;
        assert!(near(p50_ms, 10.0) && near(p99_ms, 3000.0) && near(max_ms, 3000.0), "{p50_ms:?} {p99_ms:?} {max_ms:?}");
    }

    #[test]
    fn no_requests_have_no_latency() {
        let none = Requests::count([].iter());
        assert_eq!((none.sent, none.p50_ms, none.max_ms), (0, None, None));
    }
}
