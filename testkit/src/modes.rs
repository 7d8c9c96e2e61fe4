//! The modes of a host.

use demuxbuf::connection::Mode;

/// Every mode.
pub const MODES: [Mode; 5] = [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion];

/// Runs a scenario once for each of these modes; a failure shows the mode in the test's output.
pub fn in_modes(modes: &[Mode], scenario: impl Fn(Mode)) {
    for &mode in modes {
        println!("mode: {mode:?}");
        scenario(mode);
    }
}

/// Runs a scenario once for each mode.
pub fn in_all_modes(scenario: impl Fn(Mode)) {
    in_modes(&MODES, scenario);
}
