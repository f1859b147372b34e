//! The time that a start may take: `stop.time_limit_secs`, or the end of the SLURM allocation where that comes first. The
//! clock is the monotonic one, so that a clock that is set forward stops nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dtrain_configs::schema::{Auto, StopConfig};

use crate::coordinator::Interrupt;
use crate::error::TrainError;
use crate::run::train::pace::Pace;

/// Set by SLURM for every process of a job: seconds since 1970.
const SLURM_END: &str = "SLURM_JOB_END_TIME";
/// Longest limit that a clock can count.
const MAX_SECS: f64 = 1e9;

/// When this start must have saved and ended.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    started: Instant,
    limit: Duration,
    /// Who set it, for messages.
    source: &'static str,
    margin: Auto<f64>,
    announced: bool,
}

impl Deadline {
    /// The earlier of the two limits, counted from `started`; `None` without any.
    pub(crate) fn new(config: &StopConfig, started: Instant) -> Option<Self> {
        let own = config
            .time_limit_secs
            .map(|secs| (Duration::from_secs_f64(secs.clamp(0.0, MAX_SECS)), "stop.time_limit_secs"));
        let slurm = slurm_secs(std::env::var(SLURM_END).ok().as_deref(), SystemTime::now());
        let slurm = slurm.map(|left| (started.elapsed() + left, SLURM_END));
        let (limit, source) = own.into_iter().chain(slurm).min_by_key(|(limit, _)| *limit)?;
        Some(Self { started, limit, source, margin: config.margin_secs, announced: false })
    }

    /// A requeue once what is left is the time that the rest takes.
    pub(crate) fn interrupt(&mut self, pace: &Pace) -> Option<Interrupt> {
        let left = self.left();
        let margin = self.margin(pace);
        if left > margin {
            return None;
        }
        if !self.announced {
            self.announced = true;
            tracing::info!(
                "time is up: {:.0} s are left of `{}`, and saving takes up to {:.0} s",
                left.as_secs_f64(),
                self.source,
                margin.as_secs_f64()
            );
        }
        Some(Interrupt::Requeue)
    }

    /// Refuses a limit that leaves no time to train: every start would end with nothing but a checkpoint.
    pub(crate) fn check(&self, pace: &Pace) -> Result<(), TrainError> {
        let margin = self.margin(pace);
        if self.left() > margin {
            return Ok(());
        }
        Err(TrainError::config(
            format!(
                "`{}` ends this start after {:.0} s, which leaves no time to train: starting and saving take {:.0} s",
                self.source,
                self.limit.as_secs_f64(),
                (self.started.elapsed() + margin).as_secs_f64()
            ),
            "allow more time, or set `stop.margin_secs` if a checkpoint is written faster than that",
        ))
    }

    /// Seconds of the limit and before it, and who set it.
    pub(crate) fn describe(&self, pace: &Pace) -> (String, String) {
        let margin = match self.margin {
            Auto::Value(_) => "set".to_owned(),
            Auto::Auto => "auto: the longest step, evaluation and checkpoint so far".to_owned(),
        };
        let secs = self.margin(pace).as_secs_f64();
        (
            format!("{:.0} s", self.limit.as_secs_f64()),
            format!("{}; stops {secs:.1} s before, {margin}", self.source),
        )
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    fn margin(&self, pace: &Pace) -> Duration {
        match self.margin {
            Auto::Value(secs) => Duration::from_secs_f64(secs.clamp(0.0, MAX_SECS)),
            Auto::Auto => pace.time_to_stop(),
        }
    }
}

/// Time until the end of the allocation. An end that is no number or lies in the past is left over from another job.
fn slurm_secs(text: Option<&str>, now: SystemTime) -> Option<Duration> {
    let text = text?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = text.trim().parse().ok().map(Duration::from_secs).and_then(|end| end.checked_sub(now));
    let left = left.filter(|left| left.as_secs_f64() <= MAX_SECS);
    if left.is_none() {
        tracing::warn!("`{SLURM_END}={text}` is no time to come and is ignored: unset it to silence this");
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(limit: f64, margin: Auto<f64>) -> StopConfig {
        StopConfig { time_limit_secs: Some(limit), margin_secs: margin, ..StopConfig::default() }
    }

    fn ago(secs: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(secs)).unwrap()
    }

    #[test]
    fn time_is_up_when_only_the_margin_is_left() {
        let pace = Pace::default();
        for (spent, margin, expected) in
            [(10, 5.0, None), (96, 5.0, Some(Interrupt::Requeue)), (96, 2.0, None)]
        {
            let mut deadline = Deadline::new(&config(100.0, Auto::Value(margin)), ago(spent)).unwrap();
            assert_eq!(deadline.interrupt(&pace), expected, "{spent} s spent, margin {margin}");
        }
        assert!(Deadline::new(&StopConfig::default(), Instant::now()).is_none());
    }

    #[test]
    fn a_limit_shorter_than_a_checkpoint_is_refused() {
        let pace = Pace::expecting(100 << 30);
        let deadline = Deadline::new(&config(60.0, Auto::Auto), Instant::now()).unwrap();
        let error = deadline.check(&pace).unwrap_err();
        assert!(error.to_string().contains("`stop.time_limit_secs` ends this start after 60 s"), "{error}");
        assert!(deadline.check(&Pace::default()).is_ok());
        let set = Deadline::new(&config(60.0, Auto::Value(1.0)), Instant::now()).unwrap();
        assert!(set.check(&pace).is_ok());
    }

    #[test]
    fn the_end_of_an_allocation_is_read_or_ignored() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(slurm_secs(Some("1000090"), now), Some(Duration::from_secs(90)));
        assert_eq!(slurm_secs(None, now), None);
        for stale in ["999000", "", "soon", "-5", "99999999999999999999", "18446744073709551615"] {
            assert_eq!(slurm_secs(Some(stale), now), None, "{stale}");
        }
    }
}
