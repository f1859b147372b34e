//! Which samples a contrastive loss attracts.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What makes two samples positives of each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "String", rename_all = "snake_case")]
pub enum PositiveRule {
    /// Both have the same target label.
    Label,
    /// Both come from one recording (`data.recording`, or one file that is cut into samples).
    Recording,
    /// Both come from one recording and begin at most X seconds apart in it, as in `within_secs:5`; needs samples cut from
    /// recordings (`data.audio.segment_secs`, `data.labels.begin`), or `data.offset`.
    #[serde(rename = "within_secs:X")]
    WithinSecs {
        /// X.
        secs: f64,
    },
}

impl PositiveRule {
    const WORDS: [&'static str; 3] = ["label", "recording", "within_secs:X"];

    /// Whether it is about samples of one recording.
    pub fn is_of_recordings(self) -> bool {
        self != Self::Label
    }
}

impl fmt::Display for PositiveRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label => f.write_str("label"),
            Self::Recording => f.write_str("recording"),
            Self::WithinSecs { secs } => write!(f, "within_secs:{secs}"),
        }
    }
}

impl From<PositiveRule> for String {
    fn from(rule: PositiveRule) -> Self {
        rule.to_string()
    }
}

/// A rule as settings have it: a word.
struct Written(PositiveRule);

impl From<Written> for PositiveRule {
    fn from(Written(rule): Written) -> Self {
        rule
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WordVisitor).map(Self)
    }
}

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = PositiveRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`label`, `recording` or `within_secs:X`, where X is a number of seconds of at least 0")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<PositiveRule, E> {
        match (word, word.split_once(':')) {
            ("label", _) => Ok(PositiveRule::Label),
            ("recording", _) => Ok(PositiveRule::Recording),
            (_, Some(("within_secs", number))) => {
                let secs = number.trim().parse().ok().filter(|secs: &f64| secs.is_finite() && *secs >= 0.0);
                let secs = secs.ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))?;
                Ok(PositiveRule::WithinSecs { secs })
            }
            ("within_secs", None) => Err(E::invalid_value(Unexpected::Str(word), &self)),
            _ => Err(E::unknown_variant(word, &PositiveRule::WORDS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        let rules = [
            PositiveRule::Label,
            PositiveRule::Recording,
            PositiveRule::WithinSecs { secs: 2.5 },
            PositiveRule::WithinSecs { secs: 0.0 },
        ];
        for rule in rules {
            let text = serde_json::to_string(&rule).unwrap();
            assert_eq!(text, format!("\"{rule}\""));
            assert_eq!(serde_json::from_str::<PositiveRule>(&text).unwrap(), rule);
        }
        for wrong in
            ["\"within_secs:-1\"", "\"within_secs:inf\"", "\"within_secs\"", "\"species\"", "5", "null"]
        {
            assert!(serde_json::from_str::<PositiveRule>(wrong).is_err(), "{wrong}");
        }
    }
}
