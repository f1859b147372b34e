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
fn groups_within_groups_and_classes_by_name_are_known() {
    for (word, said) in [
        ("hydra/launcher=submitit_slurm", "dtrain slurm train ..."),
        ("hydra/sweeper=optuna", "dtrain sweep"),
        ("hydra.verbose=true", "RUST_LOG"),
        ("hydra.job.chdir=False", "works where it was started"),
        ("callbacks/early_stopping=x", "`stop.*`"),
        ("model._target_=torchvision.models.resnet18", "write `model=resnet18`"),
        ("model._target_=timm.create_model", "write `model=NAME`"),
        ("data._target_=mine.Data", "write `data=NAME`"),
    ] {
        assert!(hint(word).contains(said), "{word}: {}", hint(word));
    }
}

#[test]
fn values_of_sweeps_are_taken_apart() {
    assert_eq!(swept("0.1,0.01"), Some(vec!["0.1", "0.01"]));
    assert_eq!(swept("range(1, 4)"), Some(vec!["1", "4"]));
    assert_eq!(swept("choice(a,b)"), Some(vec!["a", "b"]));
    assert_eq!((swept("range(3)"), swept("glob(*)")), (Some(vec!["3"]), Some(Vec::new())));
    for one in ["0.1", "", ",", "a,", "range()", "ranges(3)"] {
        assert_eq!(swept(one), None, "{one}");
    }
    let number = |value: &str| value.parse::<f64>().is_ok();
    assert_eq!(habit_hint("0.1,0.01", number).as_deref(), Some(ONE_RUN));
    assert_eq!(habit_hint("0.1,x", number), None);
    assert_eq!(habit_hint("None", |value| value == "null").as_deref(), Some("write `null` for nothing"));
    assert_eq!(habit_hint("None", number), None);
}

#[test]
fn no_row_stands_behind_one_that_takes_all_of_its_keys() {
    let all: Vec<&Moved> = KEYS.iter().chain(WORDS).collect();
    for (index, later) in all.iter().enumerate() {
        let sample = later.from.replace("**", "x").replace('*', "y");
        for earlier in all.iter().take(index).filter(|earlier| earlier.when.is_empty()) {
            assert!(captured(earlier.from, &sample).is_none(), "{} behind {}", later.from, earlier.from);
        }
    }
}

/// Each settings of a hint is one that takes the value which is carried over: whoever writes it gets further.
#[test]
fn what_every_word_leads_to_can_be_written() {
    const VALUES_TO_TRY: [&str; 7] = ["2", "0.5", "true", "runs/a", "resnet18", "bf16", "auto"];
    for moved in WORDS.iter().filter(|moved| moved.to.contains('=')) {
        let typed = moved.from.trim_end_matches(".**").trim_start_matches("trainer.");
        let tried: Vec<&str> = moved.when.iter().copied().chain(VALUES_TO_TRY).collect();
        let works = |value: &&str| {
            let hint = hint_of_word(typed, Some(value)).unwrap_or_else(|| panic!("`{typed}` is not known"));
            let words = hint.split('`').nth(1).unwrap_or_default();
            let words = words
                .replace("EPOCHS", "2")
                .replace("SAMPLES", "8")
                .replace("STEPS", "5")
                .replace("=RUN", "=r");
            let words = words.replace("model=NAME", "model=resnet18").replace("method=NAME", "method=simclr");
            let words =
                words.replace("optimizer=NAME", "optimizer=sgd").replace("schedule=NAME", "schedule=step");
            let words = words
                .replace("data=NAME", "data=fsdd")
                .replace("augment=NAME", "augment=none")
                .replace("=K", "=5");
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            crate::compose(&words, &crate::ComposeOptions::default()).is_ok()
        };
        assert!(
            tried.iter().take(moved.when.len().max(tried.len())).any(works),
            "{typed} leads to {}",
            moved.to
        );
    }
}

#[test]
fn words_that_stand_alone_are_known() {
    for (word, said) in [
        ("strategy=ddp", "write `dtrain launch -n N`; or `mpirun -n N dtrain`"),
        ("accelerator=gpu", "write `trainer.device=cuda`"),
        ("devices=4", "write `mpirun -n 4 dtrain ...`, or `dtrain launch -n 4 ...`"),
        ("accumulate_grad_batches=4", "write `trainer.micro_batch_size=SAMPLES`"),
        ("gradient_clip_val=0.5", "write `trainer.grad_clip=0.5`"),
        ("limit_train_batches=10", "write `trainer.limit_train_samples=SAMPLES`"),
        ("val_check_interval=0.25", "write `eval.every_epochs=EPOCHS`; in whole epochs"),
        ("trainer.val_check_interval=0.25", "write `eval.every_epochs=EPOCHS`; in whole epochs"),
        ("seed_everything=7", "write `seed=7`"),
        ("logger=wandb", "leave it out: a run directory has"),
        ("wandb.project=birds", "leave it out: a run directory has"),
        ("backbone.name=resnet18", "write `model=resnet18`"),
        ("backbone.name=vit_small", "write `model=NAME`"),
        ("precision=16-mixed", "write `trainer.precision=fp16`"),
        ("mixed_precision=no", "write `trainer.precision=fp32`"),
        ("method_kwargs.temperature=0.2", "write `method.temperature=0.2`"),
        ("nproc_per_node=8", "write `dtrain launch -n 8`"),
        ("learning_rate=3e-4", "write `optimizer.lr=3e-4`"),
        ("fast_dev_run=true", "write `--fast-dev-run`"),
    ] {
        assert!(hint(word).starts_with(said), "{word}: {}", hint(word));
    }
    // Whoever writes a list of values gets one run for each line of a file.
    let error = crate::compose(&["seed=1,2,3".to_owned()], &crate::ComposeOptions::default()).unwrap_err();
    assert!(error.to_string().contains(ONE_RUN), "{error}");
    for word in ["_target_=x", "frobnicate=1", "trainer.frobnicate=1"] {
        assert_eq!(hint(word), "", "{word}");
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
            format!("`{}`", to.replace('?', "VALUE").replace('*', "NAME").replace('@', "VALUE"))
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
