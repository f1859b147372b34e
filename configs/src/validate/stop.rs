//! Checks of `stop`.

use crate::checks::Checks;
use crate::schema::RunConfig;

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let stop = &config.stop;
    checks.count("stop.patience", stop.patience, 1, u64::MAX);
    checks.not_negative("stop.min_delta", stop.min_delta);
    if let Some(limit) = stop.time_limit_secs {
        checks.positive("stop.time_limit_secs", limit);
        if let Some(margin) = stop.margin_secs.value() {
            checks.require(
                margin < limit,
                ["stop.margin_secs", "stop.time_limit_secs"],
                || {
                    format!(
                        "`stop.margin_secs` = {margin} leaves nothing of `stop.time_limit_secs` = {limit}"
                    )
                },
                "a run stops `stop.margin_secs` before the time limit, to save",
            );
        }
    }
    let Some(monitor) = &stop.monitor else { return };
    checks.filled("stop.monitor", monitor);
    checks.require(
        config.eval.every_epochs > 0,
        ["stop.monitor", "eval.every_epochs"],
        || {
            format!(
                "`stop.monitor` is `{monitor}`, but evaluation is off: `eval.every_epochs` = 0 and nothing would \
                 ever be judged"
            )
        },
        "switch evaluation on, or `stop.monitor=null`",
    );
}
