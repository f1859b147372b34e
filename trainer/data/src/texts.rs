//! Names and settings as messages show them.

use std::fmt::Display;

use dtrain_configs::shell_word;

/// How many names a message lists before it only counts.
pub(crate) const NUM_LISTED: usize = 5;

/// `` `key=value` ``, as it is typed.
pub(crate) fn setting(key: &str, value: &str) -> String {
    format!("`{}`", shell_word(&format!("{key}={value}")))
}

/// `` `a`, `b` and `c` ``, at most twenty of them.
pub(crate) fn quoted(names: &[String]) -> String {
    const MAX: usize = 20;
    let quote = |name: &String| format!("`{name}`");
    match names {
        [] => "none".into(),
        [only] => quote(only),
        [first @ .., last] if names.len() <= MAX => {
            format!("{} and {}", first.iter().map(quote).collect::<Vec<_>>().join(", "), quote(last))
        }
        many => shortened(many.iter().take(MAX), many.len()),
    }
}

/// `` `a`, `b` and 7 more ``
pub(crate) fn shortened<T: Display>(first: impl IntoIterator<Item = T>, total: usize) -> String {
    listed(first.into_iter().map(|name| format!("`{name}`")), total)
}

/// As [`shortened`], for texts that hold their own quotes.
pub(crate) fn listed<T: Display>(first: impl IntoIterator<Item = T>, total: usize) -> String {
    let first: Vec<String> = first.into_iter().map(|text| text.to_string()).collect();
    let text = first.join(", ");
    match total.saturating_sub(first.len()) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_counted() {
        let names: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        assert_eq!(quoted(&names[..3]), "`0`, `1` and `2`");
        assert!(quoted(&names).ends_with("`19` and 10 more"));
        assert_eq!(shortened(&names[..2], 2), "`0`, `1`");
    }
}
