//! What a run does otherwise than before.

use dtrain_configs::schema::{Role, ScheduleLength};
use serde::{Deserialize, Serialize};

/// A setting that is not what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted.
    pub key: String,
    /// As JSON; `null` where it was not set.
    pub was: serde_json::Value,
    /// As JSON.
    pub now: serde_json::Value,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` was {} and is now {}", self.key, self.was, self.now)
    }
}

impl Change {
    /// Why the run may go on with it, for the banner. `word`: what was said about another length.
    pub fn reason(&self, word: Option<ScheduleLength>) -> String {
        let why = match Role::of(&self.key) {
            Role::Length => match word {
                Some(ScheduleLength::Keep) => "the schedule stays as it is, by `schedule.length=keep`",
                Some(ScheduleLength::New) => "the schedule is computed anew, by `schedule.length=new`",
                None => "what was done does not depend on the length",
            },
            Role::Location => "what lies there is compared, not where",
            Role::Upkeep | Role::Start => "no weight depends on it",
            Role::Recipe => "an alarm has taken the run back",
        };
        format!("was {}; {why}", self.was)
    }
}
