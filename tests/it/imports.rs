//! Imports go one way: launcher, trainer, comm and configs, and the modules of the trainer in the order that its
//! `lib.rs` gives.

use dtrain_tests::{Layout, check_imports, imports_of, workspace_root};

/// `error.rs` is everybody's, `lib.rs` is nobody's.
const LAYOUT: Layout = Layout {
    crates: &[
        ("configs", "dtrain_configs", &[]),
        ("comm", "dtrain_comm", &[]),
        ("trainer", "dtrain_trainer", &["configs", "comm"]),
        ("launcher", "dtrain", &["trainer", "configs", "comm"]),
        ("tests", "dtrain_tests", &[]),
    ],
    layered: "trainer",
    layers: &[
        "torch_extra",
        "device",
        "state",
        "data",
        "model",
        "loss",
        "method",
        "engine",
        "plan",
        "eval",
        "run",
        "verify",
        "bench",
        "fuzzing",
    ],
    beside: &[("coordinator", &[]), ("checkpoint", &[]), ("track", &["checkpoint"])],
    reserved: &["tch", "torch_sys"],
};

#[test]
fn the_workspace_keeps_the_rule() {
    let (violations, num_files) = check_imports(workspace_root(), &LAYOUT);
    let lines: Vec<String> =
        violations.iter().map(|v| format!("{}:{}: {}", v.file.display(), v.line, v.message)).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    assert!(num_files > 100, "only {num_files} sources were found");
}

#[test]
fn every_module_of_the_trainer_has_its_place() {
    let lib = std::fs::read_to_string(workspace_root().join("trainer/src/lib.rs")).unwrap();
    for line in lib.lines() {
        let Some(module) = line.trim_start_matches("pub ").strip_prefix("mod ") else { continue };
        let module = module.trim_end_matches(';');
        let known =
            LAYOUT.layers.contains(&module) || LAYOUT.beside.iter().any(|(beside, _)| *beside == module);
        assert!(known || module == "error", "`{module}` has no place in the order");
    }
}

#[test]
fn manifests_keep_the_rule() {
    for (folder, _, allowed) in LAYOUT.crates {
        let manifest = std::fs::read_to_string(workspace_root().join(folder).join("Cargo.toml")).unwrap();
        for (other, name, _) in LAYOUT.crates {
            let package = name.replace('_', "-");
            let depends = manifest.lines().any(|line| {
                line.starts_with(&format!("{package}.")) || line.starts_with(&format!("{package} "))
            });
            assert!(!depends || allowed.contains(other), "`{folder}/Cargo.toml` depends on `{package}`");
        }
        let torch =
            LAYOUT.reserved.iter().any(|name| manifest.contains(&format!("\n{}", name.replace('_', "-"))));
        assert_eq!(torch, *folder == LAYOUT.layered, "libtorch in `{folder}/Cargo.toml`");
    }
}

/// A workspace in which everything is wrong once.
#[test]
fn breaches_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("configs/src/lib.rs", "fn f() { dtrain_comm::connect(); }\n");
    write("comm/src/lib.rs", "use tch::Tensor;\n");
    write("launcher/src/main.rs", "use dtrain_trainer::run;\nuse dtrain_comm as comm;\n");
    write("tests/src/lib.rs", "// use dtrain_trainer::run;\nconst S: &str = \"use dtrain::x;\";\n");
    write("trainer/src/loss/mod.rs", "use crate::error::TrainError;\nuse crate::model::Pass;\n");
    write(
        "trainer/src/loss/pair.rs",
        "use super::super::{\n    model::Pass,\n    engine::{Engine, flat::Flat as F},\n};\n",
    );
    write("trainer/src/data/mod.rs", "fn f() -> crate::run::RunDir { loop {} }\n");
    write("trainer/src/track/mod.rs", "use crate::checkpoint::CheckpointError;\nuse crate::data::Batch;\n");
    write("trainer/src/checkpoint/mod.rs", "use crate::track::Metrics;\n");
    write("trainer/src/engine/mod.rs", "use crate::coordinator::StepPlan;\nuse dtrain_configs::RunConfig;\n");
    let (violations, num_files) = check_imports(dir.path(), &LAYOUT);
    assert_eq!(num_files, 10);
    let found: Vec<String> =
        violations.iter().map(|v| format!("{}:{}: {}", v.file.display(), v.line, v.message)).collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    configs/src/lib.rs:1: crate `configs` uses crate `comm`
    comm/src/lib.rs:1: `comm` uses `tch`, which only `trainer` may
    trainer/src/checkpoint/mod.rs:1: module `checkpoint` uses module `track`
    trainer/src/data/mod.rs:1: module `data` uses module `run`
    trainer/src/loss/pair.rs:1: module `loss` uses module `engine`
    trainer/src/loss/pair.rs:1: module `loss` uses module `engine`
    trainer/src/track/mod.rs:2: module `track` uses module `data`
    ");
}

#[test]
fn paths_are_read_from_sources() {
    let module = ["data".to_owned(), "view".to_owned()];
    let source =
        "use super::{cache, error::{A, B as C}};\nuse self::inner::D;\nlet x = super::super::run::go();\n";
    let paths: Vec<String> = imports_of(source, &module).into_iter().map(|i| i.path.join("::")).collect();
    for path in [
        "crate::data::cache",
        "crate::data::error::A",
        "crate::data::error::B",
        "crate::data::view::inner::D",
        "crate::run::go",
    ] {
        assert!(paths.iter().any(|found| found == path), "{path} is not among {paths:?}");
    }
}
