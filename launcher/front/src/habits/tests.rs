use clap::Parser;

use super::*;
use crate::cli::in_order;

/// Message and hint for words behind `dtrain`.
fn said(words: &[&str]) -> String {
    let typed: Vec<OsString> =
        std::iter::once("dtrain").chain(words.iter().copied()).map(OsString::from).collect();
    let first = words.first().copied().unwrap_or_default();
    let failure = check_verb(first).err().or_else(|| {
        let typed = in_order(typed.into_iter());
        match Cli::try_parse_from(&typed) {
            Err(error) => explain(&error, &typed),
            Ok(Cli { verb: crate::cli::Verb::Train(args) }) => {
                check_settings(&args.overrides, args.cfg).err()
            }
            Ok(_) => None,
        }
    });
    failure.map_or_else(String::new, |failure| {
        format!("{}\n{}", failure.message, failure.hint.unwrap_or_default())
    })
}

#[test]
fn options_of_other_tools_are_known() {
    for (words, message, hint) in [
        (&["--multirun", "seed=1,2"][..], "`--multirun` is not an option of `dtrain train`", "dtrain sweep"),
        (&["-m", "seed=1,2"], "`-m` is not", "dtrain sweep"),
        (&["--config-name=train"], "`--config-name` is not", "experiment=NAME"),
        (&["-cn", "train"], "`-cn` is not", "experiment=NAME"),
        (
            &["--config", "config_baseline.yaml", "--experiment", "lr_search"],
            "`--experiment lr_search` is not",
            "`dtrain sweep study=confounder_correction`",
        ),
        (&["--experiment=overfit_test"], "`--experiment overfit_test` is not", "dtrain sweep study="),
        (&["--config-path", "conf"], "`--config-path` is not", "--config-dir DIR"),
        (&["--info"], "`--info` is not", "--cfg"),
        (&["--resolve"], "`--resolve` is not", "--cfg"),
        (&["--cfg", "job"], "`--cfg job`: `--cfg` takes no word", "write `--cfg` alone"),
        (&["--cfg=job"], "`--cfg` takes no word", "write `--cfg` alone"),
        (
            &["--trainer.max_epochs", "3"],
            "`--trainer.max_epochs` is not",
            "no dashes: `trainer.max_epochs=3`",
        ),
        (&["--trainer.max_epochs=3"], "`--trainer.max_epochs` is not", "no dashes: `trainer.max_epochs=3`"),
        (&["--seed=1"], "`--seed` is not", "no dashes: `seed=1`"),
        (&["--seed", "1"], "`--seed` is not", "no dashes: `seed=1`"),
        (&["--trainer.devices", "8"], "`--trainer.devices` is not", "dtrain launch -n 8"),
        (&["--data.batch_size=64"], "`--data.batch_size` is not", "trainer.batch_size=64"),
        (&["--optimizer.lr_rate", "1"], "`--optimizer.lr_rate` is not", "settings have no dashes"),
        (&["--data=fsdd"], "`--data` is not", "no dashes: `data=fsdd`"),
        (&["--trainer.precision", "16-mixed"], "`--trainer.precision` is not", "trainer.precision=fp16"),
        (&["--model=resnet18,resnet50"], "`--model` is not", "dtrain sweep"),
        (&["--trainer.max_steps=None"], "`--trainer.max_steps` is not", "write `null` for nothing"),
        (&["data", "download"], "there is no `dtrain data download`", "there are `make`"),
        (&["checkpoint", "lst"], "there is no `dtrain checkpoint lst`", "did you mean `ls`?"),
        (&["trainer.max_epochs", "5"], "`trainer.max_epochs` has no value", "`trainer.max_epochs=5`"),
        (&["seed", "1"], "`seed` has no value", "`seed=1`"),
        (&["--eval"], "`--eval` is not", "dtrain eval RUN"),
        (&["-c", "job"], "`-c` is not", "--cfg"),
        (&["--lr", "0.1"], "`--lr` is not", "optimizer.lr=0.1"),
        (&["--batch_size", "64"], "`--batch_size` is not", "trainer.batch_size=64"),
        (&["--nproc_per_node=8"], "`--nproc_per_node` is not", "dtrain launch -n 8"),
        (&["--num_processes", "8"], "`--num_processes` is not", "dtrain launch -n 8"),
        (&["--dry_run"], "`--dry_run` is not", "write `--dry-run`"),
        (&["--no-such-thing"], "`--no-such-thing` is not", "`dtrain train --help` lists the options"),
        (&["eval", "runs/a", "--jsn"], "`--jsn` is not an option of `dtrain eval`", "did you mean `--json`?"),
    ] {
        let said = said(words);
        assert!(said.contains(message) && said.contains(hint), "{words:?}: {said}");
        assert!(!said.contains("as a value"), "{words:?}: {said}");
    }
}

#[test]
fn verbs_of_other_tools_are_known() {
    for (word, hint) in [
        ("evaluate", "dtrain eval RUN"),
        ("test", "dtrain eval RUN"),
        ("validate", "dtrain eval RUN"),
        ("fit", "training is the default"),
        ("train.py", "training is the default"),
        ("src/train_model.py", "training is the default"),
        ("predict", "dtrain infer RUN"),
        ("runs", "dtrain compare runs"),
        ("tune", "dtrain sweep"),
        ("doctor", "--fast-dev-run"),
        ("evla", "did you mean `eval`?"),
        ("lanch", "did you mean `launch`?"),
        ("frobnicate", "there are `train`"),
    ] {
        let said = said(&[word, "runs/a"]);
        assert!(said.starts_with(&format!("there is no verb `{word}`")), "{said}");
        assert!(said.contains(hint), "{word}: {said}");
    }
    for word in
        ["", "seed=1", "+seed=1", "~seed", "seed", "trainer.max_steps", "model", "train", "ls", "count-gpus"]
    {
        assert_eq!(check_verb(word), Ok(()), "{word}");
    }
}

#[test]
fn words_that_name_something_are_told_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("my run's");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("config.yaml"), "").unwrap();
    let word = run.to_str().unwrap();
    let quoted = shell_path(&run);
    assert!(
        said(&[word]).contains(&format!("`dtrain resume {quoted}` goes on with it, `dtrain eval {quoted}`"))
    );
    assert!(said(&["seed=1", word]).contains("is a run directory"));
    let checkpoint = run.join("checkpoints/step-00000010");
    std::fs::create_dir_all(&checkpoint).unwrap();
    assert!(said(&[checkpoint.to_str().unwrap()]).contains("`dtrain eval "));
    let parent = folder.path().to_str().unwrap();
    assert!(said(&[parent]).contains("data.root="), "{}", said(&[parent]));
    let recipe = folder.path().join("mine.yaml");
    std::fs::write(&recipe, "").unwrap();
    assert!(said(&[recipe.to_str().unwrap()]).contains("experiment="));
    assert!(said(&["model/resnet18"]).contains("write `model=resnet18`"));
    assert!(said(&["seed=1", "eval"]).contains("the verb comes first: `dtrain eval ...`"));
    assert!(said(&["--fast-dev-run", "3"]).contains("--fast-dev-run=N"));
}

#[test]
fn options_of_the_launcher_stand_before_the_verb() {
    for word in ["-n", "--ranks", "--max-restarts=3", "--hosts"] {
        assert!(is_option_of_launch(word), "{word}");
    }
    for word in ["n", "--n", "seed=1", "-m", "--dry-run"] {
        assert!(!is_option_of_launch(word), "{word}");
    }
    let words = ["train", "seed=1", "-n", "2"].map(str::to_owned);
    let failure = crate::read_launched(&words).map(drop).unwrap_err();
    assert!(failure.hint.unwrap().contains("come before the verb"));
}

#[test]
fn hostile_words_are_shown_harmlessly() {
    let long = "x".repeat(10_000);
    for word in [long.as_str(), "\u{1b}[2J", "a\nb", "--\u{1b}[0m"] {
        let said = said(&[word]);
        assert!(said.len() < 1000 && !said.contains('\u{1b}'), "{said}");
    }
}

/// Every hint there is, with where it comes from.
fn all_hints() -> Vec<(String, String)> {
    let of_rows = |rows: &[Row]| -> Vec<(String, String)> {
        rows.iter().map(|(names, hint)| (names.join(", "), (*hint).to_owned())).collect()
    };
    let settings = dtrain_configs::words_of_other_tools().into_iter().map(|word| (word.there, word.here));
    [of_rows(OPTIONS), of_rows(VERBS), settings.collect()].concat()
}

/// What a hint tells to type is followed: commands are read, options are there, settings compose.
#[test]
fn every_hint_can_be_followed() {
    let mut num_followed = 0;
    for (word, hint) in all_hints() {
        for span in hint.split('`').skip(1).step_by(2) {
            num_followed +=
                usize::from(follow(span).unwrap_or_else(|wrong| panic!("{word}: {hint}\n{wrong}")));
        }
    }
    assert!(num_followed > 100, "{num_followed}");
}

/// Whether there was something to follow in the words between two backticks.
fn follow(span: &str) -> Result<bool, String> {
    const STANDS_FOR: [(&str, &str); 16] = [
        ("experiment=NAME", "experiment=supcon_fsdd"),
        ("experiment=FILE.yaml", "experiment=supcon_fsdd"),
        ("model=NAME", "model=resnet18"),
        ("method=NAME", "method=simclr"),
        ("optimizer=NAME", "optimizer=sgd"),
        ("schedule=NAME", "schedule=step"),
        ("augment=NAME", "augment=none"),
        ("data=NAME", "data=fsdd"),
        ("KEY=VALUE", "seed=1"),
        ("show NAME", "show supcon_fsdd"),
        ("precision=VALUE", "precision=bf16"),
        ("embeddings=VALUE", "embeddings=true"),
        ("fraction=VALUE", "fraction=0.5"),
        ("SAMPLES", "8"),
        ("EPOCHS", "2"),
        ("STEPS", "5"),
    ];
    let mut text = span.trim_end_matches(" ...").to_owned();
    STANDS_FOR.iter().for_each(|(word, sample)| text = text.replace(word, sample));
    let numbers = ["VALUE", "=K", "-n N", "--nodes N"];
    numbers
        .iter()
        .for_each(|word| text = text.replace(word, &word.replace(['K', 'N'], "2").replace("VALUE", "2")));
    let words: Vec<&str> = text.split_whitespace().collect();
    let command = words.iter().position(|word| *word == "dtrain");
    if let Some(at) = command {
        let typed = in_order(words[at..].iter().map(OsString::from));
        return match Cli::try_parse_from(&typed) {
            Ok(_) => Ok(true),
            // A command without what it works on stands for all of its uses.
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => Ok(true),
            Err(error) if error.kind() == ErrorKind::DisplayHelp => Ok(true),
            Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Ok(true),
            Err(error) if error.kind() == ErrorKind::DisplayVersion => Ok(true),
            Err(error) => Err(error.to_string()),
        };
    }
    if let Some(option) = words.first().filter(|word| word.starts_with("--")) {
        let train = Cli::command().find_subcommand("train").cloned();
        let known = train
            .is_some_and(|train| train.get_arguments().any(|a| a.get_long() == option.strip_prefix("--")));
        return if known { Ok(true) } else { Err(format!("`dtrain train` has no {option}")) };
    }
    if words.iter().all(|word| word.contains('=')) && !words.is_empty() {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        return compose(&words, &ComposeOptions::default())
            .map(|_| true)
            .map_err(|errors| errors.to_string());
    }
    if let [key] = words[..]
        && key.contains('.')
        && !["metrics.jsonl", "result.json", "model.safetensors"].contains(&key)
    {
        let key = key.trim_end_matches(".*");
        return dtrain_configs::explain(key).map(|_| true).map_err(|problem| problem.to_string());
    }
    Ok(false)
}

/// One word is in one table.
#[test]
fn no_option_repeats_a_word_of_the_settings() {
    for (names, _) in OPTIONS {
        for name in *names {
            assert!(
                dtrain_configs::hint_of_word(&name.replace('-', "_"), None).is_none(),
                "`{name}` is there twice"
            );
        }
    }
}

#[test]
fn the_page_is_what_the_tables_make_of_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/howto/words-of-other-tools.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let command = "dtrain help --markdown words > docs/howto/words-of-other-tools.md";
    assert!(written == page(), "docs/howto/words-of-other-tools.md differs: `{command}`");
}
