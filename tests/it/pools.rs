//! Batches of several pools, in whole programs.

use crate::small_runs::{settings, with_recordings};

const POOLS: &str = "data.pools=[{label: class, values: [wren], count: 2}]";

fn pooled(more: &[&str]) -> Vec<String> {
    let mut all =
        vec!["trainer.batch_size=6", "trainer.max_epochs=3", "optimizer=sgd", "trainer.precision=fp64"];
    all.extend(more);
    settings("supervised", &all)
}

/// 20 of 30 recordings in places of 4, the others in 2: five steps an epoch.
#[test]
fn ranks_and_kills_do_not_change_what_pools_bring() {
    let sandbox = with_recordings(10);
    let whole = sandbox.dtrain(pooled(&[POOLS, "run.dir=one"])).finish().succeeded();
    whole
        .says("the last places of a batch of 6 are 2 of the 10 samples of `class=wren`; the first ones are drawn from the other 20")
        .says_once("finished after 15 steps");
    sandbox.dtrain(pooled(&[POOLS, "run.dir=two"])).ranks(2).finish().succeeded();
    let (one, two) = (sandbox.run("one"), sandbox.run("two"));
    let (distance, (name, _)) = one.weights().distance(&two.weights());
    assert!(distance < 1e-10, "{name}: {distance}");
    let plain = sandbox.dtrain(pooled(&["run.dir=plain"])).finish().succeeded();
    plain.does_not_say("the last places");
    assert!(one.weights().distance(&sandbox.run("plain").weights()).0 > 1e-4, "other batches");

    let save = ["checkpoint.every_steps=1", "run.dir=killed", POOLS];
    let killed = sandbox.run("killed");
    let mut running = sandbox.dtrain(pooled(&save)).start();
    running.wait_until("some steps", || killed.latest_step() >= Some(3));
    running.kill();
    sandbox.dtrain(pooled(&save)).finish().succeeded();
    assert_eq!(one.weights().distance(&killed.weights()).0, 0.0);
}

#[test]
fn labels_and_values_that_the_data_do_not_have_are_named() {
    let sandbox = with_recordings(4);
    let refused = |pools: &str| sandbox.dtrain(pooled(&[pools, "run.dir=run"])).finish().expect(2);
    refused("data.pools=[{label: clas, values: [wren], count: 2}]")
        .says("`data.pools[0].label` names `clas`, which is not a label")
        .says("did you mean `class`?");
    refused("data.pools=[{label: class, values: [wre], count: 2}]")
        .says("`data.pools[0].values` names `wre`, which no sample has as its `class`")
        .says("did you mean `wren`?");
    refused("data.pools=[{label: class, values: [wren], count: 6}]").says("leaves none for other samples");
}
