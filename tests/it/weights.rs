//! Weights leave for PyTorch and come back: what `dtrain export` writes starts a run as well as a checkpoint does, and gives
//! PyTorch the embeddings that dtrain has.

use std::path::Path;
use std::process::Command;

use dtrain_tests::{Sandbox, Weights, skipped};

use crate::small_runs::{settings, with_recordings};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// One step of a run.
fn one_step(method: &str, more: &[&str]) -> Vec<String> {
    settings(method, &[&["trainer.max_steps=1", "trainer.batch_size=4"], more].concat())
}

/// The file of PyTorch at `path`, for which nothing but the program's own reader is at hand, as a run that starts from it says.
fn started(sandbox: &Sandbox, more: &[&str]) -> String {
    let finished = sandbox.dtrain(one_step("supervised", more)).finish().succeeded();
    let line = finished.stderr.lines().find(|line| line.contains("starts from"));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn model(sandbox: &Sandbox, run: &str) -> Weights {
    let path = sandbox.run(run).checkpoint(1).join("model.safetensors");
    Weights::parse(&std::fs::read(path).unwrap())
}

#[test]
fn both_forms_of_exported_weights_start_the_same_run() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(one_step("simclr", &["model=resnet18", "run.dir=run"])).finish().succeeded();
    for out in ["a.safetensors", "a.pth"] {
        let said = sandbox.dtrain(words(&["export", "run", "--out", out])).finish().succeeded().stderr;
        assert!(said.contains(&format!("120 tensors written to {out}, what they are to {out}.md")), "{said}");
    }
    let pth = std::fs::read(sandbox.join("a.pth")).unwrap();
    assert!(pth.starts_with(b"PK\x03\x04"));
    // What a file is, its first bytes tell.
    std::fs::write(sandbox.join("b.safetensors"), &pth).unwrap();
    for (file, dir) in [("a.safetensors", "from_a"), ("a.pth", "from_b"), ("b.safetensors", "from_c")] {
        let (init, dir) = (format!("init_from={file}"), format!("run.dir={dir}"));
        let line = started(&sandbox, &["model=resnet18", &init, &dir]);
        assert!(line.contains(&format!("{file} (120 tensors match; 2 start anew: ")), "{line}");
    }
    assert_eq!(model(&sandbox, "from_a"), model(&sandbox, "from_b"));
    assert_eq!(model(&sandbox, "from_a"), model(&sandbox, "from_c"));
    let card = std::fs::read_to_string(sandbox.join("a.pth.md")).unwrap();
    for part in [
        "# a.pth\n\nWeights of `simclr` on `",
        "| network | resnet18, 512 features |",
        "| encoder | online |",
        "| input | 1 x 32 x 26 (channels, rows, columns) |",
        "| normalization | log(power + 1e-6) of 32 mel bands, windows of 256 and steps of 80 samples at 8000 Hz; each view",
        "| names of tensors | torchvision |",
        "| format | `torch.save` |",
        "model.load_state_dict(torch.load(\"a.pth\", weights_only=True))",
        "    dtrain experiment=null data=audio_folder",
        "    dtrain export run --out a.pth\n",
    ] {
        assert!(card.contains(part), "{part}\n---\n{card}");
    }
}

#[test]
fn a_checkpoint_of_lightning_is_searched_for_the_network() {
    let sandbox = with_recordings(4);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/data/fixtures/torch");
    for file in ["lightning.ckpt", "malicious.pth", "module.pth", "legacy.pth"] {
        std::fs::copy(fixtures.join(file), sandbox.join(file)).unwrap();
    }
    let refused = |file: &str| {
        let init = format!("init_from={file}");
        let words = one_step("supervised", &["model=resnet18", "run.dir=run", &init]);
        sandbox.dtrain(words).finish().expect(2).error(sandbox.path())
    };
    // Convolution and norm of the fixture are called as those of a ResNet.
    insta::assert_snapshot!(refused("lightning.ckpt"), @r"
    error: `init_from=lightning.ckpt`: `backbone.conv1.weight` is [2, 1, 3, 3] there and [64, 1, 7, 7] here

    hint: choose the `model` and `data` that the weights were trained with
    ");
    insta::assert_snapshot!(refused("module.pth"), @r"
    error: `init_from=module.pth` shares no tensor with this model; it has no tensors under such names

    hint: it holds objects that are not read (`torch.nn.modules.container.Sequential`, `__builtin__.set`, `torch.nn.modules.conv.Conv2d`): save the `state_dict()` of a model; names are torchvision's or timm's, with anything in front
    ");
    insta::assert_snapshot!(refused("malicious.pth"), @r"
    error: `init_from=malicious.pth` shares no tensor with this model; it has `weight`

    hint: it holds objects that are not read (`posix.system`): save the `state_dict()` of a model; names are torchvision's or timm's, with anything in front
    ");
    assert!(!sandbox.join("code-has-run").exists());
    let whole = std::fs::read(sandbox.join("legacy.pth")).unwrap();
    std::fs::write(sandbox.join("cut.pth"), &whole[..whole.len() - 1]).unwrap();
    insta::assert_snapshot!(refused("cut.pth"), @r"
    error: `init_from=cut.pth` cannot be read: truncated: expected 12 bytes for a storage at byte 1746, found 11

    hint: restore the file from its source, or save it again with `torch.save`
    ");
}

#[test]
fn what_cannot_be_exported_says_why() {
    let sandbox = with_recordings(4);
    sandbox.dtrain(one_step("supervised", &["run.dir=run"])).finish().succeeded();
    let refused = |more: &[&str]| {
        let words = words(&[&["export", "run", "--out", "w.pth"], more].concat());
        sandbox.dtrain(words).finish().expect(2).error(sandbox.path())
    };
    insta::assert_snapshot!(refused(&["--names", "timm"]), @r"
    error: `--names timm`: timm has no `cnn_small` with tensors of these names

    hint: leave it out: the file then has dtrain's own names
    ");
    insta::assert_snapshot!(refused(&["--encoder", "teacher"]), @r"
    error: `method=supervised` has no teacher to export

    hint: leave `--encoder` and `eval.encoder` out: there is one network
    ");
    assert!(!sandbox.join("w.pth").exists());
    let said = sandbox.dtrain(words(&["export", "run", "--out", "w.pth"])).finish().succeeded().stderr;
    assert!(said.contains("no library has this network as it is: names are dtrain's own"), "{said}");
}

/// A Python with all three, which `DTRAIN_TEST_PYTHON` names.
fn python() -> Option<String> {
    let python = std::env::var("DTRAIN_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let imported =
        Command::new(&python).args(["-c", "import torch, torchvision, timm, safetensors"]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skipped(&format!(
        "`{python}` has no torch, torchvision, timm and safetensors (DTRAIN_TEST_PYTHON names one)"
    ));
    None
}

#[test]
fn pytorch_makes_the_same_embeddings_of_exported_weights() {
    let Some(python) = python() else { return };
    let sandbox = Sandbox::new();
    let made = ["data", "make", "digits", "--out", "digits", "--scale", "0.02"];
    sandbox.dtrain(words(&made)).finish().succeeded();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/check_export.py");
    let resnet = ["model=resnet18"];
    let vit = ["model=vit_tiny", "model.patch_size=7", "model.depth=3"];
    let mean = ["model=vit_tiny", "model.patch_size=8", "model.depth=2", "model.pool=mean"];
    let small = ["model=resnet18", "model.stem=small"];
    let cases: [(&str, &[&str], &[&str]); 6] = [
        ("resnet", &resnet, &["--out", "w.pth"]),
        ("resnet", &resnet, &["--out", "w.safetensors"]),
        ("resnet", &resnet, &["--out", "w.pth", "--names", "timm"]),
        ("small", &small, &["--out", "w.pth", "--names", "torchvision"]),
        ("vit", &vit, &["--out", "w.pth"]),
        ("mean", &mean, &["--out", "w.pth"]),
    ];
    for (run, model, options) in cases {
        if !sandbox.join(run).exists() {
            let dir = format!("run.dir={run}");
            let common = [
                "experiment=null",
                "data=digits",
                "data.root=digits",
                "method=supervised",
                "trainer.batch_size=32",
                "trainer.max_steps=3",
                "trainer.threads=1",
                "eval.every_epochs=0",
                "model.bn_statistics=running",
                "trainer.precision=fp32",
                "data.images.mean=[0.5]",
                "data.images.std=[0.5]",
                &dir,
            ];
            sandbox.dtrain(words(&[&common[..], model].concat())).finish().succeeded();
            let out = format!("{run}.embeddings");
            sandbox.dtrain(words(&["embed", run, "--part", "test", "--out", &out])).finish().succeeded();
        }
        let said = sandbox.dtrain(words(&[&["export", run], options].concat())).finish().succeeded().stderr;
        let lines = said.split("in Python:\n").nth(1).unwrap_or_default();
        let lines: String = lines.lines().map(|line| format!("{}\n", line.trim())).collect();
        std::fs::write(sandbox.join("lines.py"), &lines).unwrap();
        let output = Command::new(&python)
            .arg(&script)
            .args(["lines.py", "digits/t10k-images-idx3-ubyte", &format!("{run}.embeddings")])
            .current_dir(sandbox.path())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        println!("{run} {options:?}: {}", String::from_utf8_lossy(&text));
        assert!(output.status.success(), "{run}: {lines}{}", String::from_utf8_lossy(&text));
    }
}
