//! Data as they are published, and data that look like something else than what was said: each message names the setting,
//! and the setting is tried as it stands there.

use std::path::Path;

use dtrain_tests::{Finished, Sandbox, write_classes, write_wav};

use crate::small_runs::{settings, with_recordings};

fn dry_run(sandbox: &Sandbox, method: &str, more: &[String]) -> Finished {
    let mut args = settings(
        if method == "multihead" { "supervised" } else { method },
        &["run.dir=run", "trainer.batch_size=4"],
    );
    let chosen = args.iter_mut().find(|arg| arg.starts_with("method="));
    *chosen.expect("a method is chosen") = format!("method={method}");
    args.extend(more.iter().cloned());
    args.push("--dry-run".into());
    sandbox.dtrain(args).finish()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The settings that the text between backticks gives, as a shell takes them.
fn settings_in(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let mut found = Vec::new();
    for part in quoted {
        let mut rest = part.trim();
        while !rest.is_empty() {
            let (word, after) = match rest.strip_prefix('\'') {
                Some(inside) => inside.split_once('\'').expect("quotes are closed"),
                None => rest.split_once(' ').unwrap_or((rest, "")),
            };
            if word.contains('=') && !word.ends_with('=') {
                found.push(word.to_owned());
            }
            rest = after.trim_start();
        }
    }
    found
}

/// The hint of a refusal.
#[track_caller]
fn hint(refused: Finished) -> String {
    let refused = refused.expect(2);
    let line = refused.stderr.lines().find_map(|line| line.strip_prefix("hint: "));
    line.unwrap_or_else(|| panic!("{}", refused.report())).to_owned()
}

/// The warning that contains `text`.
#[track_caller]
fn warning(finished: &Finished, text: &str) -> String {
    let line = finished.stderr.lines().find(|line| line.starts_with("warning: ") && line.contains(text));
    line.unwrap_or_else(|| panic!("no warning `{text}`: {}", finished.report())).to_owned()
}

/// Moves the recordings of `sounds/CLASS/NNN.wav` to `PATH/CLASS-NNN.wav`; returns their names with their classes.
fn flattened(sandbox: &Sandbox, path: &str) -> Vec<(String, String)> {
    let to = sandbox.join(path);
    std::fs::create_dir_all(&to).unwrap();
    let mut names = Vec::new();
    for class in ["lark", "rook", "wren"] {
        for number in 0..6 {
            let name = format!("{class}-{number:03}.wav");
            std::fs::rename(sandbox.join(format!("sounds/{class}/{number:03}.wav")), to.join(&name)).unwrap();
            names.push((name, class.to_owned()));
        }
    }
    std::fs::remove_dir_all(sandbox.join("sounds")).unwrap();
    names
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// ESC-50's layout: `meta/esc50.csv` beside `audio/`.
fn esc() -> Sandbox {
    let sandbox = with_recordings(6);
    let names = flattened(&sandbox, "esc/audio");
    let rows: Vec<String> =
        names.iter().enumerate().map(|(i, (name, class))| format!("{name},{},{class}", i % 5 + 1)).collect();
    write(&sandbox.join("esc/meta/esc50.csv"), &format!("filename,fold,category\n{}\n", rows.join("\n")));
    sandbox
}

#[test]
fn esc_50_is_used_as_it_lies() {
    let sandbox = esc();
    // As a user begins: the folder, and nothing else.
    let told = hint(dry_run(&sandbox, "supervised", &words("data.root=esc")));
    assert!(told.starts_with("`meta/esc50.csv` lists these recordings"), "{told}");
    let mut all = words("data.root=esc");
    all.extend(settings_in(&told));
    all.push(r#"data.splits.default.test=["5"]"#.into());
    dry_run(&sandbox, "supervised", &all).succeeded().says("18 samples: 15 train, 0 val, 3 test");
    // The same from the folder of the recordings.
    let told = hint(dry_run(&sandbox, "supervised", &words("data.root=esc/audio")));
    let mut all = settings_in(&told);
    assert!(all.iter().any(|word| word.starts_with("data.root=")), "{told}");
    all.retain(|word| !word.starts_with("data.splits"));
    dry_run(&sandbox, "supervised", &all).succeeded().says("18 samples: 18 train");
    // With the table, but not where its files are.
    let table = "data.root=esc data.labels.source=csv data.labels.csv=meta/esc50.csv data.labels.csv_file_column=filename \
                 data.target=category";
    let told = hint(dry_run(&sandbox, "supervised", &words(table)));
    assert_eq!(told, "they are in `audio/`: `data.labels.csv_folder=audio`");
}

#[test]
fn speech_commands_is_used_as_it_lies() {
    let sandbox = Sandbox::new();
    let root = sandbox.join("sounds");
    write_classes(&root, &["yes", "no", "up"], 6);
    write_classes(&root, &["_background_noise_"], 2);
    write(&root.join("testing_list.txt"), "yes/000.wav\nno/001.wav\nup/002.wav\nup/003.wav\n");
    write(&root.join("validation_list.txt"), "yes/005.wav\nno/005.wav\n");
    // As a user begins: two warnings, whose settings are all that is missing.
    let begun = dry_run(&sandbox, "supervised", &[]).succeeded();
    let mut all = settings_in(&warning(&begun, "`_background_noise_` is a class"));
    all.extend(settings_in(&warning(&begun, "bring lists of their parts")));
    assert_eq!(all.len(), 3, "{all:?}");
    dry_run(&sandbox, "supervised", &all)
        .succeeded()
        .says("18 samples: 12 train, 2 val, 4 test")
        .does_not_say("is a class of")
        .does_not_say("bring lists");
    // Half of the set, as people keep it.
    std::fs::remove_file(root.join("up/003.wav")).unwrap();
    let said = warning(&dry_run(&sandbox, "supervised", &all).succeeded(), "name no readable recording");
    assert!(said.contains("1 of 4 lines of `testing_list.txt`") && said.contains("`up/003.wav`"), "{said}");
    let wrong = words("data.splits.default.test_list=test.txt");
    assert_eq!(
        hint(dry_run(&sandbox, "supervised", &wrong)),
        "`data.splits.default.test_list=testing_list.txt`"
    );
}

#[test]
fn tables_with_tabs_and_paths_from_the_root_are_used_as_they_lie() {
    let sandbox = with_recordings(6);
    let names = flattened(&sandbox, "tau/audio");
    let rows: Vec<String> = names.iter().map(|(name, class)| format!("audio/{name}\t{class}")).collect();
    write(
        &sandbox.join("tau/evaluation_setup/fold1_train.csv"),
        &format!("filename\tscene_label\r\n{}\r\n", rows.join("\r\n")),
    );
    let table = "data.root=tau data.labels.source=csv data.labels.csv=evaluation_setup/fold1_train.csv \
                 data.labels.csv_file_column=filename data.target=scene_label";
    dry_run(&sandbox, "supervised", &words(table)).succeeded().says("18 samples: 18 train");
}

#[test]
fn a_folder_without_classes_is_learned_from_without_labels() {
    let sandbox = with_recordings(6);
    flattened(&sandbox, "flat");
    let args = words("data.root=flat");
    let finished = dry_run(&sandbox, "simclr", &args).succeeded();
    let said = warning(&finished, "learns without labels");
    let mut all = args.clone();
    all.extend(settings_in(&said));
    dry_run(&sandbox, "simclr", &all).succeeded().does_not_say("learns without labels");
    let told = hint(dry_run(&sandbox, "supervised", &args));
    assert!(told.contains("`method=simclr 'data.labels.folders=[]'`"), "{told}");
}

#[test]
fn parts_that_were_taken_for_classes_are_told_with_the_setting() {
    let sandbox = Sandbox::new();
    for part in ["train", "test"] {
        write_classes(&sandbox.join("sounds").join(part), &["lark", "rook"], 6);
    }
    let finished = dry_run(&sandbox, "supervised", &[]).succeeded();
    let said = warning(&finished, "look like parts of a data set");
    dry_run(&sandbox, "supervised", &settings_in(&said))
        .succeeded()
        .says("24 samples: 12 train, 0 val, 12 test")
        .does_not_say("look like parts");
}

#[test]
fn one_class_and_one_folder_too_many_are_told_with_the_setting() {
    let sandbox = Sandbox::new();
    write_classes(&sandbox.join("sounds/audio"), &["lark", "rook"], 6);
    let finished = dry_run(&sandbox, "supervised", &[]).succeeded();
    let said = warning(&finished, "has one class, `audio`");
    dry_run(&sandbox, "supervised", &settings_in(&said)).succeeded().does_not_say("has one class");
}

#[test]
fn a_split_that_holds_nothing_out_is_told_in_words_of_recordings() {
    let sandbox = Sandbox::new();
    let classes: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
    write_classes(&sandbox.join("sounds"), &classes.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    let args = words("eval.every_epochs=1 data.splits.default.test_fraction=0.2");
    let refused = dry_run(&sandbox, "supervised", &args).expect(2);
    refused.clone().says("split `default` holds nothing out: 10 of 10 classes of `class` have one recording");
    let mut all = args.clone();
    all.extend(settings_in(&hint(refused)).into_iter().filter(|word| word.starts_with("data.splits")));
    dry_run(&sandbox, "supervised", &all).succeeded().says("10 samples: 9 train, 0 val, 1 test");
}

#[test]
fn what_cannot_be_heard_is_named_when_a_run_starts() {
    let sandbox = with_recordings(4);
    let at = |name: &str| sandbox.join(format!("sounds/lark/{name}.wav"));
    for number in 0..4 {
        write_wav(&at(&format!("silent{number}")), &[0.0; 2000]);
    }
    write_wav(&at("short"), &[0.5]);
    std::fs::create_dir_all(sandbox.join("sounds/__MACOSX/lark")).unwrap();
    std::fs::write(sandbox.join("sounds/__MACOSX/lark/._000.wav"), b"\0\x05\x16\x07").unwrap();
    let finished = sandbox.dtrain({
        let mut args = settings("supervised", &["run.dir=run", "trainer.batch_size=4"]);
        args.push("--dry-run".into());
        args
    });
    let finished = finished.ranks(2).finish().succeeded();
    let said = warning(&finished, "decode to silence");
    assert!(
        said.contains("(4): `lark/silent0.wav`, `lark/silent1.wav`, `lark/silent2.wav` and 1 more;"),
        "{said}"
    );
    let said = warning(&finished, "shorter than one window");
    assert!(said.contains("(1): `lark/short.wav`"), "{said}");
    finished.says_once("decode to silence");
}

#[test]
fn a_column_without_a_name_is_no_head_and_a_number_of_rows_is_told() {
    let sandbox = with_recordings(6);
    let mut rows = Vec::new();
    for class in ["lark", "rook", "wren"] {
        for number in 0..6 {
            rows.push(format!("{},{class}/{number:03}.wav,{class},clip{}", rows.len(), rows.len()));
        }
    }
    write(&sandbox.join("sounds/t.csv"), &format!(",file,class,clip\n{}\n", rows.join("\n")));
    let args = words("data.labels.source=csv data.labels.csv=t.csv");
    let finished = dry_run(&sandbox, "multihead", &args).succeeded();
    warning(&finished, "without a name are left out (1): number 1;");
    let said = warning(&finished, "`clip` has 18 classes for 18 samples");
    let mut all = args.clone();
    all.extend(settings_in(&said));
    dry_run(&sandbox, "multihead", &all).succeeded().does_not_say("`clip` has 18 classes");
}

#[test]
fn the_hint_of_unreadable_recordings_is_that_of_most_of_them() {
    let sandbox = with_recordings(6);
    std::fs::write(sandbox.join("sounds/lark/000.wav"), b"#!AMR\n\x3c\x08\0\0\0\0\0").unwrap();
    let told = hint(dry_run(&sandbox, "supervised", &words("data.max_bad_files=0")));
    assert!(told.starts_with("convert with ffmpeg, for instance `ffmpeg -i IN -vn OUT.flac`; or"), "{told}");
    for number in 1..4 {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 16044\n";
        std::fs::write(sandbox.join(format!("sounds/lark/00{number}.wav")), pointer).unwrap();
    }
    let told = hint(dry_run(&sandbox, "supervised", &words("data.max_bad_files=0")));
    assert!(told.starts_with("`git lfs pull` in the repository"), "{told}");
}
