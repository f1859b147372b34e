//! The values that named schedules have in one step.

use std::collections::BTreeMap;

use super::Scheduled;

/// A setting of a method that may change over the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScheduledSetting {
    /// Its key, such as `method.temperature`.
    pub key: &'static str,
    /// The same below `method`: the name of its value.
    pub name: &'static str,
    /// What it is in which step, unless a phase says otherwise.
    pub schedule: Scheduled,
    /// What its values may be, also where a phase sets them.
    pub range: ValueRange,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueRange {
    /// A temperature.
    Positive,
    /// A weight of a loss, or a number of samples.
    NotNegative,
    /// A share, from 0 to 1.
    Fraction,
}

impl ValueRange {
    /// Whether it may be that; what lies between two values that may be may be too.
    pub fn holds(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Positive => value > 0.0,
                Self::NotNegative => value >= 0.0,
                Self::Fraction => (0.0..=1.0).contains(&value),
            }
    }

    /// In words, behind "must be".
    pub fn words(self) -> &'static str {
        match self {
            Self::Positive => "above 0 and finite",
            Self::NotNegative => "at least 0 and finite",
            Self::Fraction => "from 0 to 1",
        }
    }
}

/// What everything that is scheduled by name has in one step, computed once for all who ask.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScheduledValues(BTreeMap<String, f64>);

impl ScheduledValues {
    /// The value of that name; `None` where nothing of that name is scheduled.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl FromIterator<(String, f64)> for ScheduledValues {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}
