//! The pages of docs/howto, command by command, on small generated data.

use dtrain_tests::{CommandLine, Sandbox, command_lines, workspace_root, write_classes};

/// Settings that make every run of a page small.
const SMALL: [&str; 12] = [
    "model=cnn_small",
    "data.audio.sample_rate=8000",
    "data.audio.clip_secs=0.25",
    "data.features.n_fft=256",
    "data.features.hop_length=80",
    "data.features.n_mels=32",
    "trainer.batch_size=6",
    "trainer.max_epochs=null",
    "trainer.max_steps=3",
    "trainer.threads=1",
    "trainer.loader_threads=1",
    "track.tensorboard=false",
];

/// Runs the commands of a page, and counts them.
fn follow(page: &str, sandbox: &Sandbox) -> usize {
    let place = format!("docs/howto/{page}");
    let mut commands: Vec<CommandLine> = command_lines(workspace_root())
        .into_iter()
        .filter(|command| command.place == place && !command.is_mention)
        .collect();
    commands.sort_by_key(|command| command.line);
    for command in &commands {
        let mut words: Vec<String> = command.text.split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|word| word.contains('=')) {
            words.extend(SMALL.map(str::to_owned));
        }
        sandbox.dtrain(&words).finish().succeeded();
    }
    commands.len()
}

fn lines(sandbox: &Sandbox, file: &str) -> Vec<String> {
    std::fs::read_to_string(sandbox.join(file)).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn esc_50_fold_by_fold() {
    let sandbox = Sandbox::new();
    let classes = ["dog", "rain"];
    write_classes(&sandbox.join("sounds"), &classes, 10);
    let audio = sandbox.join("ESC-50-master/audio");
    std::fs::create_dir_all(&audio).unwrap();
    std::fs::create_dir_all(sandbox.join("ESC-50-master/meta")).unwrap();
    let mut table = "filename,fold,target,category,esc10,src_file,take\n".to_owned();
    for (target, class) in classes.iter().enumerate() {
        let folder = sandbox.join("sounds").join(class);
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
        files.sort();
        for (number, file) in files.iter().enumerate() {
            let (fold, source) = (number % 5 + 1, 100 * target + number);
            let name = format!("{fold}-{source}-A-{target}.wav");
            std::fs::copy(file, audio.join(&name)).unwrap();
            table.push_str(&format!("{name},{fold},{target},{class},True,{source},A\n"));
        }
    }
    std::fs::write(sandbox.join("ESC-50-master/meta/esc50.csv"), table).unwrap();
    assert_eq!(follow("esc50.md", &sandbox), 7);
    let rows = lines(&sandbox, "fold5.csv");
    assert_eq!(rows[0], "file,category,category_probability,category_true,category_2,category_2_probability");
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().skip(1).all(|row| row.starts_with("audio/5-")), "{rows:?}");
    let classes = lines(&sandbox, "runs/fold1/reports/classes.csv");
    assert!(classes[1].starts_with("test,category,dog,"), "{classes:?}");
    assert!(sandbox.join("runs/fold1/reports/confusion_test_category.png").is_file());
}

#[test]
fn birds_are_pretrained_and_fine_tuned() {
    let sandbox = Sandbox::new();
    write_classes(&sandbox.join("birds"), &["lark", "rook", "wren"], 8);
    let mut calls = "file,start,end,species\n".to_owned();
    for (species, number) in
        ["lark", "rook", "wren"].into_iter().flat_map(|species| (0..8).map(move |n| (species, n)))
    {
        let file = format!("{species}/{number:03}.wav");
        calls.push_str(&format!("{file},0,0.25,{species}\n{file},0.1,,{species}\n"));
    }
    std::fs::write(sandbox.join("birds/calls.csv"), calls).unwrap();
    assert_eq!(follow("birds.md", &sandbox), 7);
    let metrics = sandbox.run("runs/finetuned").result()["metrics"].clone();
    for name in ["test/acc", "test/loss", "test/macro_f1", "train/eval_acc", "test/knn_top1"] {
        assert!(metrics[name].is_number(), "{name} is missing: {metrics}");
    }
    assert!(sandbox.join("embeddings.safetensors").is_file());
}

#[test]
fn files_are_predicted() {
    let sandbox = Sandbox::new();
    write_classes(&sandbox.join("birds"), &["lark", "rook", "wren"], 8);
    write_classes(&sandbox.join("field"), &["a", "b"], 2);
    let mut files: Vec<_> =
        std::fs::read_dir(sandbox.join("birds/rook")).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    std::fs::copy(&files[0], sandbox.join("new.wav")).unwrap();
    assert_eq!(follow("predict.md", &sandbox), 4);
    let rows = lines(&sandbox, "predictions.csv");
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0].split(',').count(), 3 + 4 + 3);
    assert!(lines(&sandbox, "test.csv").len() > 1);
}
