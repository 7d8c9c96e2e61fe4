//! The modes of a host.

use demuxbuf::connection::Mode;

/// Runs a scenario once for each of these modes; a failure shows the mode in the test's output.
pub fn in_modes(modes: &[Mode], scenario: impl Fn(Mode)) {
    for &mode in modes {
        println!("mode: {mode:?}");
        scenario(mode);
    }
}

/// Runs a scenario once for each mode.
pub fn in_all_modes(scenario: impl Fn(Mode)) {
    in_modes(&Mode::ALL, scenario);
}
