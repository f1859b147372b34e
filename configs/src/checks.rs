//! What a check of settings finds, and the bounds that are asked for everywhere.

/// Widest layer.
pub(crate) const MAX_DIM: u64 = 1 << 16;

/// A setting, or several together, that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Dotted keys that take part.
    pub keys: Vec<&'static str>,
    /// What is wrong, with keys and values.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Whether it counts only if the user asked for the first key.
    pub only_if_asked: bool,
}

/// Collects conflicts.
#[derive(Default)]
pub(crate) struct Checks {
    pub found: Vec<Conflict>,
}

impl Checks {
    /// Notes a conflict unless `holds`.
    pub fn require<const N: usize>(
        &mut self,
        holds: bool,
        keys: [&'static str; N],
        message: impl FnOnce() -> String,
        hint: impl Into<Option<&'static str>>,
    ) {
        if !holds {
            let hint = hint.into().map(str::to_owned);
            self.found.push(Conflict { keys: keys.to_vec(), message: message(), hint, only_if_asked: false });
        }
    }

    /// As [`Checks::require`], for a value that does no harm when a recipe brings it.
    pub fn require_of_asked<const N: usize>(
        &mut self,
        holds: bool,
        keys: [&'static str; N],
        message: impl FnOnce() -> String,
        hint: &'static str,
    ) {
        self.require(holds, keys, message, hint);
        if let Some(conflict) = self.found.last_mut().filter(|_| !holds) {
            conflict.only_if_asked = true;
        }
    }

    /// A whole number within bounds, both included.
    pub fn count(&mut self, key: &'static str, value: impl TryInto<u64>, low: u64, high: u64) {
        let value = value.try_into().unwrap_or(u64::MAX);
        self.require(
            (low..=high).contains(&value),
            [key],
            || format!("`{key}` must be from {low} to {high}, not {value}"),
            None,
        );
    }

    /// A number above zero.
    pub fn positive(&mut self, key: &'static str, value: f64) {
        let holds = value.is_finite() && value > 0.0;
        self.require(holds, [key], || format!("`{key}` must be above 0 and finite, not {value}"), None);
    }

    /// A number of at least zero.
    pub fn not_negative(&mut self, key: &'static str, value: f64) {
        let holds = value.is_finite() && value >= 0.0;
        self.require(holds, [key], || format!("`{key}` must be at least 0 and finite, not {value}"), None);
    }

    /// A share from 0 to 1, both included.
    pub fn fraction(&mut self, key: &'static str, value: f64) {
        let holds = (0.0..=1.0).contains(&value);
        self.require(holds, [key], || format!("`{key}` is a fraction from 0 to 1, not {value}"), None);
    }

    /// A number from 0 up to, but not including, 1.
    pub fn below_one(&mut self, key: &'static str, value: f64) {
        let holds = (0.0..1.0).contains(&value);
        self.require(holds, [key], || format!("`{key}` must be at least 0 and below 1, not {value}"), None);
    }

    /// Low and high end of a range.
    pub fn range(&mut self, key: &'static str, [low, high]: [f64; 2]) {
        let holds = low.is_finite() && high.is_finite() && low <= high;
        let message = || format!("`{key}` is a range from low to high, not [{low}, {high}]");
        self.require(holds, [key], message, None);
    }

    /// Text that is not empty.
    pub fn filled(&mut self, key: &'static str, text: &str) {
        self.require(!text.trim().is_empty(), [key], || format!("`{key}` is empty"), None);
    }
}
