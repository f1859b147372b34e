//! Settings that are each of the right type and still cannot work, alone or together. All are found in one go, before
//! any work; bounds are such that no setting makes the program allocate absurdly.

mod alarms;
mod augment;
mod banks;
mod data;
mod eval;
mod heads;
mod monitors;
mod phases;
mod pools;
mod schedules;
mod segments;
mod stop;
mod training;

use crate::checks::{Checks, Conflict};
use crate::schema::RunConfig;

/// Everything that cannot work.
pub(crate) fn validate(config: &RunConfig) -> Vec<Conflict> {
    let mut checks = Checks::default();
    data::check(config, &mut checks);
    pools::check(config, &mut checks);
    augment::check(config, &mut checks);
    heads::check(config, &mut checks);
    training::check(config, &mut checks);
    eval::check(config, &mut checks);
    banks::check(config, &mut checks);
    phases::check(config, &mut checks);
    stop::check(config, &mut checks);
    alarms::check(config, &mut checks);
    monitors::check(config, &mut checks);
    checks.found
}

/// What a check says of the default settings after a change, for tests.
#[cfg(test)]
fn messages(check: fn(&RunConfig, &mut Checks), change: impl FnOnce(&mut RunConfig)) -> Vec<String> {
    let mut config = RunConfig::default();
    change(&mut config);
    let mut checks = Checks::default();
    check(&config, &mut checks);
    checks.found.into_iter().map(|conflict| conflict.message).collect()
}
