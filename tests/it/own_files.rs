//! YAML files of one's own: where they are looked for, how they are listed and shown, and where their folder may be named.

use dtrain_tests::{Finished, Sandbox};

/// A working directory with a folder `my` that has an experiment, a copy of one of the program's, and a method.
fn with_own_files() -> Sandbox {
    let sandbox = Sandbox::new();
    for (path, text) in [
        ("my/experiment/night.yaml", "# Owls instead of larks.\nbase: simclr_birdsong\nseed: 77\n"),
        (
            "my/experiment/copy.yaml",
            "# @package _global_\n# dtrain experiment=supcon_fsdd\n# Copied.\nbase: supcon_fsdd\n",
        ),
        ("my/experiment/vimh_cnn.yaml", "# Mine.\nbase: vimh_cnn\n"),
        ("my/method/cold.yaml", "# SimCLR at a low temperature.\nname: simclr\ntemperature: 0.05\n"),
        ("other/experiment/night.yaml", "seed: 5\n"),
    ] {
        let file = sandbox.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    sandbox
}

fn done(sandbox: &Sandbox, words: &[&str]) -> Finished {
    sandbox.dtrain(words).finish().succeeded()
}

/// The rows of a table that have one of the words, with their cells set apart.
fn rows(text: &str, words: &[&str]) -> String {
    let rows = text.lines().filter(|line| words.iter().any(|word| line.contains(word)));
    let cells = |row: &str| {
        row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" | ")
    };
    rows.map(cells).collect::<Vec<_>>().join("\n")
}

#[test]
fn own_experiments_are_marked_and_have_the_command_that_runs_them() {
    let sandbox = with_own_files();
    let listed = done(&sandbox, &["ls", "--config-dir", "my"]).stdout;
    insta::assert_snapshot!(rows(&listed, &["experiment ", " own", "recordings instead of species"]), @r"
    experiment | from | what it does | command
    copy | own | Copied. | dtrain --config-dir my experiment=copy
    night | own | Owls instead of larks. | dtrain --config-dir my experiment=night
    simclr_birdsong | dtrain | SimCLR on generated bird sound: shows the shortcut, embeddings that know recordings instead of species. | dtrain experiment=simclr_birdsong
    vimh_cnn | own, hides dtrain's | Mine. | dtrain --config-dir my experiment=vimh_cnn
    ");
    for line in listed.lines().filter(|line| line.contains(" own")) {
        let (_, command) = line.split_once(" dtrain --").unwrap();
        let words: Vec<String> = format!("--{command} --cfg").split_whitespace().map(str::to_owned).collect();
        sandbox.dtrain(words).finish().succeeded();
    }
    // The variable is there for the next command too.
    let by_variable = sandbox.dtrain(["ls"]).env("DTRAIN_CONFIG_DIR", "my").finish().succeeded().stdout;
    assert!(by_variable.contains(" dtrain experiment=night"), "{by_variable}");
    let plain = done(&sandbox, &["ls"]).stdout;
    assert_eq!(rows(&plain, &["experiment "]), "experiment | what it does | command");
}

#[test]
fn groups_are_listed_with_what_is_typed_for_each_file() {
    let sandbox = with_own_files();
    insta::assert_snapshot!(rows(&done(&sandbox, &["ls", "optimizer"]).stdout, &[""]), @r"
    optimizer | what it does | setting
    adam | Adam (Kingma & Ba 2015), as torch.optim.Adam. | optimizer=adam
    adamw | Adam with decoupled weight decay (Loshchilov & Hutter 2019). | optimizer=adamw
    lars | Layer-wise adaptive rates (You et al. 2017), for batches of 1024 and more; use it with schedule.lr_scaling=linear. | optimizer=lars
    sgd | Stochastic gradient descent with Nesterov's momentum. | optimizer=sgd
    ");
    let methods = done(&sandbox, &["ls", "method", "--config-dir", "my"]).stdout;
    insta::assert_snapshot!(rows(&methods, &["method ", "cold", "=simclr"]), @r"
    method | from | what it does | setting
    cold | own | SimCLR at a low temperature. | method=cold
    simclr | dtrain | SimCLR (Chen et al. 2020): two views of a sample attract, all others repel. Needs no labels. | method=simclr
    ");
    for group in
        ["experiment", "data", "augment", "model", "method", "optimizer", "schedule", "trainer", "eval"]
    {
        let listed = done(&sandbox, &["ls", group]).stdout;
        assert!(listed.lines().count() > 1, "{group}: {listed}");
        assert_eq!(done(&sandbox, &["show", group]).stdout, listed, "`dtrain show {group}` lists them too");
    }
    assert_eq!(done(&sandbox, &["ls", "experiment"]).stdout, done(&sandbox, &["ls"]).stdout);
    let refused = sandbox.dtrain(["ls", "optimiser"]).finish().expect(2).error(sandbox.path());
    insta::assert_snapshot!(refused, @r"
    error: 1 problem in the configuration

    there is no group `optimiser`
    hint: did you mean `optimizer`? there are `experiment`, `data`, `augment`, `model`, `method`, `optimizer`, `schedule`, `trainer` and `eval`
    ");
}

#[test]
fn files_are_shown_by_name_and_by_path() {
    let sandbox = with_own_files();
    let text = std::fs::read_to_string(sandbox.join("my/method/cold.yaml")).unwrap();
    assert_eq!(done(&sandbox, &["show", "method/cold", "--config-dir", "my"]).stdout.trim(), text.trim());
    assert!(done(&sandbox, &["show", "method/simclr"]).stdout.contains("name: simclr"));
    assert!(done(&sandbox, &["show", "my/experiment/night.yaml"]).stdout.contains("seed: 77"));
    assert!(done(&sandbox, &["--config-dir", "my", "show", "night"]).stdout.contains("seed: 77"));
}

#[test]
fn the_folder_is_named_before_or_behind_the_verb_or_by_the_variable() {
    let sandbox = with_own_files();
    let seed = |words: &[&str], variable: &str| {
        let printed = sandbox.dtrain(words).env("DTRAIN_CONFIG_DIR", variable).finish().succeeded().stdout;
        printed
            .lines()
            .find(|line| line.starts_with("seed:"))
            .unwrap()
            .split('#')
            .next()
            .unwrap()
            .trim()
            .to_owned()
    };
    let night = "experiment=night";
    for words in [
        &["--config-dir", "my", night, "--cfg"][..],
        &[night, "--cfg", "--config-dir=my"],
        &["--config-dir=my", "train", night, "--cfg"],
        &["--cfg", "--config-dir", "my", "train", night],
    ] {
        assert_eq!(seed(words, ""), "seed: 77", "{words:?}");
        assert_eq!(seed(words, "other"), "seed: 77", "what is typed wins");
    }
    assert_eq!(seed(&[night, "--cfg"], "other"), "seed: 5");
    let script =
        sandbox.dtrain(["slurm", "train", night]).env("DTRAIN_CONFIG_DIR", "my").finish().succeeded();
    let folder = format!("--config-dir={}", sandbox.join("my").display());
    assert!(script.stdout.contains(&folder), "a job does not depend on the variable\n{}", script.stdout);
    let refused = sandbox.dtrain(["ls"]).env("DTRAIN_CONFIG_DIR", "nowhere").finish().expect(2);
    insta::assert_snapshot!(refused.error(sandbox.path()), @r"
    error: 1 problem in the configuration

    there is no folder `nowhere`
    hint: `--config-dir`, or else the variable DTRAIN_CONFIG_DIR, names a folder with `data/`, `method/`, `experiment/` and so on in it
    ");
}
