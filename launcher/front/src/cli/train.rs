//! `dtrain train`.

use std::num::NonZeroUsize;

use clap::Args;

use super::ConfigDir;

/// What can be typed after `dtrain train`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Settings follow Hydra: groups and values on the command line, in any order.
  experiment=NAME       choose an experiment (`dtrain ls`)
  model=resnet18        choose a file of a group
  trainer.batch_size=64 set a value; +key=value adds one, ~key takes one back to its default

Examples:
  dtrain experiment=supcon_birdsong seed=1 run.dir=runs/first
  dtrain experiment=simclr_fsdd data.root=fsdd/recordings --cfg
  mpirun --oversubscribe -n 8 dtrain --fast-dev-run
  dtrain experiment=simclr_birdsong trainer.batch_size=512 --dry-run world=64")]
pub struct TrainArgs {
    /// Settings: `group=name`, `key.path=value`, `+key=value`, `~key`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the settings with the origin of each value, and stop
    #[arg(long)]
    pub cfg: bool,
    /// Check settings, data and model, print the plan, and stop; makes no run directory
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: plan memory, messages and speed for N ranks instead of those at hand; `world=N` means the same
    #[arg(long, value_name = "N", requires = "dry_run")]
    pub world: Option<NonZeroUsize>,
    /// Run N steps and a short evaluation; makes no run directory
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "2", require_equals = true)]
    pub fast_dev_run: Option<u64>,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

impl TrainArgs {
    /// The ranks to plan for: `--world N`, or the word `world=N` beside `--dry-run`, which is taken out of the settings.
    /// Without `--dry-run` the word stays there and is refused with them, as there is no such key.
    ///
    /// # Errors
    /// A text for people when the word is no number of ranks or contradicts the option.
    pub fn take_planned_world(&mut self) -> Result<Option<usize>, String> {
        if !self.dry_run {
            return Ok(None);
        }
        let mut world = self.world;
        for word in self.overrides.extract_if(.., |word| word.starts_with(WORLD_WORD)) {
            let number = word.trim_start_matches(WORLD_WORD);
            let typed: NonZeroUsize =
                number.parse().map_err(|_| format!("`{word}`: `{number}` is not a number of ranks"))?;
            if world.is_some_and(|other| other != typed) {
                return Err(format!("`{word}` contradicts another number of ranks to plan for"));
            }
            world = Some(typed);
        }
        Ok(world.map(NonZeroUsize::get))
    }
}

/// What `--dry-run` takes beside settings.
const WORLD_WORD: &str = "world=";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::super::{Cli, Verb, in_order};
    use super::*;

    fn parse(words: &[&str]) -> Cli {
        Cli::try_parse_from(in_order(words.iter().map(OsString::from))).unwrap()
    }

    fn train(words: &[&str]) -> TrainArgs {
        match parse(words).verb {
            Verb::Train(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fast_dev_run_takes_an_optional_count() {
        let steps = |words: &[&str]| match parse(words).verb {
            Verb::Train(args) => args.fast_dev_run,
            _ => None,
        };
        assert_eq!(steps(&["dtrain", "--fast-dev-run"]), Some(2));
        assert_eq!(steps(&["dtrain", "--fast-dev-run=5"]), Some(5));
        assert_eq!(steps(&["dtrain", "--fast-dev-run", "seed=1"]), Some(2));
    }

    #[test]
    fn a_dry_run_plans_for_another_world() {
        for words in [
            &["dtrain", "seed=1", "--dry-run", "world=1024"][..],
            &["dtrain", "--dry-run", "--world", "1024", "seed=1"],
            &["dtrain", "world=1024", "--world=1024", "seed=1", "--dry-run"],
        ] {
            let mut args = train(words);
            assert_eq!(args.take_planned_world(), Ok(Some(1024)), "{words:?}");
            assert_eq!(args.overrides, ["seed=1"]);
        }
        assert_eq!(train(&["dtrain", "--dry-run"]).take_planned_world(), Ok(None));
    }

    #[test]
    fn a_world_to_plan_for_needs_a_dry_run_and_a_number() {
        let mut plain = train(&["dtrain", "world=8"]);
        assert_eq!(plain.take_planned_world(), Ok(None));
        assert_eq!(plain.overrides, ["world=8"]);
        assert!(Cli::try_parse_from(["dtrain", "train", "--world", "8"]).is_err());
        assert!(Cli::try_parse_from(["dtrain", "train", "--dry-run", "--world", "0"]).is_err());
        for word in ["world=", "world=0", "world=-1", "world=many", "world=99999999999999999999999"] {
            let message = train(&["dtrain", "--dry-run", word]).take_planned_world().unwrap_err();
            assert!(message.contains("is not a number of ranks"), "{message}");
        }
        let message =
            train(&["dtrain", "--dry-run", "--world=8", "world=4"]).take_planned_world().unwrap_err();
        assert!(message.contains("contradicts"), "{message}");
    }
}
