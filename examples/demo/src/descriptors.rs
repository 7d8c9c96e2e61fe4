//! Every connection takes two descriptors in the relay and two here; the usual limit of 1,024 is too low for that.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What the processes need beside their connections: listeners, files, the honest clients and their successors.
const SPARE: u64 = 1024;

/// Raises the limit for this process and for the relay, which inherits it.
pub(crate) fn allow(connections: usize) -> Result<(), String> {
    let needed = 2 * connections as u64 + SPARE;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < needed) {
        let possible = maximum.saturating_sub(SPARE) / 2;
        return Err(format!(
            "{connections} connections need {needed} open files, and this system allows {maximum} (`ulimit -Hn`): \
             use --connections with at most {possible}"
        ));
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit)
        .map_err(|error| format!("the limit of open files cannot be raised to {needed}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_for_the_system_are_refused_with_what_is_possible() {
        let Some(maximum) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let error = allow(maximum as usize).expect_err("two descriptors for each do not fit");
        assert!(error.contains(&format!("at most {}", maximum.saturating_sub(SPARE) / 2)), "{error}");
    }
}
