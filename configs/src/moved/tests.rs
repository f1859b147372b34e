use super::*;
use crate::overrides::Override;

fn hint(word: &str) -> String {
    let over = Override::parse(1, word).unwrap();
    key_hint(&over.key, &over.value, |_, name| name == "digit").unwrap_or_default()
}

#[test]
fn patterns_match_whole_keys() {
    assert_eq!(captured("a.*.c", "a.b.c"), Some("b"));
    assert_eq!(captured("a.*", "a.b"), Some("b"));
    assert_eq!((captured("a.*", "a"), captured("a.*", "a.b.c"), captured("a", "a.b")), (None, None, None));
    assert_eq!(
        (captured("a.**", "a"), captured("a.**", "a.b.c"), captured("a.**", "b")),
        (Some(""), Some(""), None)
    );
    assert_eq!(captured("a.*.**", "a.b.c.d"), Some("b"));
}

#[test]
fn names_and_values_are_carried_over() {
    assert_eq!(hint("model.loss_weights.digit=2.0"), "write `method.heads.digit.weight=2.0`");
    assert_eq!(hint("model.loss_weights.slant=0.5"), "write `+method.heads.slant.weight=0.5`");
    assert!(
        hint("data.train_val_test_split=[55_000,5_000,10_000]")
            .starts_with("write `data.images.val_fraction=0.083333`")
    );
    assert!(hint("data.train_val_test_split=half").starts_with("write `data.images.val_fraction=FRACTION`"));
    assert_eq!(hint("model.optimizer._target_=torch.optim.AdamW"), "write `optimizer=adamw`");
    assert_eq!(hint("data.data_dir='my data'"), "write `data.root='my data'`");
}

#[test]
fn no_row_stands_behind_one_that_takes_all_of_its_keys() {
    for (index, later) in KEYS.iter().enumerate() {
        let sample = later.from.replace("**", "x").replace('*', "y");
        for earlier in KEYS.iter().take(index).filter(|earlier| earlier.when.is_empty()) {
            assert!(captured(earlier.from, &sample).is_none(), "{} behind {}", later.from, earlier.from);
        }
    }
}

/// docs/configuration.md has this table, row by row.
#[test]
fn the_documentation_has_every_row() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut rows = String::new();
    let mut row = |from: String, to: &str, note: &str| {
        let to = if to.is_empty() {
            String::new()
        } else {
            format!("`{}`", to.replace('?', "VALUE").replace('*', "NAME"))
        };
        let dot = if to.is_empty() || note.is_empty() { "" } else { "; " };
        rows += &format!("| {from} | {to}{dot}{} |\n", note.replace('?', "VALUE"));
    };
    for Moved { from, when, to, note } in KEYS {
        let from = from.replace("**", "(any)").replace('*', "NAME").replace("(any)", "*");
        let words: Vec<String> = when.iter().map(|value| format!("`{from}={value}`")).collect();
        row(if words.is_empty() { format!("`{from}`") } else { words.join(", ") }, to, note);
    }
    for MovedFile { group, names, to, note } in FILES {
        let words: Vec<String> = names.iter().map(|name| format!("`{group}={name}`")).collect();
        row(words.join(", "), to, note);
    }
    for (key, theirs, ours) in VALUES {
        row(format!("`{key}={theirs}`"), &format!("{key}={ours}"), "");
    }
    assert!(document.contains(&rows), "docs/configuration.md lacks the table:\n{rows}");
}
