//! `dtrain infer`: rows in the order of what is asked, whatever the number of ranks; what is refused, and what exit codes say.

use dtrain_tests::Sandbox;

use crate::small_runs::{settings, with_recordings};

/// A trained run in `run`.
fn trained(method: &str) -> Sandbox {
    let sandbox = with_recordings(8);
    let more = [
        "run.dir=run",
        "trainer.max_steps=3",
        "trainer.batch_size=6",
        "data.splits.default.test_fraction=0.25",
    ];
    sandbox.dtrain(settings(method, &more)).finish().succeeded();
    sandbox
}

fn rows(sandbox: &Sandbox, file: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(sandbox.join(file)).unwrap();
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn ranks_change_neither_rows_nor_their_order() {
    let sandbox = trained("supervised");
    let words =
        |out: &str| ["infer", "run", "--part", "all", "--probabilities", "--out", out].map(str::to_owned);
    sandbox.dtrain(words("one.csv")).finish().succeeded().says("24 predictions written to one.csv");
    sandbox.dtrain(words("three.csv")).ranks(3).finish().succeeded();
    let (one, three) = (rows(&sandbox, "one.csv"), rows(&sandbox, "three.csv"));
    assert_eq!(one[0].join(","), "file,class,class_probability,class_true,class=lark,class=rook,class=wren");
    assert_eq!((one.len(), three.len()), (25, 25));
    for (one, three) in one.iter().zip(&three).skip(1) {
        assert_eq!((&one[0], &one[3]), (&three[0], &three[3]));
        let shares =
            |row: &[String]| row[4..].iter().map(|share| share.parse::<f64>().unwrap()).collect::<Vec<_>>();
        assert!((shares(one).iter().sum::<f64>() - 1.0).abs() < 1e-4);
        assert!(shares(one).iter().zip(shares(three)).all(|(a, b)| (a - b).abs() < 1e-3));
    }
    let files: Vec<&String> = one.iter().skip(1).map(|row| &row[0]).collect();
    assert!(files.is_sorted());
}

/// A file gets the same answer by its path as in the run's own data.
#[test]
fn files_are_seen_as_the_run_sees_its_own() {
    let sandbox = trained("supervised");
    sandbox.dtrain(["infer", "run", "--part", "all", "--out", "part.csv"]).finish().succeeded();
    sandbox.dtrain(["infer", "run", "sounds", "--out", "files.csv"]).finish().succeeded();
    let (part, files) = (rows(&sandbox, "part.csv"), rows(&sandbox, "files.csv"));
    assert_eq!(part.len(), files.len());
    for (part, file) in part.iter().zip(&files).skip(1) {
        assert_eq!(format!("sounds/{}", part[0]), file[0]);
        assert_eq!(part[1..3], file[1..3]);
    }
}

/// Of files that are cut into samples, each has a row that tells where it lies.
#[test]
fn samples_of_one_file_have_a_row_each() {
    let sandbox = with_recordings(8);
    let more = [
        "run.dir=run",
        "trainer.max_steps=3",
        "trainer.batch_size=6",
        "data.audio.clip_secs=0.1",
        "data.features.hop_length=40",
        "data.audio.segment_secs=0.1",
    ];
    sandbox.dtrain(settings("supervised", &more)).finish().succeeded();
    sandbox.dtrain(["infer", "run", "--part", "all", "--out", "part.csv"]).ranks(2).finish().succeeded();
    sandbox.dtrain(["infer", "run", "sounds", "--out", "files.csv"]).finish().succeeded();
    let (part, files) = (rows(&sandbox, "part.csv"), rows(&sandbox, "files.csv"));
    assert_eq!(files[0][..4].join(","), "file,begin_secs,length_secs,class");
    assert_eq!(part.len(), files.len());
    assert!(files.len() > 2 * 24, "several samples of each of 24 files: {}", files.len());
    for (part, file) in part.iter().zip(&files).skip(1) {
        assert_eq!(format!("sounds/{}", part[0]), file[0]);
        assert_eq!(part[1..3], file[1..3]);
    }
    let begins: Vec<&str> = files.iter().skip(1).take(2).map(|row| row[1].as_str()).collect();
    assert_eq!(begins, ["0", "0.1"]);
    sandbox.dtrain(["embed", "run", "--part", "all", "--out", "all.safetensors"]).finish().succeeded();
    let bytes = std::fs::read(sandbox.join("all.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&bytes[..bytes.len().min(1 << 16)]).into_owned();
    for wanted in ["\"begin_secs\"", "\"length_secs\"", "lark/000.wav@0.0-0.1"] {
        assert!(header.contains(wanted), "{wanted} is missing");
    }
}

#[test]
fn files_that_cannot_be_read_are_named_counted_and_in_the_exit_code() {
    let sandbox = trained("supervised");
    std::fs::write(sandbox.join("sounds/rook/broken.wav"), b"no sound").unwrap();
    let done = sandbox.dtrain(["infer", "run", "sounds/rook", "--out", "out.csv"]).finish().expect(2);
    done.says("left out: `sounds/rook/broken.wav`")
        .says("8 predictions written to out.csv; 1 of 9 files could not be read");
    assert_eq!(rows(&sandbox, "out.csv").len(), 9);
    let done =
        sandbox.dtrain(["infer", "run", "sounds/rook/broken.wav", "--out", "none.csv"]).finish().expect(2);
    done.says("none of 1 files can be read");
    assert!(!sandbox.join("none.csv").exists());
}

#[test]
fn what_cannot_be_predicted_is_refused_before_the_work() {
    let sandbox = trained("simclr");
    let refused = |words: &[&str]| sandbox.dtrain([&["infer", "run"], words].concat()).finish().expect(2);
    let done = refused(&["sounds", "--out", "out.csv"]);
    done.says("`run` was trained by `simclr`, which has no classifier to predict with")
        .says("`dtrain experiment=supervised_finetune_fsdd init_from=run`")
        .says("`dtrain embed run --out embeddings.safetensors`");
    refused(&["--out", "out.csv"]).says("there is nothing to predict for");
    refused(&["gone.wav", "--out", "out.csv"]).says("`gone.wav` does not exist");
    refused(&["sounds", "--part", "test", "--out", "out.csv"]).says("files and `--part` were given");
    refused(&["sounds", "--out", "no/out.csv"]).says("there is no folder `no`");
    assert!(!sandbox.join("out.csv").exists());
}
