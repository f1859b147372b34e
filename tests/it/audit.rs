//! What an audit asks of the embedding, and that it finds the same whatever the number of ranks.

use dtrain_tests::{Finished, Sandbox};
use serde_json::Value;

use crate::small_runs::{first_is_best, with_recordings};

/// A step or two of SimCLR on a small set of bird song, whose table says how each recording sounds.
fn trained(sandbox: &Sandbox, more: &[&str]) -> Finished {
    let words = [
        "experiment=null",
        "data=birdsong",
        "data.generate.scale=0.1",
        "method=simclr",
        "model=simple_cnn_64k",
        "run.dir=run",
        "trainer.batch_size=32",
        "trainer.max_steps=2",
        "trainer.precision=fp64",
        "trainer.threads=1",
        "trainer.loader_threads=1",
        "eval.knn.k=5",
        "track.tensorboard=false",
    ];
    sandbox.dtrain(words.into_iter().chain(more.iter().copied())).finish().succeeded()
}

fn audit(sandbox: &Sandbox, ranks: usize) -> Value {
    let words = ["eval", "run", "--audit", "--json"];
    let told = sandbox.dtrain(words).ranks(ranks).finish().succeeded().stdout;
    let document: Value = serde_json::from_str(&told).unwrap();
    document["evaluation"]["audit"].clone()
}

/// Each number is within rounding of its counterpart; everything else is the same.
fn assert_alike(a: &Value, b: &Value, at: &str) {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            assert!((x - y).abs() < 1e-9, "{at}: {x} and {y}");
        }
        (Value::Array(x), Value::Array(y)) => {
            assert_eq!(x.len(), y.len(), "{at}");
            x.iter().zip(y).enumerate().for_each(|(i, (x, y))| assert_alike(x, y, &format!("{at}[{i}]")));
        }
        (Value::Object(x), Value::Object(y)) => {
            assert!(x.keys().eq(y.keys()), "{at}");
            x.iter().for_each(|(key, x)| assert_alike(x, &y[key], &format!("{at}.{key}")));
        }
        _ => assert_eq!(a, b, "{at}"),
    }
}

#[test]
fn every_column_and_measure_is_asked_for_alike_on_any_number_of_ranks() {
    let sandbox = Sandbox::new();
    let finished = trained(&sandbox, &["eval.audit.enabled=true"]);
    finished
        .says_once("species (the class)")
        .says("not asked for `split`: the samples of test have one value");
    let at_end = sandbox.run("run").result()["evaluation"]["audit"].clone();
    let columns = at_end["columns"].as_array().unwrap();
    let mut names: Vec<&str> = columns.iter().map(|column| column["column"].as_str().unwrap()).collect();
    names.sort_unstable();
    let measured = ["gain_db", "noise_floor_db"];
    let of_table = ["hum_hz", "level_db", "recording", "song_snr_db", "species", "tilt_db"];
    let mut expected = [measured.as_slice(), of_table.as_slice()].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let left_out: Vec<&str> =
        at_end["left_out"].as_array().unwrap().iter().map(|left| left["column"].as_str().unwrap()).collect();
    assert_eq!(left_out, ["split", "length_secs", "padding"]);
    // Best known first.
    let known = |column: &Value| {
        let of = |probe: &str| column[probe]["beyond_chance"].as_f64().unwrap();
        of("knn").max(of("linear"))
    };
    assert!(columns.windows(2).all(|pair| known(&pair[0]) >= known(&pair[1])), "{at_end:#}");
    let gain = columns.iter().find(|column| column["column"] == "gain_db").unwrap();
    assert_eq!((&gain["values"], &gain["source"]), (&5.into(), &"measured".into()));
    assert!((gain["chance"].as_f64().unwrap() - 0.2).abs() < 0.06, "{gain}");
    let lines = sandbox.run("run").read("reports/audit.csv").lines().count();
    assert_eq!(lines, 1 + columns.len());

    for ranks in [1, 2, 3] {
        assert_alike(&audit(&sandbox, ranks), &at_end, &format!("{ranks} ranks"));
    }
}

#[test]
fn columns_are_chosen_by_name_and_what_tells_nothing_is_refused() {
    let sandbox = with_recordings(10);
    sandbox.dtrain(first_is_best("supervised", &["trainer.max_epochs=1"])).finish().succeeded();
    let work = sandbox.path();
    let refused = |words: &[&str]| {
        let words = ["eval", "run", "--audit"].iter().chain(words);
        sandbox.dtrain(words.copied()).finish().expect(2).error(work)
    };
    insta::assert_snapshot!(refused(&["eval.audit.columns=[gain]"]), @r"
    error: `eval.audit.columns` names `gain`, which is neither a column of `audio_folder` nor measured
     --> override 1
      | eval.audit.columns=[gain]
      |                    ^

    hint: did you mean `gain_db`? there are `class`, `gain_db`, `noise_floor_db`, `length_secs` and `padding`
    ");
    insta::assert_snapshot!(refused(&["eval.embeddings=false"]), @r"
    error: 1 problem in the configuration

    `eval.audit.enabled` asks what embeddings know, but `eval.embeddings` is false
     --> override 2
      | eval.audit.enabled=true
      |                    ^^^^
     --> override 1
      | eval.embeddings=false
      |                 ^^^^^
    hint: evaluate embeddings too: `eval.embeddings=true`
    ");
    let words =
        ["eval", "run", "--audit", "eval.audit.columns=[gain_db]", "eval.audit.linear=false", "--json"];
    let told = sandbox.dtrain(words).finish().succeeded().stdout;
    let document: Value = serde_json::from_str(&told).unwrap();
    let columns = document["evaluation"]["audit"]["columns"].as_array().unwrap();
    // The class stands beside whatever is asked for.
    let mut names: Vec<&str> = columns.iter().map(|column| column["column"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["class", "gain_db"]);
    assert!(columns.iter().all(|column| column["linear"].is_null()), "{columns:?}");
}
