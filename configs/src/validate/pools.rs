//! Checks of `data.pools`.

use crate::checks::Checks;
use crate::schema::{RunConfig, Sampling};

const KEYS: [&str; 1] = ["data.pools"];

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    if config.data.pools.is_empty() {
        return;
    }
    let sampling = config.method.facts().sampling;
    checks.require(
        matches!(sampling, Sampling::Shuffled | Sampling::ShuffledLabelled),
        ["data.pools", "method.name"],
        || {
            format!(
                "`data.pools` composes the batches, and `method.name` = {} draws them by class or by recording",
                config.method.name()
            )
        },
        "leave `data.pools` away, or choose a method that takes samples as they come, such as `method=supervised`",
    );
    for (index, pool) in config.data.pools.iter().enumerate() {
        let key = format!("data.pools[{index}]");
        checks.require(
            !pool.label.is_empty() && !pool.values.is_empty(),
            KEYS,
            || format!("`{key}` needs a `label` and `values`, which tell its samples"),
            "such as `{label: origin, values: [corrected], count: 4}`",
        );
        let bad = pool.count.ends().into_iter().find(|end| !end.is_finite() || *end < 0.0);
        checks.require(
            bad.is_none() && !pool.count.is_zero(),
            KEYS,
            || format!("`{key}.count` must be at least 0 and not always 0, not {}", bad.unwrap_or(0.0)),
            "it is the number of its places in a batch",
        );
        checks.require(
            !pool.count.follows_length(),
            KEYS,
            || format!("`{key}.count` is scheduled in fractions of the run, whose length follows from the batches"),
            "say its length in steps or epochs: `{from: 0, to: 8, kind: linear, over: 10 epochs}`",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;
    use crate::schema::{MethodConfig, PoolConfig, Scheduled};

    fn says(method: &str, change: impl FnOnce(&mut PoolConfig)) -> Vec<String> {
        messages(check, |config| {
            config.method = MethodConfig::named(method).unwrap();
            let mut pool =
                PoolConfig { label: "origin".into(), values: vec!["corrected".into()], count: 4.0.into() };
            change(&mut pool);
            config.data.pools = vec![pool];
        })
    }

    #[test]
    fn pools_that_cannot_work_are_named() {
        assert!(says("supervised", |_| {}).is_empty());
        let by_epochs = r#"{"from": 0, "to": 8, "kind": "linear", "over": "3 epochs"}"#;
        assert!(says("multihead", |pool| pool.count = serde_json::from_str(by_epochs).unwrap()).is_empty());
        let one = |method: &str, change: fn(&mut PoolConfig)| says(method, change).join("; ");
        assert!(one("supcon", |_| {}).contains("`method.name` = supcon draws them by class or by recording"));
        assert!(
            one("supervised", |pool| pool.values.clear())
                .contains("`data.pools[0]` needs a `label` and `values`")
        );
        assert!(one("supervised", |pool| pool.count = (-1.0).into()).contains("not -1"));
        assert!(one("supervised", |pool| pool.count = 0.0.into()).contains("not always 0"));
        assert!(
            one("supervised", |pool| pool.count = Scheduled::linear(0.0, 4.0))
                .contains("fractions of the run")
        );
    }
}
