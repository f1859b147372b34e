//! Numbers as people read them.

/// Up to four significant digits, without zeros at the end: `126.5`, `-0.3981`, `2e-9`.
pub fn short_number(value: f64) -> String {
    const DIGITS: i32 = 4;
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if !magnitude.is_finite() || !(-5.0..=7.0).contains(&magnitude) {
        return without_zeros(&format!("{value:.3e}"));
    }
    let decimals = (DIGITS - 1 - magnitude as i32).max(0) as usize;
    without_zeros(&format!("{value:.decimals$}"))
}

/// A share as percent, with one digit; small ones are told from none.
pub fn percent(part: u64, whole: u64) -> String {
    let share = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    if part > 0 && share < 0.05 { "<0.1 %".into() } else { format!("{share:.1} %") }
}

/// A distance of ticks from the series 1, 2, 5, 10, so that `max` needs at most `most` of them.
pub fn tick_step(max: f64, most: usize) -> f64 {
    let least = max / most.max(1) as f64;
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    let decade = 10f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    // A step a hair too small is large enough: the last tick may lie on the edge.
    factors
        .into_iter()
        .map(|factor| factor * decade)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(least)
}

fn without_zeros(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').map_or((text, None), |(m, e)| (m, Some(e)));
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    exponent.map_or(mantissa.to_owned(), |exponent| format!("{mantissa}e{exponent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_enough() {
        let cases = [
            (126.5, "126.5"),
            (-0.398_08, "-0.3981"),
            (0.1 + 0.2, "0.3"),
            (1000.0, "1000"),
            (123_456.0, "123456"),
            (0.0, "0"),
            (-0.0, "0"),
            (2e-9, "2e-9"),
            (1.5e12, "1.5e12"),
            (99.999_9, "100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(short_number(value), expected);
        }
    }

    #[test]
    fn shares_are_percent() {
        assert_eq!(
            [percent(1, 3), percent(0, 3), percent(3, 3), percent(1, 1_000_000), percent(0, 0)],
            ["33.3 %", "0.0 %", "100.0 %", "<0.1 %", "0.0 %"]
        );
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (max, most, expected) in [
            (100.0, 5, 20.0),
            (100.0, 4, 50.0),
            (9.9, 5, 2.0),
            (0.37, 5, 0.1),
            (255.0, 10, 50.0),
            (0.0, 5, 1.0),
        ] {
            let step = tick_step(max, most);
            assert!((step - expected).abs() < 1e-9, "{max} {most}: {step}");
        }
        for max in 1..2000 {
            let step = tick_step(f64::from(max), 8);
            assert!(f64::from(max) / step <= 8.0 + 1e-6);
        }
        assert_eq!([tick_step(f64::NAN, 5), tick_step(f64::INFINITY, 5)], [1.0; 2]);
    }
}
