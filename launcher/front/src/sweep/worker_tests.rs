//! Workers with a stand-in for trials: a script that takes milliseconds, and notes when it is started in vain or twice.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::super::make::{Frame, make};
use super::super::plan::examples;
use super::super::table::{Row, rows};
use super::*;

/// Value `x` decides what happens; the metric of one that ends well is `x` itself.
const TRIAL: &str = r#"#!/bin/bash
here=$(dirname "$0") run='' x='' secs=0.02
for word in "$@"; do
  case $word in run.dir=*) run=${word#*=} ;; seed=*) secs=${word#*=} ;; x=* | optimizer.lr=*) x=${word#*=} ;; esac
done
mkdir -p "$run"
exec 9>"$run/.lock"
flock -w 20 9 || { echo "$run ran twice at a time" >>"$here/violations"; exit 1; }
[ ! -e "$run/result.json" ] || echo "$run was repeated" >>"$here/violations"
echo "$*" >>"$here/starts"
end() { # stop_reason, exit code
  printf '{"stop_reason": "%s", "step": 9, "epoch": 3, "wall_s": 1, "metrics": {"val/acc": %s}}' "$1" "$x" >"$run/result.json.new"
  mv "$run/result.json.new" "$run/result.json"
  exit "$2"
}
trap 'end requeue 75' USR1
case $x in
  broken) printf 'error: it broke\n\nhint: mend it\n'; exit 1 ;;
  full) printf 'error: No space left on device\n'; exit 3 ;;
esac
if [ -e "$here/curves" ]; then
  for epoch in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
    sleep 0.03 9>&-
    echo "{\"step\": $epoch, \"epoch\": $epoch, \"wall_s\": 1, \"val/acc\": $x}" >>"$run/metrics.jsonl"
    echo "$x" >>"$here/epochs"
  done
fi
sleep "$secs" 9>&- &
wait $!
end finished 0
"#;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(mut plan: Plan) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(scene.program(), TRIAL).unwrap();
        std::fs::set_permissions(scene.program(), PermissionsExt::from_mode(0o755)).unwrap();
        Tokens::new(scene.dir().tokens()).create(plan.trials.iter().map(|trial| trial.id.as_str())).unwrap();
        plan.write(&scene.dir()).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("trial.sh")
    }

    fn dir(&self) -> SweepDir {
        SweepDir::new(self.path("sweep"))
    }

    fn work(&self, num_slots: usize) -> Result<Done, Failure> {
        work(Work {
            dir: self.dir(),
            slots: vec![Slot { cores: Vec::new(), gpus: None }; num_slots],
            stage: None,
            starter: Starter::Alone(self.program().into_os_string()),
            is_asked: &|| false,
            tell: &|_| {},
        })
    }

    fn plan(&self) -> Plan {
        Plan::read(&self.dir()).unwrap()
    }

    fn words(&self) -> Vec<&'static str> {
        rows(&self.plan(), &self.dir()).unwrap().iter().map(Row::word).collect()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn num_starts(&self) -> usize {
        self.text("starts").lines().count()
    }
}

#[test]
fn a_trial_that_fails_does_not_stop_the_rest_and_its_cause_is_kept() {
    let scene = Scene::new(examples::plan(&["1", "broken", "2"]));
    let done = scene.work(2).unwrap();
    assert_eq!((done.failure, done.settled), (None, 3));
    assert_eq!(scene.words(), ["done", "failed", "done"]);
    let plan = scene.plan();
    let rows = rows(&plan, &scene.dir()).unwrap();
    let cause = rows[1].cause.clone().unwrap();
    assert_eq!((cause.ended.as_str(), cause.message.as_str()), ("exit code 1", "it broke"));
    assert_eq!(rows[2].metric("val/acc"), Some(2.0));
    // Nothing is left to do.
    assert_eq!(scene.work(2).unwrap().settled, 0);
    assert_eq!(scene.num_starts(), 3);
}

#[test]
fn a_machine_that_lacks_something_stops_the_worker_and_loses_nothing() {
    let scene = Scene::new(examples::plan(&["1", "full", "2"]));
    let done = scene.work(1).unwrap();
    let failure = done.failure.unwrap();
    assert_eq!(failure.exit, Exit::Environment);
    assert!(failure.message.contains("No space left on device"), "{}", failure.message);
    assert_eq!(scene.words(), ["done", "waiting", "waiting"]);
}

#[test]
fn a_stopped_sweep_lets_its_trials_save_and_starts_no_other() {
    let mut plan = examples::plan(&["1", "2", "3"]);
    plan.trials[0].settings.push("seed=30".into());
    let scene = Scene::new(plan);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| scene.work(1).unwrap());
        while scene.num_starts() == 0 {
            std::thread::sleep(POLL);
        }
        std::fs::write(scene.dir().stop(), "").unwrap();
        assert!(worker.join().unwrap().stopped);
    });
    assert_eq!(scene.words(), ["waiting"; 3]);
    assert_eq!(scene.num_starts(), 1);
}

#[test]
fn a_plan_that_is_changed_under_the_sweep_ends_it() {
    let mut plan = examples::plan(&["1", "2"]);
    plan.trials[0].settings.push("seed=30".into());
    let scene = Scene::new(plan);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| scene.work(1).unwrap());
        while scene.num_starts() == 0 {
            std::thread::sleep(POLL);
        }
        let mut other = scene.plan();
        other.trials[1].settings = vec!["x=9".into()];
        other.write(&scene.dir()).unwrap();
        let failure = worker.join().unwrap().failure.unwrap();
        assert!(failure.message.contains("changed under the running sweep"), "{}", failure.message);
    });
}

#[test]
fn a_token_that_others_have_taken_ends_the_trial_unwritten() {
    let mut plan = examples::plan(&["1"]);
    plan.header.lease_secs = 0.3;
    plan.trials[0].settings.push("seed=30".into());
    let scene = Scene::new(plan);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| scene.work(1).unwrap());
        while scene.num_starts() == 0 {
            std::thread::sleep(POLL);
        }
        let tokens = Tokens::new(scene.dir().tokens());
        let thief = State::Held(Owner::named("0123456789ab-1-1-1-far"));
        assert!(tokens.turn("t-0001", &State::Held(Owner::this()), &thief).unwrap());
        // The thief gives no sign either, so that the trial comes back; until then nothing was written.
        while scene.num_starts() < 2 {
            std::thread::sleep(POLL);
        }
        assert!(!scene.dir().run("0001").result().exists());
        std::fs::write(scene.dir().stop(), "").unwrap();
        assert!(worker.join().unwrap().stopped);
    });
    assert_eq!(scene.text("violations"), "");
}

/// The second stage takes the learning rate that the first has found best by the mean over seeds.
#[test]
fn a_later_stage_takes_the_best_value_of_an_earlier_one() {
    let study = dtrain_configs::sweep::Study::of_text(
        "settings: [experiment=supervised_birdsong]\noptimize: val/acc\nstages:\n  - name: lr\n    grid: {optimizer.lr: [0.1, 0.5, 0.3]}\n  \
         - name: rest\n    take: {optimizer.lr: lr}\n    grid: {trainer.max_epochs: [1, 2]}\n",
        "test.yaml",
    )
    .unwrap();
    let frame = Frame {
        optimize: None,
        direction: None,
        options: dtrain_configs::ComposeOptions::default(),
        ranks: 1,
        lease_secs: 60.0,
    };
    let scene = Scene::new(make(&study, &frame).unwrap().0);
    assert_eq!(scene.work(2).unwrap().settled, 5);
    let starts = scene.text("starts");
    let later: Vec<&str> = starts.lines().filter(|line| line.contains("max_epochs")).collect();
    assert_eq!(later.len(), 2);
    for line in later {
        assert!(
            line.contains("experiment=supervised_birdsong optimizer.lr=0.5 trainer.max_epochs="),
            "{line}"
        );
    }
}

/// Trials that lag behind at a rung end there, the best runs to its end, and what runs again decides the same.
#[test]
fn trials_that_lag_behind_are_halted() {
    let mut plan = examples::plan(&["0.9", "0.1", "0.2", "0.3", "0.4", "0.5"]);
    plan.header.stages[0].reduction = Some(4);
    for trial in &mut plan.trials {
        trial.rungs = vec![1, 4];
    }
    let scene = Scene::new(plan);
    std::fs::write(scene.path("curves"), "").unwrap();
    scene.work(1).unwrap();
    let words = scene.words();
    assert_eq!(words[0], "done");
    assert!(words[1..].iter().filter(|word| **word == "halted").count() >= 4, "{words:?}");
    let epochs = scene.text("epochs").lines().count();
    assert!(epochs < 6 * 16 / 2, "{epochs}");
    let noted = std::fs::read_to_string(scene.dir().rung("trials", 1).join("t-0002")).unwrap();
    assert_eq!(noted, "0.1 halted\n");
    // One that was cut off between the decision and its token is not started again.
    let tokens = Tokens::new(scene.dir().tokens());
    assert!(tokens.turn("t-0002", &State::Halted, &State::Waiting).unwrap());
    let before = scene.num_starts();
    scene.work(1).unwrap();
    assert_eq!((scene.num_starts(), scene.words()), (before, words));
}

/// Is a worker of its own when the test below starts it as a process.
#[test]
#[ignore = "a process of the next test"]
fn worker_process() {
    let Some(folder) = std::env::var_os("DTRAIN_TEST_SWEEP").map(PathBuf::from) else { return };
    let done = work(Work {
        dir: SweepDir::new(folder.join("sweep")),
        slots: vec![Slot { cores: Vec::new(), gpus: None }; 2],
        stage: None,
        starter: Starter::Alone(folder.join("trial.sh").into_os_string()),
        is_asked: &|| false,
        tell: &|_| {},
    });
    assert_eq!(done.unwrap().failure, None);
}

/// Three workers, of which one after the other is killed at a moment that nobody chose: every trial ends, none is repeated after
/// its end, and none runs twice at a time.
#[test]
fn workers_that_are_killed_at_random_lose_and_repeat_nothing() {
    let is_long = std::env::var("DTRAIN_TEST_LONG").is_ok_and(|long| long == "1");
    let values: Vec<String> = (0..if is_long { 1000 } else { 24 }).map(|value| value.to_string()).collect();
    let scene = Scene::new(examples::plan(&values.iter().map(String::as_str).collect::<Vec<_>>()));
    let start = || -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sweep::worker::tests::worker_process", "--ignored", "--quiet"])
            .env("DTRAIN_TEST_SWEEP", scene.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut workers: Vec<Child> = (0..3).map(|_| start()).collect();
    let (mut state, mut kills) = (0x1234_5678_9abc_def1_u64, 0);
    while scene.words().iter().any(|word| *word != "done") {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        std::thread::sleep(Duration::from_millis(80 + state % 150));
        let victim = &mut workers[(state >> 32) as usize % 3];
        victim.kill().unwrap();
        victim.wait().unwrap();
        *victim = start();
        kills += 1;
        assert!(kills < 20_000, "the sweep does not end");
    }
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    assert!(kills > 1, "{kills}");
    assert_eq!(scene.text("violations"), "");
    assert!(scene.num_starts() >= values.len());
}
