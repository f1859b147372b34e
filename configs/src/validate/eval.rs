//! Checks of `eval`.

use super::training::MAX_BATCH;
use crate::checks::Checks;
use crate::schema::{DataKind, EvalWeights, RunConfig};

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let eval = &config.eval;
    checks.count("eval.batch_size", eval.batch_size as u64, 1, MAX_BATCH);
    checks.fraction("eval.budget", eval.budget);
    checks.count("eval.min_samples", eval.min_samples as u64, 1, u64::MAX);
    checks.count("eval.max_samples", eval.max_samples.unwrap_or(1) as u64, 1, u64::MAX);
    check_list("eval.knn.k", eval.knn.k.values(), checks);
    for &k in eval.knn.k.values() {
        checks.count("eval.knn.k", k as u64, 1, 1 << 20);
    }
    check_list("eval.knn.temperature", eval.knn.temperature.values(), checks);
    for &temperature in eval.knn.temperature.values() {
        checks.positive("eval.knn.temperature", temperature);
    }
    checks.count("eval.linear.iterations", eval.linear.iterations as u64, 1, 1_000_000);
    check_list("eval.linear.weight_decay", eval.linear.weight_decay.values(), checks);
    for &decay in eval.linear.weight_decay.values() {
        checks.not_negative("eval.linear.weight_decay", decay);
    }
    check_list("eval.few_shot.shots", eval.few_shot.shots.values(), checks);
    for &shots in eval.few_shot.shots.values() {
        checks.count("eval.few_shot.shots", shots as u64, 1, 1 << 20);
    }
    checks.count("eval.few_shot.ways", eval.few_shot.ways as u64, 2, 1 << 20);
    checks.count("eval.few_shot.queries", eval.few_shot.queries as u64, 1, 1 << 20);
    checks.count("eval.few_shot.episodes", eval.few_shot.episodes as u64, 1, 1_000_000);
    for class in &config.data.held_out_classes {
        checks.filled("data.held_out_classes", class);
    }
    for probe in &eval.probes {
        checks.filled("eval.probes", probe);
    }

    let split = config.data.splits.get(&config.data.split);
    let by_itself = config.data.kind == DataKind::Images || config.trainer.overfit;
    let held_out = by_itself
        || split.is_none_or(|split| {
            !split.test.is_empty()
                || !split.val.is_empty()
                || split.test_fraction != 0.0
                || split.val_fraction != 0.0
        });
    checks.require(
        held_out || eval.every_epochs == 0,
        ["eval.every_epochs", "data.split", "data.splits"],
        || {
            let (every, name) = (eval.every_epochs, &config.data.split);
            format!(
                "`eval.every_epochs` is {every}, but `data.split` = {name} holds nothing out to evaluate on"
            )
        },
        "give the split a `test_fraction` or `val_fraction`, or switch evaluation off: `eval.every_epochs=0`",
    );
    check_weights(config, checks);
    check_audit(config, checks);
    check_pictures(config, checks);
}

fn check_pictures(config: &RunConfig, checks: &mut Checks) {
    let pictures = &config.eval.pictures;
    checks.count("eval.pictures.max_points", pictures.max_points as u64, 1, 20_000);
    checks.require(
        !pictures.enabled || config.eval.embeddings,
        ["eval.pictures.enabled", "eval.embeddings"],
        || "`eval.pictures.enabled` draws embeddings, but `eval.embeddings` is false".into(),
        "evaluate embeddings too: `eval.embeddings=true`",
    );
}

fn check_audit(config: &RunConfig, checks: &mut Checks) {
    let audit = &config.eval.audit;
    checks.count("eval.audit.min_group", audit.min_group as u64, 1, u64::MAX);
    for column in &audit.columns {
        checks.filled("eval.audit.columns", column);
    }
    checks.require(
        !audit.enabled || config.eval.embeddings,
        ["eval.audit.enabled", "eval.embeddings"],
        || "`eval.audit.enabled` asks what embeddings know, but `eval.embeddings` is false".into(),
        "evaluate embeddings too: `eval.embeddings=true`",
    );
}

/// Most values of a list that is tried value by value.
const MAX_TRIED: usize = 64;

fn check_list<T: PartialEq>(key: &'static str, values: &[T], checks: &mut Checks) {
    let several = || format!("`{key}` has {} values, and each is tried", values.len());
    checks.require(
        !values.is_empty(),
        [key],
        || format!("`{key}` is an empty list"),
        "give one value or more",
    );
    checks.require(values.len() <= MAX_TRIED, [key], several, "64 are the most");
    let repeated = values.iter().enumerate().any(|(at, value)| values.iter().take(at).any(|v| v == value));
    checks.require(!repeated, [key], || format!("`{key}` has the same value twice"), "name each once");
}

fn check_weights(config: &RunConfig, checks: &mut Checks) {
    let (eval, checkpoint) = (&config.eval, &config.checkpoint);
    for part in &eval.parts {
        checks.filled("eval.parts", part);
    }
    if eval.weights != EvalWeights::Best {
        return;
    }
    checks.require(
        checkpoint.monitor.is_some(),
        ["eval.weights", "checkpoint.monitor"],
        || "`eval.weights` is best, but no metric names the best weights: `checkpoint.monitor` is null".into(),
        "name one, such as `checkpoint.monitor=val/knn_top1`, or leave it to the method: `checkpoint.monitor=auto`",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Auto;

    fn messages(change: impl FnOnce(&mut RunConfig)) -> Vec<String> {
        super::super::messages(check, change)
    }

    #[test]
    fn lists_have_values_each_once_and_within_bounds() {
        let nothing: Vec<String> = messages(|_| {});
        for (change, message) in [
            (
                Box::new(|config: &mut RunConfig| config.eval.knn.k = vec![].into())
                    as Box<dyn FnOnce(&mut RunConfig)>,
                "`eval.knn.k` is an empty list",
            ),
            (
                Box::new(|config| config.eval.knn.temperature = vec![].into()),
                "`eval.knn.temperature` is an empty list",
            ),
            (
                Box::new(|config| config.eval.linear.weight_decay = vec![].into()),
                "`eval.linear.weight_decay` is an empty list",
            ),
            (
                Box::new(|config| config.eval.knn.k = vec![5, 5].into()),
                "`eval.knn.k` has the same value twice",
            ),
            (
                Box::new(|config| config.eval.knn.k = vec![5, 0].into()),
                "`eval.knn.k` must be from 1 to 1048576, not 0",
            ),
        ] {
            let mut expected = nothing.clone();
            expected.insert(0, message.to_owned());
            assert_eq!(messages(change), expected);
        }
        assert_eq!(messages(|config| config.eval.knn.k = vec![5, 20].into()), nothing);
    }

    #[test]
    fn the_best_weights_need_a_name() {
        let with = |monitor: Option<Auto<String>>| {
            messages(|config| {
                config.eval.weights = EvalWeights::Best;
                config.checkpoint.monitor = monitor;
            })
        };
        assert!(
            with(None).iter().any(|message| message.starts_with("`eval.weights` is best, but no metric"))
        );
        assert_eq!(with(Some(Auto::Auto)), messages(|_| {}));
    }
}
