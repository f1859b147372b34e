//! Checks of `alarms`.

use crate::checks::Checks;
use crate::schema::{Alarm, AlarmAction, RunConfig};

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let alarms = &config.alarms;
    checks.count("alarms.patience", alarms.patience, 1, u64::MAX);
    checks.count("alarms.loss_patience", alarms.loss_patience, 1, u64::MAX);
    checks.fraction("alarms.min_embedding_std", alarms.min_embedding_std);
    checks.fraction("alarms.min_effective_rank", alarms.min_effective_rank);
    checks.fraction("alarms.max_linear_gap", alarms.max_linear_gap);
    checks.fraction("alarms.max_recording_excess", alarms.max_recording_excess);
    let uniformity = alarms.max_uniformity;
    checks.require(
        (-4.0..=0.0).contains(&uniformity),
        ["alarms.max_uniformity"],
        || format!("`alarms.max_uniformity` lies between -4 and 0, not {uniformity}"),
        "0 is a single point, -4 is uniform on a sphere of many dimensions",
    );
    for (key, margin) in
        [("alarms.entropy_margin", alarms.entropy_margin), ("alarms.loss_margin", alarms.loss_margin)]
    {
        checks.require(
            (0.0..0.5).contains(&margin),
            [key],
            || format!("`{key}` must be at least 0 and below 0.5, not {margin}"),
            "it is a margin at both ends of a range",
        );
    }
    let of_evaluations = Alarm::ALL.into_iter().filter(|alarm| *alarm != Alarm::LossAtChance);
    for alarm in of_evaluations.filter(|_| config.eval.every_epochs == 0) {
        let action = match alarms.action(alarm) {
            AlarmAction::Stop => "stop",
            AlarmAction::Rollback => "rollback",
            AlarmAction::Ignore | AlarmAction::Warn => continue,
        };
        let alarm = alarm.as_str();
        checks.require(
            false,
            ["alarms.on", "eval.every_epochs"],
            || {
                format!(
                    "`alarms.on.{alarm}` is `{action}`, but evaluation is off: `eval.every_epochs` = 0 and nothing would ever be \
                     judged"
                )
            },
            "switch evaluation on, or leave the alarm at `warn`",
        );
    }
    let Some(alarm) = alarms.rolling_back().next().map(Alarm::as_str) else { return };
    checks.require(
        config.checkpoint.every_steps != Some(0),
        ["alarms.on", "checkpoint.every_steps"],
        || format!("`alarms.on.{alarm}` is `rollback`, but nothing is saved: `checkpoint.every_steps` = 0"),
        "a run goes back to a checkpoint: leave `checkpoint.every_steps` at its default or set a number of steps",
    );
    checks.require(
        !alarms.rollback_set.is_empty(),
        ["alarms.on", "alarms.rollback_set"],
        || format!("`alarms.on.{alarm}` is `rollback`, but `alarms.rollback_set` changes nothing: the run would go the same way again"),
        "say what is done otherwise, such as `alarms.rollback_set=[optimizer.lr=0.0003]`",
    );
}
