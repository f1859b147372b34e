//! Imports go one way: launcher, trainer, its data, comm and configs, and the modules of the trainer in the order that its
//! `lib.rs` gives. Below that no files import each other in a circle, in any crate.

use dtrain_tests::{Layout, check_imports, import_circles, imports_of, rust_files, workspace_root};
use regex::Regex;

/// `error.rs` is everybody's, `lib.rs` is nobody's.
const LAYOUT: Layout = Layout {
    crates: &[
        ("configs", "dtrain_configs", &[]),
        ("comm", "dtrain_comm", &[]),
        ("trainer/data", "dtrain_data", &["configs"]),
        ("trainer", "dtrain_trainer", &["trainer/data", "configs", "comm"]),
        ("launcher/front", "dtrain_front", &["configs", "comm"]),
        ("launcher", "dtrain", &["launcher/front", "trainer", "trainer/data", "configs", "comm"]),
        ("tests", "dtrain_tests", &["configs"]),
    ],
    layered: "trainer",
    layers: &[
        "bytes",
        "torch_extra",
        "device",
        "state",
        "batch",
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
    beside: &[("alarms", &[]), ("coordinator", &["alarms"]), ("checkpoint", &[]), ("track", &["checkpoint"])],
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

/// Whoever reads a file can read what it is made of first. A module and its own children may use each other.
#[test]
fn no_files_import_in_a_circle() {
    let circles = import_circles(workspace_root(), &LAYOUT);
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// A file that no module names is not compiled, and tests in it never run.
#[test]
fn every_file_is_a_module() {
    let mut forgotten = Vec::new();
    for (folder, ..) in LAYOUT.crates {
        let src = workspace_root().join(folder).join("src");
        for file in rust_files(&src) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let parent = file.parent().unwrap();
            let (name, above) = match name {
                "mod" => (parent.file_name().unwrap().to_str().unwrap(), parent.parent().unwrap()),
                _ => (name, parent),
            };
            let is_program =
                parent == src && ["lib", "main", "worker"].contains(&name) || above.ends_with("src/bin");
            let homes = [
                above.join("mod.rs"),
                above.with_extension("rs"),
                above.join("lib.rs"),
                above.join("main.rs"),
                above.join("worker.rs"),
            ];
            let declares = Regex::new(&format!(r"(?m)^\s*(pub(\([^)]*\))? )?mod {name};")).unwrap();
            let is_named = homes
                .iter()
                .filter_map(|home| std::fs::read_to_string(home).ok())
                .any(|text| declares.is_match(&text));
            // Tests of a file in a file of their own beside it.
            let path = format!("#[path = \"{name}.rs\"]");
            let is_beside = || {
                let neighbours = std::fs::read_dir(parent).unwrap().flatten();
                neighbours
                    .filter_map(|other| std::fs::read_to_string(other.path()).ok())
                    .any(|text| text.contains(&path))
            };
            if !is_program && !is_named && !is_beside() {
                forgotten.push(file.display().to_string());
            }
        }
    }
    assert!(forgotten.is_empty(), "no module names {}", forgotten.join(", "));
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

/// A page that sends newcomers to files that have moved is worse than none.
#[test]
fn the_architecture_page_names_what_is_there() {
    let page = std::fs::read_to_string(workspace_root().join("docs/architecture.md")).unwrap();
    let roots = ["", "trainer", "trainer/src", "trainer/data/src", "configs/src"];
    let words = page.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = words.filter(|word| word.ends_with(".rs") || word.contains('/')).collect();
    assert!(paths.len() > 40, "only {} paths were found", paths.len());
    for path in paths {
        let found = roots.iter().any(|root| workspace_root().join(root).join(path).exists());
        assert!(found, "`{path}` is not there");
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
    write("launcher/front/src/lib.rs", "use dtrain_configs::RunConfig;\nuse dtrain_trainer::run;\n");
    write("tests/src/lib.rs", "// use dtrain_trainer::run;\nconst S: &str = \"use dtrain::x;\";\n");
    write("trainer/src/loss/mod.rs", "use crate::error::TrainError;\nuse crate::model::Pass;\n");
    write(
        "trainer/src/loss/pair.rs",
        "use super::super::{\n    model::Pass,\n    engine::{Engine, flat::Flat as F},\n};\n",
    );
    write("trainer/src/batch/mod.rs", "fn f() -> crate::run::RunDir { loop {} }\n");
    write("trainer/data/src/lib.rs", "use tch::Tensor;\nuse dtrain_comm::Collective;\n");
    write("trainer/src/track/mod.rs", "use crate::checkpoint::CheckpointError;\nuse crate::batch::Batch;\n");
    write("trainer/src/checkpoint/mod.rs", "use crate::track::Metrics;\n");
    write("trainer/src/engine/mod.rs", "use crate::coordinator::StepPlan;\nuse dtrain_configs::RunConfig;\n");
    let (violations, num_files) = check_imports(dir.path(), &LAYOUT);
    assert_eq!(num_files, 12);
    let found: Vec<String> =
        violations.iter().map(|v| format!("{}:{}: {}", v.file.display(), v.line, v.message)).collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    configs/src/lib.rs:1: crate `configs` uses crate `comm`
    comm/src/lib.rs:1: `comm` uses `tch`, which only `trainer` may
    trainer/data/src/lib.rs:1: `trainer/data` uses `tch`, which only `trainer` may
    trainer/data/src/lib.rs:2: crate `trainer/data` uses crate `comm`
    trainer/src/batch/mod.rs:1: module `batch` uses module `run`
    trainer/src/checkpoint/mod.rs:1: module `checkpoint` uses module `track`
    trainer/src/loss/pair.rs:1: module `loss` uses module `engine`
    trainer/src/loss/pair.rs:1: module `loss` uses module `engine`
    trainer/src/track/mod.rs:2: module `track` uses module `batch`
    launcher/front/src/lib.rs:2: crate `launcher/front` uses crate `trainer`
    ");
}

/// Circles through imports, reexports under other names, paths within code, and whole folders; and what is none.
#[test]
fn circles_are_found() {
    const ONE: Layout =
        Layout { crates: &[("one", "one", &[])], layered: "one", layers: &[], beside: &[], reserved: &[] };
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join("one/src").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    // None: a module and its children, both ways; a test of its file; a module that is there for tests.
    write("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod check;\nmod room;\npub use a::A;\n");
    write("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests { use crate::b::B; fn f() { use super::A; } }\n");
    write("b.rs", "use crate::A;\npub struct B(A);\n#[cfg(test)]\nuse crate::check::Check;\n");
    write("check.rs", "use crate::b::B;\npub struct Check(B);\n");
    write("room/mod.rs", "mod child;\nuse child::Child;\npub struct Room(Child);\n");
    write("room/child.rs", "use super::Room;\nuse std::fmt::{self, Debug};\npub struct Child(Box<Room>);\n");
    assert_eq!(import_circles(dir.path(), &ONE), Vec::<String>::new());

    write("a.rs", "use crate::b::{self, B as Other};\npub struct A(Other);\n");
    write("room/mod.rs", "mod left;\nmod right;\nmod up;\nuse left::Left as L;\npub(crate) use up::Up;\n");
    write("room/left.rs", "use super::right::Right;\npub struct Left(Right);\n");
    write("room/right.rs", "fn f() -> super::L { loop {} }\npub struct Right;\n");
    write("room/up.rs", "use crate::hall::door::Door;\npub struct Up(Door);\n");
    write("hall/mod.rs", "pub mod door;\nmod window;\n");
    write("hall/door.rs", "pub struct Door;\n");
    write("hall/window.rs", "use crate::room::Up;\npub struct Window(Up);\n");
    insta::assert_snapshot!(import_circles(dir.path(), &ONE).join("\n"), @r"
    one crate: a -> b -> a
      a uses b
      b uses a
    one room: left -> right -> left
      room::left uses room::right
      room::right uses room::left
    ");
    write("b.rs", "pub struct B;\n");
    insta::assert_snapshot!(import_circles(dir.path(), &ONE)[0], @r"
    one crate: hall -> room -> hall
      hall::window uses room::up
      room::up uses hall::door
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

/// Reexports of the schema, and tests that a file of their own holds.
const MAY_NAME_ALL: [&str; 3] =
    ["configs/src/schema/mod.rs", "trainer/src/engine/equivalence", "trainer/src/plan/published.rs"];

/// A method is its own files and a line in two lists; what others need to know of it is data.
#[test]
fn nobody_asks_for_a_method_by_its_name() {
    let named = r"\bMethodConfig::[A-Z]\w*\(|\b(Simclr|Supcon|Byol|Simsiam|Dino|Supervised)Config\b";
    assert_named_within(named, &["configs/src/schema/method", "trainer/src/method"]);
}

/// So is a network.
#[test]
fn nobody_asks_for_a_network_by_its_name() {
    let named = r"\bNetworkConfig::([A-Z]\w*\(|named)|\b(CnnSmall|SimpleCnn|Resnet)Config\b|ModelConfig::named|\bStem\b";
    // Reading settings, and comparing them with defaults, go by the name that the settings have.
    let by_name = ["configs/src/decode/mod.rs", "configs/src/reference.rs", "configs/src/flat.rs"];
    let own = ["configs/src/schema/model", "trainer/src/model"];
    assert_named_within(named, &[&by_name[..], &own].concat());
}

/// That only the files below `own` hold what the expression `named` finds, tests apart.
fn assert_named_within(named: &str, own: &[&str]) {
    let named = Regex::new(named).unwrap();
    let (mut found, mut num_files) = (Vec::new(), 0);
    for folder in ["configs/src", "comm/src", "trainer/data/src", "trainer/src", "launcher"] {
        for file in rust_files(&workspace_root().join(folder)) {
            num_files += 1;
            let relative = file.strip_prefix(workspace_root()).unwrap().display().to_string();
            if own.iter().chain(&MAY_NAME_ALL).any(|known| relative.starts_with(known)) {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = text.lines().enumerate().filter(|(_, line)| named.is_match(line));
            found.extend(lines.map(|(number, line)| format!("{relative}:{}: {}", number + 1, line.trim())));
        }
    }
    assert!(num_files > 300, "only {num_files} sources were found");
    assert!(found.is_empty(), "by name:\n{}", found.join("\n"));
}
