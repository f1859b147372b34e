//! No file and no word of the command line makes composition panic, hang or eat memory.

use std::fs;

use dtrain_configs::{ComposeOptions, compose, load, load_with_overrides};
use proptest::prelude::*;

/// Words that look like overrides.
fn override_like() -> impl Strategy<Value = String> {
    let sign = prop::sample::select(vec!["", "+", "++", "~", "--"]);
    let key = prop::sample::select(vec![
        "seed",
        "data",
        "method",
        "method.name",
        "optimizer.name",
        "optimizer.lr",
        "trainer.batch_size",
        "data.splits",
        "data.splits.x",
        "data.splits.x.by",
        "data.generate",
        "data.generate.kind",
        "experiment",
        "tags",
        "augment",
        "augment.gain_db",
        "nonsense.key",
        "",
        ".",
        "run.dir",
        "eval.probes",
        "data.labels.folders",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "1",
            "-1",
            "1e400",
            "010",
            "null",
            "[1, 2]",
            "{a: b}",
            "{by: x}",
            "[",
            "simclr",
            "supcon",
            "fsdd",
            "../x",
            "/dev/null",
            "/dev/zero.yaml",
            "99999999999999999999999999999999999999999999",
            "nan",
            ".nan",
            ".inf",
            "",
            "[[[]]]",
            "{name: simclr}",
            "'",
            "\u{0}",
            "true",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,20}",
    ];
    (sign, key, prop::sample::select(vec!["=", ""]), value).prop_map(|(s, k, e, v)| format!("{s}{k}{e}{v}"))
}

proptest! {
    #[test]
    fn overrides_compose_or_are_refused_with_text(words in prop::collection::vec(override_like(), 0..6)) {
        if let Err(errors) = compose(&words, &ComposeOptions::default()) {
            prop_assert!(!errors.problems.is_empty());
            prop_assert!(errors.to_string().starts_with("error: "));
        }
    }

    #[test]
    fn any_word_is_survived(word in any::<String>()) {
        let _ = compose(&[word], &ComposeOptions::default());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, bytes).unwrap();
        let _ = load(&path);
    }

    #[test]
    fn damaged_settings_are_survived(at in 0.0..1.0f64, insert in "[-:,\\[\\]{}'\"#&*!|>\\n 0a~]{1,3}", cut: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let mut text = compose(&[], &ComposeOptions::default()).unwrap().render(false);
        let at = (at * text.len() as f64) as usize;
        if text.is_char_boundary(at) {
            text.insert_str(at, &insert);
            if cut {
                text.truncate(at + insert.len());
            }
        }
        fs::write(&path, text).unwrap();
        if let Err(errors) = load_with_overrides(&path, &["seed=1".into()]) {
            prop_assert!(errors.to_string().lines().all(|line| line.chars().count() < 600));
        }
    }
}

#[test]
fn thousands_of_mistakes_are_counted_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let valid = compose(&[], &ComposeOptions::default()).unwrap().render(false);
    let lines: String = (0..4000).map(|i| format!("nonsense_{i}: {i}\n")).collect();
    fs::write(&path, valid + &lines).unwrap();
    let text = load(&path).unwrap_err().to_string();
    assert!(text.starts_with("error: 4000 problems"), "{text}");
    assert!(text.lines().count() < 500);
}

#[test]
fn files_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let big = dir.path().join("big.yaml");
    fs::write(&big, vec![b'#'; (1 << 20) + 1]).unwrap();
    for (path, message) in [
        (big.as_path(), "larger than"),
        (std::path::Path::new("/dev/zero"), "is not a file"),
        (&dir.path().join("none.yaml"), "cannot read"),
    ] {
        let text = load(path).unwrap_err().to_string();
        assert!(text.contains(message), "{text}");
    }
}
