//! What a person reads when ranks have died: one table about the first to fail, and what happens next.

use std::path::Path;
use std::time::Duration;

use super::cause::{Cause, Who};
use super::policy::{MAX_VAIN_RESTARTS, Reason};
use crate::ui::fact_table;

/// Further failures that are listed.
const MAX_FOLLOWERS: usize = 4;
/// Longer lines of output are cut.
const MAX_COLUMNS: usize = 160;

/// The table of the first to fail; `last_lines` gives those of a rank, `files` is the folder that holds all of them.
pub fn table(cause: &Cause, last_lines: impl Fn(usize) -> Vec<String>, files: Option<&Path>) -> String {
    let host = cause.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
    let mut facts = vec![("first to fail", format!("{}{host}", cause.who))];
    facts.push(("ended by", cause.ending.to_string()));
    facts.extend(cause.stage.clone().map(|stage| ("last stage", stage)));
    facts.extend(cause.message.clone().map(|message| ("message", message)));
    if cause.message.is_none() {
        facts.extend(last_output(cause, last_lines));
    }
    let followers: Vec<String> = cause.followers.iter().take(MAX_FOLLOWERS).map(follower).collect();
    if !followers.is_empty() {
        facts.push(("after it", followers.join("\n")));
    }
    facts.extend(cause.hint.clone().map(|hint| ("hint", hint)));
    facts.extend(files.map(|files| ("all output", files.display().to_string())));
    fact_table(&facts)
}

/// What the first to fail said last; where it said nothing, what rank 0 did, which speaks for all.
fn last_output(cause: &Cause, last_lines: impl Fn(usize) -> Vec<String>) -> Option<(&'static str, String)> {
    let own = match cause.who {
        Who::Rank(rank) => last_lines(rank),
        Who::Mpirun => Vec::new(),
    };
    let shown = |lines: Vec<String>| lines.iter().map(|line| shortened(line)).collect::<Vec<_>>().join("\n");
    if !own.is_empty() {
        return Some(("last output", shown(own)));
    }
    let others = last_lines(0);
    (!others.is_empty()).then(|| ("last output of rank 0", shown(others)))
}

fn follower(record: &dtrain_front::record::Record) -> String {
    let first = record.message.lines().next().unwrap_or_default();
    let stage = record.stage.as_ref().map_or(String::new(), |stage| format!(" ({stage})"));
    shortened(&format!("rank {} on {}: exit code {}{stage}: {first}", record.rank, record.host, record.exit))
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= MAX_COLUMNS {
        return line.to_owned();
    }
    line.chars().take(MAX_COLUMNS - 1).chain(['…']).collect()
}

/// `restart 1 of 3 in 1 s, from step 40: rank 1 was killed by SIGKILL (9)`.
pub fn restart_line(number: u32, left: u32, pause: Duration, from: Option<u64>, cause: &Cause) -> String {
    let from =
        from.map_or("the beginning, as there is no checkpoint yet".to_owned(), |step| format!("step {step}"));
    let secs = pause.as_secs_f64();
    format!("restart {number}, {left} left, in {secs} s, from {from}: {cause}")
}

/// Why there is no further restart, with what to do instead.
pub fn final_hint(reason: Reason) -> String {
    match reason {
        Reason::NoneLeft => "no restart is left; `--max-restarts` allows more".to_owned(),
        Reason::Vain => format!(
            "{MAX_VAIN_RESTARTS} restarts in a row brought no new checkpoint; save more often with \
             `checkpoint.every_steps`, or fix the cause"
        ),
        Reason::NotTraining => "only training is started again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::mpirun::Ending;
    use dtrain_front::record::Record;

    fn cause() -> Cause {
        Cause {
            who: Who::Rank(1),
            host: Some("vm".into()),
            ending: Ending::Signal(9),
            stage: None,
            message: None,
            hint: Some("it was killed from outside".into()),
            followers: Vec::new(),
        }
    }

    #[test]
    fn a_killed_rank_shows_its_last_lines() {
        let lines = |rank| match rank {
            1 => vec!["epoch 1 step 3/9 loss 1.5".to_owned(), "x".repeat(200)],
            _ => vec!["epoch 1 step 4/9 loss 1.4".to_owned()],
        };
        let files = Path::new("runs/a/logs/launch/attempt_0");
        let text = table(&cause(), lines, Some(files)).replace(&"x".repeat(159), "xxx");
        insta::assert_snapshot!(text, @r"
        first to fail  rank 1 on vm
        ended by       SIGKILL (9)
        last output    epoch 1 step 3/9 loss 1.5
                       xxx…
        hint           it was killed from outside
        all output     runs/a/logs/launch/attempt_0
       ");
        let silent = Cause { who: Who::Rank(7), ..cause() };
        let lines = |rank| if rank == 0 { vec!["step 4".to_owned()] } else { Vec::new() };
        assert!(table(&silent, lines, None).contains("last output of rank 0  step 4"));
    }

    #[test]
    fn a_rank_that_spoke_is_quoted_and_followers_are_named() {
        let record = Record {
            rank: 0,
            host: "vm".into(),
            pid: 7,
            time_unix: 2.0,
            exit: 1,
            message: "all_reduce has waited 10 s\nmore".into(),
            hint: None,
            stage: Some("step 12".into()),
        };
        let cause = Cause {
            ending: Ending::Exit(3),
            stage: Some("step 12, backward".into()),
            message: Some("the GPU is gone".into()),
            followers: vec![record],
            ..cause()
        };
        insta::assert_snapshot!(table(&cause, |_| vec!["unused".to_owned()], None), @r"
        first to fail  rank 1 on vm
        ended by       exit code 3
        last stage     step 12, backward
        message        the GPU is gone
        after it       rank 0 on vm: exit code 1 (step 12): all_reduce has waited 10 s
        hint           it was killed from outside
       ");
    }

    #[test]
    fn restarts_say_why_from_where_and_how_many_are_left() {
        let line = |from| restart_line(1, 2, Duration::from_secs(1), from, &cause());
        assert_eq!(
            line(Some(40)),
            "restart 1, 2 left, in 1 s, from step 40: rank 1 on `vm` was killed by SIGKILL (9)"
        );
        assert!(line(None).contains("from the beginning"));
        assert!(final_hint(Reason::Vain).starts_with("3 restarts in a row"));
    }
}
