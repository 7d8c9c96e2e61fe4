//! Every connection takes two descriptors in the relay and two in those that it stands between; the usual limit of
//! 1,024 is too low for that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit for this process and for those that it starts, which inherit it. `spare` is what they need beside
/// their connections: listeners, files, successors of connections that are not seen closed yet.
///
/// # Errors
///
/// The system allows fewer: how many connections it has room for.
pub fn allow(connections: usize, spare: u64) -> Result<(), String> {
    let needed = (2 * connections as u64).saturating_add(spare);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    // A privileged process may raise the upper limit too.
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum.map(|maximum| maximum.max(needed)) };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        let maximum = limit.maximum.unwrap_or(needed);
        let possible = maximum.saturating_sub(spare) / 2;
        format!(
            "{connections} connections need {needed} open files, and this system allows {maximum} (`ulimit -Hn`; \
             {error}): there is room for {possible}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_count_is_limited_by_descriptors() {
        let Some(maximum) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let error = allow(1 << 40, 100).expect_err("no system has this many");
        assert!(error.contains(&format!("there is room for {}", maximum.saturating_sub(100) / 2)), "{error}");
    }
}
