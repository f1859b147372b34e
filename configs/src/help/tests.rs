use std::collections::BTreeSet;

use super::settings::NAME;
use super::*;
use crate::decode::decode;
use crate::reference::{TAGGED_SECTIONS, leaves, tag_names};
use crate::scalar::Scalar;

fn hint(key: &str) -> String {
    explain(key).expect_err(key).hint.unwrap_or_default()
}

/// The schema decides what there is: none is missing here, and none is here alone.
#[test]
fn every_setting_of_the_schema_is_explained_and_no_other() {
    let settings = Settings::collect();
    let mut known = BTreeSet::new();
    for name in TAGGED_SECTIONS.into_iter().flat_map(tag_names) {
        known.extend(leaves(&reference(|_| name)).into_iter().map(|(key, _)| key));
    }
    for key in &known {
        assert!(settings.find(key).is_some(), "`{key}` is not explained");
    }
    for setting in &settings.all {
        let real = setting.key.replace(NAME, "default");
        let is_real = known.iter().any(|key| *key == real || key.starts_with(&format!("{real}.")));
        let is_entry = [
            "method.heads",
            "eval.banks",
            "data.label_maps",
            "phases.l",
            "data.pools",
            "schedule.made_for",
            "optimizer.g",
        ]
        .iter()
        .any(|open| real.starts_with(open));
        assert!(is_real || is_entry, "`{}` is no setting", setting.key);
    }
}

#[test]
fn every_comment_is_a_sentence_worth_reading() {
    for setting in &Settings::collect().all {
        let comment = &setting.comment;
        assert!(comment.ends_with(['.', ')']) && comment.len() >= 10, "`{}`: {comment}", setting.key);
        assert!(!comment.contains("See "), "`{}`: {comment}", setting.key);
        if let settings::What::Value(value) = &setting.what {
            for choice in value.choices() {
                assert!(
                    choice.comment.ends_with(['.', ')']),
                    "`{}={}`: {}",
                    setting.key,
                    choice.word,
                    choice.comment
                );
            }
        }
    }
}

/// The words of the build script are serde's: each is taken, and a made-up one is not.
#[test]
fn every_choice_can_be_written() {
    let takes = |key: &str, word: &str| {
        let mut tree = Node::map(Map::default(), None);
        tree.set(&split_key(key), Node::scalar(Scalar::plain(word), None), None);
        let broken = decode(tree).broken;
        !broken.iter().any(|broken| broken == key || key.starts_with(&format!("{broken}.")))
    };
    let mut num_choices = 0;
    for setting in &Settings::collect().all {
        let settings::What::Value(value) = &setting.what else { continue };
        let is_one = matches!(value.form, comments::Form::One | comments::Form::Optional);
        let words = value.choices();
        if !is_one || words.is_empty() || setting.key.contains(NAME) || setting.key.contains("[]") {
            continue;
        }
        // A setting of one method is none of another's.
        if value.defaults.iter().any(|default| !default.names.is_empty()) {
            continue;
        }
        for choice in words {
            assert!(takes(&setting.key, choice.word), "{}={}", setting.key, choice.word);
            num_choices += 1;
        }
        assert!(!takes(&setting.key, "no-such-choice"), "{}", setting.key);
    }
    assert!(num_choices > 40, "{num_choices}");
}

#[test]
fn a_setting_is_explained_with_choices_default_and_what_a_resumed_run_may_do() {
    insta::assert_snapshot!(explain("schedule.lr_scaling").unwrap());
    insta::assert_snapshot!(explain("optimizer.lr").unwrap());
    insta::assert_snapshot!(explain("comm.timeout_secs").unwrap());
    insta::assert_snapshot!(explain("stop").unwrap());
}

#[test]
fn keys_are_found_as_people_write_them() {
    for (typed, key) in [
        ("trainer.precision", "trainer.precision"),
        ("lr_scaling", "schedule.lr_scaling"),
        ("norm_groups", "model.norm_groups"),
        ("eval.embeddings", "eval.embeddings"),
        ("+trainer.max_steps=5", "trainer.max_steps"),
        ("data.splits.mine.test_list", "data.splits.NAME.test_list"),
        ("method.heads.digit.weight", "method.heads.NAME.weight"),
        ("phases.list[0].freeze", "phases.list[].freeze"),
        ("checkpoint.async", "checkpoint.async"),
        ("method", "method"),
        ("knn.k", "eval.knn.k"),
    ] {
        let text = explain(typed).unwrap_or_else(|problem| panic!("{typed}: {problem}"));
        assert_eq!(text.lines().next(), Some(key), "{typed}");
    }
    let method = explain("method").unwrap();
    assert!(method.contains("`dtrain show method/byol`"), "{method}");
    assert!(method.contains("\nmethod.temperature = 0.1 (simclr), 0.07 (supcon)\n"), "{method}");
}

#[test]
fn unknown_keys_are_answered_with_what_was_meant() {
    assert_eq!(hint("optimizer.lr_scaling"), "did you mean `schedule.lr_scaling` (default none)?");
    assert_eq!(hint("trainer.batch_sise"), "did you mean `trainer.batch_size` (default 128)?");
    assert_eq!(hint("trainer.gradient_clip_val"), "write `trainer.grad_clip=VALUE`");
    for key in ["", ".", "frobnicate", "a.b.c.d", "trainer..x", "data.splits", "\u{1b}[2J"] {
        if let Err(problem) = explain(key) {
            assert!(problem.hint.is_some_and(|hint| !hint.is_empty()), "{key}");
        }
    }
}

#[test]
fn lines_fit_a_terminal() {
    for setting in &Settings::collect().all {
        let text = explain(&setting.key).unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= 100 && line == line.trim_end(), "{}: `{line}`", setting.key);
        }
    }
}

#[test]
fn the_page_is_what_the_comments_make_of_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == settings_page(),
        "docs/settings.md differs: `dtrain help --markdown settings > docs/settings.md`"
    );
}
