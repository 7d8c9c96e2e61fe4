//! Texts of what is refused about classes, reserves and tenants.

use demuxbuf::scheduler::{Scheduler, SchedulerConfig, SchedulerError};

#[test]
fn class_config_error_names_what_is_allowed() {
    let reserve = |class: usize, buffers| {
        let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(5, 10) };
        config.reserves[class] = buffers;
        config
    };
    Scheduler::new(&reserve(1, 4)).expect("one is left");
    let many_tenants = SchedulerConfig { tenants_max: 0x0fff_ffff, ..SchedulerConfig::new(5, 10) };
    for (config, text) in [
        (reserve(1, 5), "reserves[1] is 5; allowed is 0 to 4"),
        (reserve(2, 1), "reserves[2] is 1; allowed is 0 to 0"),
        (SchedulerConfig::new(5, 0x2000_0000), "waiters_max is 536870912; allowed is 0 to 536870911"),
        (many_tenants, "tenants_max is 268435455; allowed is 0 to 67108862"),
    ] {
        assert_eq!(Scheduler::new(&config).expect_err("it is outside").to_string(), text);
    }
}

#[test]
fn class_error_names_request_and_limit() {
    let text = SchedulerError::UnknownClass { class: 5, classes: 3 }.to_string();
    assert_eq!(text, "class is 5; allowed is 0 to 2");
}
