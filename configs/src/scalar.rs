//! A single YAML word, kept as it was written. What it means is decided by the setting that it is read into: `010`
//! and `no` are names where a name is wanted, and never silently the number 10 or `false`.

/// A word as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Without quotes and escapes.
    pub text: String,
    /// Whether it stood in quotes (or in a block), and so is text whatever it looks like.
    pub quoted: bool,
}

/// What a word looks like by itself (YAML 1.2 core schema, decimal numbers only, with `_` between digits).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Word<'a> {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number without leading zeros.
    Integer(i128),
    /// A decimal number, `.inf` or `.nan`.
    Float(f64),
    /// Anything else.
    Text(&'a str),
}

impl Scalar {
    /// An unquoted word.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), quoted: false }
    }

    /// Text, whatever it looks like.
    pub fn quoted(text: impl Into<String>) -> Self {
        Self { text: text.into(), quoted: true }
    }

    /// A number, in the form that YAML 1.1 readers such as PyYAML take for a float too: with a point, and a sign in
    /// the exponent.
    pub fn float(value: f64) -> Self {
        if value.is_nan() {
            return Self::plain(".nan");
        }
        if value.is_infinite() {
            return Self::plain(if value > 0.0 { ".inf" } else { "-.inf" });
        }
        if value != 0.0 && !(1e-9..1e16).contains(&value.abs()) {
            let text = format!("{value:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let point = if mantissa.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            return Self::plain(format!("{mantissa}{point}e{sign}{exponent}"));
        }
        let text = value.to_string();
        let point = if text.contains('.') { "" } else { ".0" };
        Self::plain(format!("{text}{point}"))
    }

    /// What the word looks like.
    pub fn word(&self) -> Word<'_> {
        let text = self.text.as_str();
        if self.quoted {
            return Word::Text(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Word::Null,
            "true" | "True" | "TRUE" => return Word::Bool(true),
            "false" | "False" | "FALSE" => return Word::Bool(false),
            ".inf" | ".Inf" | ".INF" | "+.inf" => return Word::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Word::Float(f64::NEG_INFINITY),
            ".nan" | ".NaN" | ".NAN" => return Word::Float(f64::NAN),
            _ => {}
        }
        number(text).unwrap_or(Word::Text(text))
    }

    /// Whether it is a number that starts with zeros, which YAML readers disagree about.
    pub fn has_leading_zero(&self) -> bool {
        let digits = self.text.trim_start_matches(['+', '-']);
        !self.quoted
            && digits.len() > 1
            && digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    }

    /// As YAML: bare where it reads back as the same text, else in quotes.
    pub fn to_yaml(&self) -> String {
        if !self.quoted {
            return if self.text.is_empty() { "null".into() } else { self.text.clone() };
        }
        let text = self.text.as_str();
        let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
            && matches!(Self::plain(text).word(), Word::Text(_))
            && yaml_1_1_bool(text).is_none();
        if bare {
            text.into()
        } else if text.chars().any(|c| c.is_control() || "\u{85}\u{2028}\u{2029}\u{feff}".contains(c)) {
            double_quoted(text)
        } else {
            format!("'{}'", text.replace('\'', "''"))
        }
    }
}

/// The words that YAML 1.1 took for booleans. They are text here, unless a boolean is wanted.
pub(crate) fn yaml_1_1_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" => Some(true),
        "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<Word<'_>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |s: &str| s.is_empty() || (s.starts_with(|c: char| c.is_ascii_digit()) && grouped(s));
    let has_digits = whole.len() + fraction.map_or(0, str::len) > 0;
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && e.len() < 6 && e.bytes().all(|b| b.is_ascii_digit())
    });
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if !has_digits || !digits(whole) || !fraction.is_none_or(digits) || !exponent_ok || leading_zero {
        return None;
    }
    let plain = text.replace('_', "");
    if fraction.is_none() && exponent.is_none() {
        return plain.parse().ok().map(Word::Integer);
    }
    plain.parse().ok().map(Word::Float)
}

/// Digits with single underscores between them.
fn grouped(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'_') && !text.contains("__") && !text.ends_with('_')
}

fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || "\u{2028}\u{2029}\u{feff}".contains(c) => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_read_as_yaml_1_2_does() {
        let word = |text: &'static str| match Scalar::plain(text).word() {
            Word::Text(t) => format!("text {t}"),
            other => format!("{other:?}"),
        };
        for (text, expected) in [
            ("", "Null"),
            ("~", "Null"),
            ("true", "Bool(true)"),
            ("12", "Integer(12)"),
            ("-1_000", "Integer(-1000)"),
            ("1e-4", "Float(0.0001)"),
            (".5", "Float(0.5)"),
            ("3.", "Float(3.0)"),
            ("010", "text 010"),
            ("0", "Integer(0)"),
            ("0.5", "Float(0.5)"),
            ("yes", "text yes"),
            ("1_", "text 1_"),
            ("e5", "text e5"),
            (".", "text ."),
            ("1e", "text 1e"),
            ("-", "text -"),
            ("0x1F", "text 0x1F"),
            ("-.inf", "Float(-inf)"),
        ] {
            assert_eq!(word(text), expected, "{text:?}");
        }
    }

    #[test]
    fn floats_are_written_for_yaml_1_1_readers_too() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (1e-4, "0.0001"),
            (1e-20, "1.0e-20"),
            (2.5e30, "2.5e+30"),
            (-6.0, "-6.0"),
        ] {
            assert_eq!(Scalar::float(value).text, text);
        }
    }

    proptest! {
        #[test]
        fn floats_read_back_exactly(bits: u64) {
            let value = f64::from_bits(bits);
            let back = match Scalar::float(value).word() {
                Word::Float(back) => back,
                other => panic!("{value} became {other:?}"),
            };
            prop_assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}
