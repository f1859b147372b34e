//! SLURM's notation of durations.

use std::fmt;
use std::str::FromStr;

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// So many seconds.
    Secs(u64),
    /// None: `0`, `infinite` or `unlimited`.
    Unlimited,
}

/// Longer than any cluster grants; keeps sums far from overflow.
const MAX_PART: u64 = 100_000_000;

impl FromStr for TimeLimit {
    type Err = String;

    /// Reads `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes` and
    /// `days-hours:minutes:seconds`.
    fn from_str(text: &str) -> Result<Self, String> {
        if ["infinite", "unlimited"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(Self::Unlimited);
        }
        let (days, clock) = match text.split_once('-') {
            Some((days, clock)) => (Some(days), clock),
            None => (None, text),
        };
        let parts: Option<Vec<u64>> = days.into_iter().chain(clock.split(':')).map(part).collect();
        let secs = match (days.is_some(), parts.as_deref()) {
            (false, Some(&[minutes])) => minutes * 60,
            (false, Some(&[minutes, secs])) => minutes * 60 + secs,
            (false, Some(&[hours, minutes, secs])) => hours * 3600 + minutes * 60 + secs,
            (true, Some(&[days, hours])) => days * 86_400 + hours * 3600,
            (true, Some(&[days, hours, minutes])) => days * 86_400 + hours * 3600 + minutes * 60,
            (true, Some(&[days, hours, minutes, secs])) => days * 86_400 + hours * 3600 + minutes * 60 + secs,
            _ => return Err("not a time such as 90 (minutes), 4:00:00 or 2-12:00:00".into()),
        };
        Ok(if secs == 0 { Self::Unlimited } else { Self::Secs(secs) })
    }
}

/// Digits only.
fn part(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&value| digits && value <= MAX_PART)
}

impl fmt::Display for TimeLimit {
    /// `[days-]hours:minutes:seconds`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Secs(secs) = self else { return f.write_str("unlimited") };
        let (days, rest) = (secs / 86_400, secs % 86_400);
        if days > 0 {
            write!(f, "{days}-")?;
        }
        write!(f, "{:02}:{:02}:{:02}", rest / 3600, rest % 3600 / 60, rest % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_of_sbatch_is_read() {
        for (text, secs, shown) in [
            ("90", 5400, "01:30:00"),
            ("90:30", 5430, "01:30:30"),
            ("24:00:00", 86_400, "1-00:00:00"),
            ("2-12", 216_000, "2-12:00:00"),
            ("2-12:30", 217_800, "2-12:30:00"),
            ("0-00:10:05", 605, "00:10:05"),
        ] {
            let limit: TimeLimit = text.parse().unwrap();
            assert_eq!(limit, TimeLimit::Secs(secs), "{text}");
            assert_eq!(limit.to_string(), shown);
            assert_eq!(shown.parse(), Ok(limit));
        }
        for text in ["0", "infinite", "UNLIMITED", "0-00"] {
            assert_eq!(text.parse(), Ok(TimeLimit::Unlimited), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "1h",
            "-5",
            "+5",
            "1:2:3:4",
            "1-",
            "-",
            "1-2-3",
            "1-2:3:4:5",
            "1:",
            " 5",
            "9999999999999999999999",
        ] {
            assert!(text.parse::<TimeLimit>().is_err(), "{text}");
        }
    }
}
