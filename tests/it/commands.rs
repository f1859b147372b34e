//! Every command line that people find is one that works: those of README, docs, comments, `--help` and messages are read
//! and their settings composed by the program itself, and keys that messages name exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dtrain_configs::schema::{MethodConfig, OptimizerConfig};
use dtrain_tests::{
    CommandLine, HOWTOS, Sandbox, command_lines, command_lines_of, dtrain_binary, workspace_root,
};
use regex::Regex;

use crate::small_runs::{settings, with_recordings};

/// Command lines that are wrong, or no whole ones, on purpose.
const EXCEPTIONS: [(&str, &str); 6] = [
    ("trainer.batch_sise=64 method.temperatur=0.1", "README shows the message for it"),
    ("trainer.batch_sise=64 optimizer.lr=fast", "docs/configuration.md shows the message for it"),
    (
        "experiment=multihead_cnn_mnist model.loss_weights.digit=2.0",
        "docs/configuration.md shows the message for it",
    ),
    ("experiment=simclr_fsdd gradient_clip_val=0.5", "the words of other tools begin with its message"),
    ("data.root=PATH", "the head of a table whose rows go on"),
    ("count-gpus", "asked by the launcher"),
];

/// `dtrain` without its worker: it reads the command line, composes the settings, and stops at the point where the worker
/// would take over.
struct Reader {
    program: PathBuf,
    sandbox: Sandbox,
    /// Of a run, as its folder holds them.
    settings: String,
}

impl Reader {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let program = sandbox.join("dtrain");
        std::fs::copy(dtrain_binary(), &program).unwrap();
        std::fs::write(sandbox.join("FILE"), "seed=1\nseed=2\n").unwrap();
        std::fs::copy(sandbox.join("FILE"), sandbox.join("sweep.txt")).unwrap();
        std::fs::copy(
            workspace_root().join("configs/experiment/supcon_birdsong.yaml"),
            sandbox.join("FILE.yaml"),
        )
        .unwrap();
        std::fs::create_dir(sandbox.join("DIR")).unwrap();
        let mut reader = Self { program, sandbox, settings: String::new() };
        let composed = reader.run(&["experiment=supcon_birdsong".to_owned(), "--cfg".to_owned()]);
        reader.settings = String::from_utf8(composed.stdout).unwrap();
        for run in ["RUN", "CHECKPOINT", "runs/a"] {
            reader.make_run(Path::new(run));
        }
        reader
    }

    /// A folder that holds the settings of a run.
    fn make_run(&self, folder: &Path) {
        let folder = self.sandbox.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.yaml"), &self.settings).unwrap();
    }

    /// The study or the sweep that a command line is about.
    fn make_sweep(&self, words: &[String]) {
        for study in words.iter().filter(|word| word.ends_with(".yaml") || word.ends_with(".txt")) {
            let path = self.sandbox.join(study);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text =
                if study.ends_with(".txt") { "seed=1\nseed=2\n" } else { "seeds: 2\noptimize: val/acc\n" };
            std::fs::write(path, text).unwrap();
        }
        let placed = words.iter().position(|word| word == "--dir").and_then(|at| words.get(at + 1));
        let is_action =
            |word: &String| ["status", "resume", "retry", "stop", "add", "worker"].contains(&word.as_str());
        let asked = match words {
            [verb, dir, ..] if verb == "report" => Some(dir),
            [_, action, dir, ..] if is_action(action) => Some(dir),
            _ => None,
        };
        for dir in placed.into_iter().chain(asked) {
            let _ = std::fs::remove_dir_all(self.sandbox.join(dir));
        }
        if let Some(dir) = asked {
            let plan = [
                "sweep",
                "seed=1,2",
                "optimizer.lr=1e-3,1e-4",
                "--optimize",
                "val/acc",
                "--no-run",
                "--dir",
                dir,
            ];
            let made = self.run(&plan.map(str::to_owned));
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
    }

    fn run(&self, words: &[String]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(self.sandbox.path()).env_clear().output().unwrap()
    }

    /// What is wrong with a command line.
    fn judge(&self, command: &CommandLine) -> Result<(), String> {
        let words = words(&command.text);
        if let [verb, run, ..] = &words[..]
            && ["resume", "eval", "embed", "export", "infer", "stop"].contains(&verb.as_str())
            && !run.starts_with(['-', '/'])
        {
            self.make_run(Path::new(run));
            // What is asked about has to be there.
            let files =
                words.iter().skip(2).filter(|_| verb == "infer").take_while(|word| !word.starts_with('-'));
            files.filter(|word| !word.contains('=')).for_each(|file| {
                let file = self.sandbox.join(file);
                // One page may name as a folder what another names as a file.
                if !file.exists() {
                    let folder = file.parent().unwrap();
                    if folder.is_file() {
                        std::fs::remove_file(folder).unwrap();
                    }
                    std::fs::create_dir_all(folder).unwrap();
                    std::fs::write(file, "").unwrap();
                }
            });
        }
        if words.first().is_some_and(|verb| verb == "sweep" || verb == "report") {
            self.make_sweep(&words);
        }
        let is_comparison = words.first().is_some_and(|verb| verb == "compare");
        for run in words.iter().skip(1).take_while(|word| is_comparison && !word.starts_with('-')) {
            self.make_run(Path::new(run));
        }
        let done = self.run(&words);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let accepted = match done.status.code() {
            Some(0) => true,
            Some(3) if said.contains("is not beside") => true,
            // Where jobs are not submitted.
            Some(3) if said.contains("there is no `sbatch`") => true,
            Some(2 | 3) if said.contains("`sbatch` refuses") => true,
            // The verb alone, as its usage has it.
            Some(2) if said.contains("no setting has several values") && names_no_trial(&words) => true,
            Some(2) if said.contains("no trial has run to its end yet") => true,
            // None has ended.
            Some(2) if is_comparison && said.contains("can be compared") => true,
            // No run runs there.
            Some(2) if said.contains("no run is running") => words.first().is_some_and(|verb| verb == "stop"),
            Some(2) if command.is_mention => {
                [
                    "required arguments were not provided",
                    "requires a subcommand",
                    "Usage: dtrain",
                    "no setting has several values",
                ]
                .iter()
                .any(|text| said.contains(text))
                    && !said.contains("unrecognized")
                    && !said.contains("unexpected")
            }
            _ => false,
        };
        if accepted { Ok(()) } else { Err(format!("dtrain {}\n{said}", words.join(" "))) }
    }
}

/// Whether a sweep is asked for as its usage has it.
fn names_no_trial(words: &[String]) -> bool {
    matches!(words, [_]) || matches!(words, [_, action] if action == "<COMMAND>")
}

/// Stands for a blank within quotes.
const BLANK: char = '\u{1}';
/// Marks a word that was quoted.
const QUOTED: char = '\u{2}';

/// What a shell makes of quotes; without them, what stands in brackets is optional.
fn unquoted(text: &str) -> String {
    // Not a list, which is the value of a setting.
    let optional = Regex::new(r"(^|[^=])\[[^\]=]*\]").unwrap();
    let quotes = Regex::new(r#"'[^']*'|"[^"]*""#).unwrap();
    let (mut shell, mut end) = (String::new(), 0);
    for quoted in quotes.find_iter(text) {
        shell.push_str(&optional.replace_all(&text[end..quoted.start()], "$1"));
        let inner = &quoted.as_str()[1..quoted.len() - 1];
        shell.push(QUOTED);
        shell.extend(inner.chars().map(|c| if c.is_whitespace() { BLANK } else { c }));
        end = quoted.end();
    }
    shell.push_str(&optional.replace_all(&text[end..], "$1"));
    shell
}

/// The words of a command line, with something in the place of each placeholder.
fn words(text: &str) -> Vec<String> {
    let text = unquoted(text);
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_quoted = word.contains(QUOTED);
        let shown = word.replace(QUOTED, "").replace(BLANK, " ");
        let word = if is_quoted {
            shown.trim_end_matches([',', ';'])
        } else {
            shown.trim_matches(['"', '\'', ',', ';'])
        };
        let filled = match word {
            "..." | "…" | "--" | "" => continue,
            "KEY=VALUE" | "key=value" => "seed=1".to_owned(),
            "KEY" | "{key}" => "trainer.batch_size".to_owned(),
            "SECTION" => "trainer".to_owned(),
            "GROUP/NAME" | "{section}/{first}" => "model/resnet18".to_owned(),
            "study=NAME" => "study=learning_rate".to_owned(),
            "study/NAME" => "study/learning_rate".to_owned(),
            "NAME" | "EXPERIMENT" => "supcon_birdsong".to_owned(),
            "SHELL" => "bash".to_owned(),
            "--submit" => "--print".to_owned(),
            "N" | "G" | "VALUE" | "{size}" | "?" => number_or_run(&words).to_owned(),
            "RUN|CHECKPOINT" | "{path}" | "{quoted}" | "{}" | "{run}" => "RUN".to_owned(),
            "{change}" => "trainer.max_steps=9".to_owned(),
            "{init_from}" => "init_from=RUN".to_owned(),
            "GROUP" => "method".to_owned(),
            "{verb}" | "{word}" | "{name}" if words.is_empty() => "eval".to_owned(),
            "{word}" => "RUN".to_owned(),
            word => word
                .replace("=...", "=supcon_birdsong")
                .replace("=NAME", "=supcon_birdsong")
                .replace("=VALUE", "=1")
                .replace("=LOSS", "=cross_entropy"),
        };
        words.push(filled);
    }
    words
}

/// What stands for a placeholder that is a number behind an option, and a run behind a verb.
fn number_or_run(words: &[String]) -> &'static str {
    match words.last() {
        Some(word) if word.starts_with('-') => "2",
        _ => "RUN",
    }
}

/// What `dtrain --help` and the help of every verb print.
fn help_texts(reader: &Reader) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let mut left: Vec<Vec<String>> = vec![Vec::new()];
    let verb = Regex::new(r"^  ([a-z][a-z-]*)(  |$)").unwrap();
    while let Some(path) = left.pop() {
        let done = reader.run(&[&path[..], &["--help".to_owned()]].concat());
        assert_eq!(done.status.code(), Some(0), "{path:?}");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let commands = text.split("Commands:\n").nth(1).unwrap_or_default();
        for line in commands.lines().take_while(|line| !line.is_empty()) {
            let name = verb.captures(line).map(|found| found[1].to_owned());
            left.extend(name.map(|name| [&path[..], &[name]].concat()));
        }
        texts.push((format!("dtrain {} --help", path.join(" ")), text));
    }
    texts
}

#[test]
fn every_command_line_is_understood() {
    let reader = Reader::new();
    let mut commands = command_lines(workspace_root());
    let helps = help_texts(&reader);
    assert!(helps.len() > 20, "only {} verbs have help", helps.len());
    for (place, text) in &helps {
        commands.extend(command_lines_of(text, place, "help"));
    }
    let sources = |ending: &str| commands.iter().filter(|command| command.place.ends_with(ending)).count();
    for (ending, least) in
        [("README.md", 30), (".md", 80), (".yaml", 15), (".rs", 30), (".sbatch", 2), ("--help", 20)]
    {
        assert!(sources(ending) >= least, "only {} command lines in `{ending}`", sources(ending));
    }
    let mut unused: BTreeSet<&str> = EXCEPTIONS.iter().map(|(text, _)| *text).collect();
    let mut wrong = Vec::new();
    let is_run = |command: &&CommandLine| {
        HOWTOS.iter().any(|name| command.place == format!("docs/howto/{name}.md") && !command.is_mention)
    };
    // Those of the how-tos go one upon the other, and a test of their own runs them.
    for command in commands.iter().filter(|command| !is_run(command)) {
        if let Some((text, _)) = EXCEPTIONS.iter().find(|(text, _)| *text == command.text) {
            unused.remove(text);
        } else if let Err(problem) = reader.judge(command) {
            wrong.push(format!("{}:{}: {problem}", command.place, command.line));
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), commands.len(), wrong.join("\n"));
    unused.remove("count-gpus");
    assert!(unused.is_empty(), "exceptions that nobody needs: {unused:?}");
}

/// What README says about a run of its own, on one.
#[test]
fn the_commands_of_a_run_do_what_they_say() {
    let sandbox = with_recordings(8);
    let more = [
        "run.dir=runs/a",
        "trainer.max_steps=3",
        "trainer.batch_size=6",
        "data.splits.default.test_fraction=0.25",
    ];
    sandbox.dtrain(settings("supervised", &more)).finish().succeeded();
    let mut done = BTreeSet::new();
    for command in command_lines(workspace_root()).iter().filter(|command| command.place == "README.md") {
        let is_run = |word: &String| word.starts_with("runs/");
        let mut words = words(&command.text);
        words.iter_mut().filter(|word| is_run(word)).for_each(|word| *word = "runs/a".to_owned());
        let verb = words.first().map_or("", String::as_str);
        let acts_on_a_run =
            ["resume", "eval", "embed", "export", "infer", "compare", "checkpoint", "stop"].contains(&verb);
        // Settings that change on the way fit another run than this one.
        let changes = verb == "resume" && words.len() > 2;
        if !acts_on_a_run || !words.iter().any(is_run) || changes {
            continue;
        }
        done.insert(verb.to_owned());
        match verb {
            // It has ended.
            "stop" => {
                sandbox.dtrain(&words).finish().expect(2).says("`dtrain resume runs/a` goes on with it")
            }
            _ => sandbox.dtrain(&words).finish().succeeded(),
        };
    }
    assert_eq!(
        done.into_iter().collect::<Vec<_>>(),
        ["checkpoint", "compare", "embed", "eval", "export", "infer", "resume", "stop"]
    );
    assert!(sandbox.join("test.safetensors").is_file() && sandbox.join("predictions.csv").is_file());
}

/// Generators that the documents name, at a hundredth of their size, and what README does with images.
#[test]
fn the_commands_of_data_do_what_they_say() {
    let sandbox = Sandbox::new();
    let mut made = BTreeSet::new();
    for command in command_lines(workspace_root()) {
        let words = words(&command.text);
        if let [data, make, kind, ..] = &words[..]
            && (data.as_str(), make.as_str()) == ("data", "make")
            && made.insert(kind.clone())
        {
            let small = ["data", "make", kind, "--out", kind, "--scale", "0.02"];
            sandbox.dtrain(small).finish().succeeded();
        }
    }
    assert!(made.len() >= 6, "{made:?}");
    std::fs::rename(sandbox.join("digits"), sandbox.join("mnist")).unwrap();
    let inspect = command_lines(workspace_root())
        .into_iter()
        .find(|command| command.place == "README.md" && command.text.starts_with("data inspect"));
    sandbox.dtrain(words(&inspect.expect("README inspects images").text)).finish().succeeded();
    assert!(sandbox.join("pictures/samples.png").is_file());
}

/// `key=` in backticks within messages: each is a setting.
#[test]
fn every_key_that_a_message_names_is_a_setting() {
    let reader = Reader::new();
    let comments = Regex::new(r"(?m)^\s*//.*$").unwrap();
    let key = Regex::new(r"`[+~]{0,2}([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+)=[^`]*`").unwrap();
    let mut keys: BTreeSet<(String, String)> = BTreeSet::new();
    let mut folders: Vec<PathBuf> =
        ["comm/src", "trainer/src", "trainer/data/src", "launcher", "configs/src"]
            .map(|folder| workspace_root().join(folder))
            .into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // The table of another trainer's keys names those too, in a form of its own; its test composes them.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.ends_with(".rs") || ["tests.rs", "table.rs", "words.rs"].contains(&name.as_str()) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for found in key.captures_iter(&comments.replace_all(text, "")) {
                keys.insert((found[1].to_owned(), path.display().to_string()));
            }
        }
    }
    assert!(keys.len() > 40, "only {} keys were found", keys.len());
    let mut wrong = Vec::new();
    for (key, place) in &keys {
        let optimizers = OptimizerConfig::all().into_iter().cycle();
        let is_known = MethodConfig::all().iter().zip(optimizers).any(|(method, optimizer)| {
            let kind = [format!("method={}", method.name()), format!("optimizer={}", optimizer.name())];
            let done = reader.run(&[&kind[..], &[format!("++{key}=1"), "--cfg".to_owned()]].concat());
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            !said.contains("is not a setting") && !said.contains("belongs to")
        });
        if !is_known {
            wrong.push(format!("{place}: `{key}`"));
        }
    }
    assert!(wrong.is_empty(), "no settings:\n{}", wrong.join("\n"));
}
