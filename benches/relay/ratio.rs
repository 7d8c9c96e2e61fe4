//! Ratios of runs that took turns: their median, and the interval that the median of any number of rounds lies in, with
//! a probability of 95 % at least (from order statistics, which assume nothing of how runs scatter).

use serde_json::{Value, json};

/// Ratios of pairs of runs, in ascending order.
pub(crate) struct Ratio {
    ratios: Vec<f64>,
}

impl Ratio {
    pub(crate) fn new(ratios: impl Iterator<Item = f64>) -> Ratio {
        let mut ratios: Vec<_> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        Ratio { ratios }
    }

    fn median(&self) -> f64 {
        let (below, above) = ((self.ratios.len() - 1) / 2, self.ratios.len() / 2);
        f64::midpoint(self.ratios[below], self.ratios[above])
    }

    /// Where the true median lies, with a probability of 95 % at least. `None` for too few rounds.
    fn interval(&self) -> Option<[f64; 2]> {
        // How likely each number of rounds, and fewer, are to be below the true median: it lies outside of what is left
        // when as many are taken away at either end.
        let rounds = self.ratios.len();
        let mut ways = 1.0;
        let mut fewer = 0.0;
        let mut outside = None;
        for below in 0..rounds / 2 {
            fewer += ways / 2f64.powi(rounds as i32);
            if fewer > 0.025 {
                break;
            }
            outside = Some(below);
            ways *= (rounds - below) as f64 / (below + 1) as f64;
        }
        outside.map(|outside| [self.ratios[outside], self.ratios[rounds - 1 - outside]])
    }

    pub(crate) fn cells(&self) -> [Value; 2] {
        let interval = self.interval().map(|[from, to]| format!("{from:.3} to {to:.3}"));
        [json!(self.median()), json!(interval)]
    }
}
