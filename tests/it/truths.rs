//! What a run says of itself: with what it ran, who chose what, and how it ended.

use dtrain_tests::Sandbox;
use serde_json::Value;

use crate::small_runs::{settings, with_recordings};

fn environment(sandbox: &Sandbox, run: &str) -> Value {
    serde_json::from_str(&sandbox.run(run).read("environment.json")).unwrap()
}

/// The line of the start banner that begins with `key`.
fn line(said: &str, key: &str) -> String {
    let line = said.lines().find(|line| line.split_whitespace().next() == Some(key));
    line.unwrap_or_else(|| panic!("no line of `{key}`\n{said}"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_environment_names_mpi_and_the_commits() {
    let sandbox = with_recordings(4);
    let small = |run: &str| {
        settings("simclr", &[&format!("run.dir={run}"), "trainer.batch_size=6", "trainer.max_steps=1"])
    };
    sandbox.dtrain(small("alone")).finish().succeeded();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    std::fs::create_dir(sandbox.join(".git")).unwrap();
    std::fs::write(sandbox.join(".git/HEAD"), commit).unwrap();
    sandbox.dtrain(small("two")).ranks(2).finish().succeeded();

    let (alone, two) = (environment(&sandbox, "alone"), environment(&sandbox, "two"));
    assert_eq!(alone["mpi"], Value::Null, "one process uses no MPI");
    let mpi = two["mpi"].as_str().expect("the version of MPI");
    assert!(mpi.contains("MPI"), "{mpi}");
    assert_eq!(
        (&alone["working_dir_revision"], &two["working_dir_revision"]),
        (&Value::Null, &commit.into())
    );
    let built = two["git_revision"].as_str().expect("the commit of the build");
    let plain = built.strip_suffix("-dirty").unwrap_or(built);
    assert!(plain.len() == 40 && plain.bytes().all(|digit| digit.is_ascii_hexdigit()), "{built}");
}

#[test]
fn the_banner_says_who_chose() {
    let sandbox = with_recordings(4);
    let mut first = settings(
        "simclr",
        &["run.dir=run", "trainer.batch_size=6", "trainer.max_steps=1", "schedule=constant"],
    );
    first.retain(|word| !word.contains("threads="));
    let said = sandbox.dtrain(&first).finish().succeeded().stderr;
    assert!(line(&said, "trainer.threads").contains("(auto: "), "{said}");
    let typed = [&first[..], &["trainer.threads=1".to_owned(), "run.dir=typed".to_owned()]].concat();
    let said = sandbox.dtrain(typed).finish().succeeded().stderr;
    assert_eq!(line(&said, "trainer.threads"), "trainer.threads 1 (set)");

    let said = sandbox.dtrain(["resume", "run", "trainer.max_steps=2"]).finish().succeeded().stderr;
    assert!(line(&said, "trainer.threads").ends_with("(as when the run began)"), "{said}");
    // Threads of one rank would be too many for each of two.
    let said = sandbox.dtrain(["resume", "run", "trainer.max_steps=3"]).ranks(2).finish().succeeded().stderr;
    assert!(line(&said, "trainer.threads").contains("(auto: "), "{said}");
}

/// Where mpirun makes SIGTERM of a Ctrl-C, nobody has asked for a requeue.
#[test]
fn a_run_that_is_stopped_does_not_say_that_it_requeues() {
    let sandbox = with_recordings(4);
    let long = settings("simclr", &["run.dir=run", "trainer.batch_size=6", "trainer.max_steps=100000"]);
    let mut running = sandbox.dtrain(long).start();
    let run = sandbox.run("run");
    running.wait_until("a step was recorded", || {
        run.join("metrics.jsonl").is_file() && !run.metrics().is_empty()
    });
    running.signal("TERM");
    let said = running.wait().expect(75).stderr;
    let last = said.lines().find(|line| line.contains("saved to be started again")).expect("how it ended");
    let causes = "(SIGTERM, which mpirun makes of Ctrl-C too, SIGUSR1, a time limit or `dtrain stop`)";
    assert!(last.starts_with(&format!("saved to be started again {causes} after ")), "{last}");
}
