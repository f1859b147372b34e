//! `dtrain verify resume`: the proof holds over processes that are killed, finds a run that differs, and says at once what
//! cannot be proved.

use dtrain_tests::{Finished, Sandbox};

use crate::small_runs::{settings, with_recordings};

/// A proof over a small run; `more` holds further settings and options.
fn proof(sandbox: &Sandbox, method: &str, more: &[&str]) -> Finished {
    let mut all = vec!["verify".to_owned(), "resume".to_owned(), "--json=proof.json".to_owned()];
    all.extend(settings(method, &["trainer.batch_size=8"]));
    all.extend(more.iter().map(|word| (*word).to_owned()));
    sandbox.dtrain(all).exclusive().finish()
}

fn json(sandbox: &Sandbox) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(sandbox.join("proof.json")).unwrap()).unwrap()
}

#[test]
fn a_killed_run_ends_as_the_undisturbed_one() {
    let sandbox = with_recordings(8);
    let finished = proof(&sandbox, "simclr", &["--steps=16", "--kills=3", "--seed=5"]).succeeded();
    let last = finished.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("resume is exact: 16 steps with 3 kills"), "{}", finished.report());
    let json = json(&sandbox);
    assert_eq!(json["strictness"], "bits");
    let names: Vec<&str> =
        json["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    for name in ["model.safetensors", "optimizer.safetensors", "state.bin", "metrics.jsonl", "result.json"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let starts = json["starts"].as_array().unwrap();
    assert!(starts.len() >= 2 && starts.last().unwrap()["ended"] == "finished", "{json}");
    assert!(starts[0]["ended"]["killed"]["after_secs"].as_f64().unwrap() > 0.0, "{json}");
}

#[test]
fn the_number_of_ranks_may_change_on_the_way() {
    let sandbox = with_recordings(8);
    let finished = proof(&sandbox, "supcon", &["--steps=16", "--kills=2", "--world=2,1"]).succeeded();
    let last = finished.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("resume loses nothing: 16 steps with 2 kills"), "{}", finished.report());
    let json = json(&sandbox);
    assert_eq!(json["strictness"], "samples");
    assert_eq!((&json["starts"][0]["world"], &json["starts"][1]["world"]), (&2.into(), &1.into()));
}

#[test]
fn what_cannot_be_proved_is_said_at_once() {
    let sandbox = with_recordings(3);
    let before = sandbox.listing();
    let unknown = proof(&sandbox, "simclr", &["trainer.batch_sise=4"]).expect(2).error(sandbox.path());
    assert!(unknown.contains("did you mean `trainer.batch_size`"), "{unknown}");
    let large = proof(&sandbox, "simclr", &["trainer.batch_size=500"]).expect(2).error(sandbox.path());
    assert!(large.contains("500") && large.contains("hint:"), "{large}");
    let ranks = sandbox.dtrain(["verify", "resume"]).ranks(2).finish().expect(2).error(sandbox.path());
    assert!(ranks.contains("starts its own ranks") && ranks.contains("--world 2"), "{ranks}");
    assert_eq!(sandbox.listing(), before);
}
