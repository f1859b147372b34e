//! The soak leaves no method out.

use std::collections::BTreeSet;

use dtrain_configs::schema::MethodConfig;
use dtrain_tests::soak::plan;

#[test]
fn every_method_runs_on_every_world_in_both_ways_to_write() {
    let methods = MethodConfig::all();
    let runs = plan(4 * methods.len(), 1, 7);
    let seen: BTreeSet<_> = runs.iter().map(|run| (run.method, run.world, run.asynchronous)).collect();
    assert_eq!(seen.len(), runs.len());
    let few: BTreeSet<_> = plan(methods.len(), 1, 7).iter().map(|run| run.method).collect();
    assert_eq!(few, methods.iter().map(MethodConfig::name).collect());
}
