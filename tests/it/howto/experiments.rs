//! The pages of docs/howto do what they say: every command is run, one after the other, on runs that are made small.

use std::process::Command;

use dtrain_tests::{HOWTOS, HowtoStep, Sandbox, dtrain_binary, howto_steps, workspace_root};

/// What makes a run of a page a matter of seconds; the pages' own words come after them.
const SMALL: [&str; 7] = [
    "data.generate.scale=0.05",
    "trainer.limit_train_samples=24",
    "trainer.limit_eval_samples=24",
    "trainer.batch_size=12",
    "trainer.threads=1",
    "eval.linear.iterations=3",
    "track.tensorboard=false",
];

/// A page, worked through in a folder of its own.
struct Reader {
    sandbox: Sandbox,
    variables: Vec<(String, String)>,
    place: String,
}

impl Reader {
    fn follow(&mut self, step: HowtoStep) {
        match step {
            HowtoStep::File { path, text } => {
                let path = self.sandbox.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            HowtoStep::Command { line, words, output } => {
                self.place = format!("{}:{line}", self.place.split(':').next().unwrap_or_default());
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let printed = self.run(&words);
                if let Some(output) = output {
                    std::fs::write(self.sandbox.join(output), printed).unwrap();
                }
            }
        }
    }

    /// Runs a command and gives what it prints.
    fn run(&mut self, words: &[&str]) -> String {
        match words {
            ["export", setting] => {
                let (name, value) = setting.split_once('=').unwrap();
                let here = self.sandbox.path().display().to_string();
                self.variables.push((name.to_owned(), value.replace("$PWD", &here)));
                String::new()
            }
            // A job of the cluster; that its script is right is tested with a real one.
            ["sbatch", ..] | ["squeue", ..] | ["scancel", ..] => String::new(),
            ["bash", "-n", file] => {
                let done = Command::new("bash").args(["-n", file]).current_dir(self.sandbox.path()).status();
                assert!(done.unwrap().success(), "{}: {words:?}", self.place);
                String::new()
            }
            ["mkdir", "-p", folder] => {
                std::fs::create_dir_all(self.sandbox.join(folder)).unwrap();
                String::new()
            }
            ["cat", file] => std::fs::read_to_string(self.sandbox.join(file)).unwrap(),
            ["mpirun", "-n", ranks, "dtrain", words @ ..] => self.dtrain(words, ranks.parse().unwrap()),
            ["dtrain", words @ ..] => self.dtrain(words, 1),
            other => panic!("{}: `{}` is not known to this test", self.place, other.join(" ")),
        }
    }

    fn dtrain(&self, words: &[&str], ranks: usize) -> String {
        let verb = words.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default();
        let begins = words.iter().position(|word| word.starts_with("experiment="));
        let mut all: Vec<&str> = words.to_vec();
        // A run that goes on has the settings that it began with.
        if let Some(at) = begins.filter(|_| verb != "slurm" && !words.contains(&"--dry-run")) {
            all.splice(at + 1..at + 1, SMALL);
        }
        let job =
            self.variables.iter().fold(self.sandbox.dtrain(&all), |job, (name, value)| job.env(name, value));
        let finished = job.ranks(ranks).finish();
        if verb == "stop" {
            // The run has ended long ago.
            return finished.expect(2).stdout;
        }
        assert!(finished.code == Some(0), "{}: {}", self.place, finished.report());
        finished.stdout
    }
}

#[test]
fn every_command_of_the_how_tos_works() {
    for name in HOWTOS {
        let path = workspace_root().join(format!("docs/howto/{name}.md"));
        let steps = howto_steps(&std::fs::read_to_string(&path).unwrap());
        assert!(steps.len() > 3, "{name}: {steps:?}");
        let mut reader = Reader {
            sandbox: Sandbox::new(),
            variables: vec![("DTRAIN".to_owned(), dtrain_binary().display().to_string())],
            place: format!("docs/howto/{name}.md"),
        };
        steps.into_iter().for_each(|step| reader.follow(step));
    }
}
