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
    let stops = of_evaluations.filter(|alarm| alarms.action(*alarm) == AlarmAction::Stop);
    for alarm in stops.filter(|_| config.eval.every_epochs == 0) {
        let alarm = alarm.as_str();
        checks.require(
            false,
            ["alarms.on", "eval.every_epochs"],
            || {
                format!(
                    "`alarms.on.{alarm}` is `stop`, but evaluation is off: `eval.every_epochs` = 0 and nothing would ever be judged"
                )
            },
            "switch evaluation on, or leave the alarm at `warn`",
        );
    }
}
