//! Numbers of bytes, for people.

use std::fmt;

/// A number of bytes for people: three digits and a binary unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in units {
            unit = next;
            if value < 999.5 {
                break;
            }
            value /= 1024.0;
        }
        let decimals = if unit == "B" || value >= 100.0 { 0 } else { 1 };
        write!(f, "{value:.decimals$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        let texts = [0, 999, 1000, 1 << 20, 25 << 20, 1000 << 20, u64::MAX].map(|b| Bytes(b).to_string());
        assert_eq!(texts, ["0 B", "999 B", "1.0 KiB", "1.0 MiB", "25.0 MiB", "1.0 GiB", "16.0 EiB"]);
    }
}
