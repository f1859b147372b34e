//! The values of a setting that varies, in the grammar of the command line:
//!
//! | text | values |
//! |---|---|
//! | `1e-3,1e-4` | these, separated by commas outside of brackets and quotes; `choice(1e-3, 1e-4)` is the same |
//! | `range(5)`, `range(1,5)`, `range(0,9,4)` | whole numbers as Python's `range` counts them |
//! | `log_uniform(1e-4,1e-1)` | numbers of a search, evenly spread over their logarithms |
//! | `uniform(0,0.5)` | numbers of a search |
//! | `int_uniform(16,64)` | whole numbers of a search, both ends among them |

/// What a setting can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// One after the other, as words of a command line.
    List(Vec<String>),
    /// Numbers between two.
    Uniform(f64, f64),
    /// Numbers between two, by their logarithms.
    LogUniform(f64, f64),
    /// Whole numbers from one to another, both included.
    IntUniform(i64, i64),
}

/// Most values that `range` may count.
const MAX_RANGE: i64 = 100_000;

impl Values {
    /// Reads a text; `None`: it is one plain value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim();
        if let Some((function, inside)) = call(text) {
            let words = split(inside);
            return match function {
                "range" => range(&words).map(Some),
                "choice" => list(&words, text).map(Some),
                "uniform" => numbers(&words, text).map(|(low, high)| Some(Self::Uniform(low, high))),
                "log_uniform" => match numbers(&words, text)? {
                    (low, _) if low <= 0.0 => {
                        Err(format!("`{text}` begins at {low}, which has no logarithm"))
                    }
                    (low, high) => Ok(Some(Self::LogUniform(low, high))),
                },
                "int_uniform" => whole_numbers(&words, text).map(Some),
                _ => Ok(None),
            };
        }
        let words = split(text);
        if words.len() > 1 { list(&words, text).map(Some) } else { Ok(None) }
    }

    /// Whether a search draws them.
    pub fn is_range(&self) -> bool {
        !matches!(self, Self::List(_))
    }

    /// The value at a place between 0 and 1, with four digits: names and tables stay readable.
    pub(super) fn at(&self, place: f64) -> String {
        match *self {
            Self::List(ref values) => {
                let index = (place * values.len() as f64) as usize;
                values.get(index.min(values.len().saturating_sub(1))).cloned().unwrap_or_default()
            }
            Self::Uniform(low, high) => four_digits(low + place * (high - low)),
            Self::LogUniform(low, high) => four_digits((low.ln() + place * (high.ln() - low.ln())).exp()),
            Self::IntUniform(low, high) => {
                let count = (high - low + 1) as f64;
                (low + ((place * count) as i64).min(high - low)).to_string()
            }
        }
    }
}

/// `name(...)`.
fn call(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('(')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    Some((name, rest.strip_suffix(')')?)).filter(|_| is_name)
}

/// The parts between commas that stand in no brackets and no quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, sign) in text.char_indices() {
        match (sign, quote) {
            (sign, Some(open)) if sign == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(sign),
            ('[' | '{' | '(', None) => depth += 1,
            (']' | '}' | ')', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(text.get(begin..at).unwrap_or_default().trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..).unwrap_or_default().trim());
    parts
}

fn list(words: &[&str], text: &str) -> Result<Values, String> {
    if words.iter().any(|word| word.is_empty()) {
        return Err(format!("`{text}` has a value that is empty: a comma too many"));
    }
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    if let Some((_, twice)) =
        words.iter().enumerate().find(|(index, word)| words.iter().take(*index).any(|other| other == *word))
    {
        return Err(format!("`{text}` has `{twice}` twice"));
    }
    Ok(Values::List(words))
}

fn range(words: &[&str]) -> Result<Values, String> {
    let text = format!("range({})", words.join(","));
    let numbers: Option<Vec<i64>> = words.iter().map(|word| word.parse().ok()).collect();
    let (from, to, step) = match numbers.as_deref() {
        Some(&[to]) => (0, to, 1),
        Some(&[from, to]) => (from, to, 1),
        Some(&[from, to, step]) if step != 0 => (from, to, step),
        _ => return Err(format!("`{text}` is no range: write `range(5)`, `range(1,5)` or `range(0,9,4)`")),
    };
    let mut values = Vec::new();
    let mut value = i128::from(from);
    let goes_on = |value: i128| if step > 0 { value < i128::from(to) } else { value > i128::from(to) };
    while goes_on(value) {
        if values.len() as i64 >= MAX_RANGE {
            return Err(format!("`{text}` has more than {MAX_RANGE} numbers"));
        }
        values.push(value.to_string());
        value += i128::from(step);
    }
    if values.is_empty() { Err(format!("`{text}` is empty")) } else { Ok(Values::List(values)) }
}

fn numbers(words: &[&str], text: &str) -> Result<(f64, f64), String> {
    let numbers: Option<Vec<f64>> =
        words.iter().map(|word| word.parse().ok().filter(|number: &f64| number.is_finite())).collect();
    match numbers.as_deref() {
        Some(&[low, high]) if low < high => Ok((low, high)),
        Some(&[low, high]) => {
            Err(format!("`{text}` goes from {low} to {high}: the smaller number comes first"))
        }
        _ => Err(format!("`{text}` does not have two numbers")),
    }
}

fn whole_numbers(words: &[&str], text: &str) -> Result<Values, String> {
    let numbers: Option<Vec<i64>> = words.iter().map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[low, high]) if low < high && high.checked_sub(low).is_some_and(|width| width < i64::MAX) => {
            Ok(Values::IntUniform(low, high))
        }
        _ => Err(format!("`{text}` does not have two whole numbers, the smaller one first")),
    }
}

fn four_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        match Values::parse(text).unwrap() {
            Some(Values::List(words)) => words,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn lists_and_ranges_are_counted_out() {
        assert_eq!(words("1e-3,1e-4"), ["1e-3", "1e-4"]);
        assert_eq!(words("[a,b], [c]"), ["[a,b]", "[c]"]);
        assert_eq!(words("'a,b','c'"), ["'a,b'", "'c'"]);
        assert_eq!(words("choice(adamw, sgd)"), ["adamw", "sgd"]);
        assert_eq!(words("choice(adamw)"), ["adamw"]);
        assert_eq!(words("range(3)"), ["0", "1", "2"]);
        assert_eq!(words("range(1,3)"), ["1", "2"]);
        assert_eq!(words("range(4,0,-2)"), ["4", "2"]);
    }

    #[test]
    fn one_value_stays_as_it_is() {
        for text in
            ["1e-3", "[a, b]", "{by: species, test: ['1']}", r"(?P<a>\d{1,2})_.*\.wav$", "f(x)", "", "'a,b'"]
        {
            assert_eq!(Values::parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn ranges_of_numbers_are_read() {
        assert_eq!(Values::parse("log_uniform(1e-4, 1e-1)"), Ok(Some(Values::LogUniform(1e-4, 0.1))));
        assert_eq!(Values::parse("uniform(-1,1)"), Ok(Some(Values::Uniform(-1.0, 1.0))));
        assert_eq!(Values::parse("int_uniform(1,3)"), Ok(Some(Values::IntUniform(1, 3))));
        let ints = Values::IntUniform(1, 3);
        assert_eq!([0.0, 0.34, 0.99, 1.0].map(|place| ints.at(place)), ["1", "2", "3", "3"]);
        assert_eq!(Values::LogUniform(1e-4, 1e-2).at(0.5), "0.001");
        assert_eq!(Values::Uniform(0.0, 1.0).at(0.123_456), "0.1235");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("1,,2", "a comma too many"),
            ("1,2,1", "`1` twice"),
            ("range(0)", "is empty"),
            ("range()", "is no range"),
            ("range(1,2,0)", "is no range"),
            ("range(999999999)", "more than 100000"),
            ("uniform(1)", "two numbers"),
            ("uniform(2,1)", "the smaller number comes first"),
            ("log_uniform(0,1)", "no logarithm"),
            ("int_uniform(0.5,1)", "two whole numbers"),
        ] {
            let message = Values::parse(text).unwrap_err();
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = Values::parse(&text);
        }

        #[test]
        fn places_lie_within(place in 0.0..1.0_f64) {
            let value: f64 = Values::LogUniform(1e-5, 1.0).at(place).parse().unwrap();
            prop_assert!((0.999e-5..=1.001).contains(&value));
        }
    }
}
