//! Sets of images: made, converted and inspected in each format; damaged ones are refused by file, place and value, and
//! nothing is overwritten.

use std::path::{Path, PathBuf};

use dtrain_tests::{Finished, Sandbox};
use serde_json::{Value, json};

/// Runs `dtrain data`.
fn data(sandbox: &Sandbox, words: &[&str]) -> Finished {
    sandbox.dtrain([&["data"], words].concat()).finish()
}

/// The JSON of `dtrain data inspect`, with which the report on stdout is returned.
#[track_caller]
fn inspected(sandbox: &Sandbox, folder: &str) -> (Value, String) {
    let finished = data(sandbox, &["inspect", folder, "--json", "found.json"]).succeeded();
    (document(sandbox), finished.stdout)
}

fn document(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.join("found.json")).unwrap()).unwrap()
}

/// The message with which `dtrain data` refuses `words`, alone and in a world of two, leaving all files as they were.
#[track_caller]
fn refusal(sandbox: &Sandbox, words: &[&str]) -> String {
    let before = sandbox.listing();
    let words = [&["data"], words].concat();
    let alone = sandbox.dtrain(&words).finish().expect(2).error(sandbox.path());
    let both = sandbox.dtrain(&words).ranks(2).finish().expect(2).error(sandbox.path());
    assert_eq!(alone, both);
    assert_eq!(sandbox.listing(), before, "`{}` leaves all as it was", words.join(" "));
    alone
}

/// Number of samples of each class, as the document has them for a head.
fn counts(document: &Value, part: usize, head: usize) -> Vec<u64> {
    let counts = document["parts"][part]["heads"][head]["counts"].as_array().unwrap();
    counts.iter().map(|count| count.as_u64().unwrap()).collect()
}

/// The same, counted here.
fn counted(labels: impl IntoIterator<Item = u8>, num_classes: usize) -> Vec<u64> {
    let mut counts = vec![0; num_classes];
    labels.into_iter().for_each(|label| counts[usize::from(label)] += 1);
    counts
}

fn bytes(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Width and height in the header of a PNG file.
fn png_size(path: &Path) -> (u32, u32) {
    let png = bytes(path.to_owned());
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.ends_with(b"IEND\xaeB`\x82"), "{}", path.display());
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn drawn_digits_are_inspected_and_converted() {
    let sandbox = Sandbox::new();
    data(&sandbox, &["make", "digits", "--out", "digits", "--scale", "0.02"]).succeeded();
    let (found, said) = inspected(&sandbox, "digits");
    assert_eq!(
        (&found["format"], &found["shape"], &found["notes"]),
        (&json!("IDX"), &json!({"height": 28, "width": 28, "channels": 1}), &json!([]))
    );
    let heads = ["digit", "smoothness", "thickness"];
    for (part, prefix) in ["train", "t10k"].into_iter().enumerate() {
        for (at, (head, file)) in heads.iter().zip(["labels", "smoothness", "thickness"]).enumerate() {
            let labels = bytes(sandbox.join(format!("digits/{prefix}-{file}-idx1-ubyte")));
            let expected = counted(labels[8..].iter().copied(), counts(&found, part, at).len());
            assert_eq!(counts(&found, part, at), expected, "{head}");
            assert_eq!(found["parts"][part]["num_samples"], labels.len() - 8);
        }
    }
    assert_eq!(found["heads"][0]["num_classes"], 10);
    assert!(said.contains("digit: 10 classes from heads.json; a label is the class"), "{said}");
    assert!(said.contains("very thick") && said.contains("5 of 5"), "{said}");

    data(&sandbox, &["convert", "digits", "vimh-28x28x1_digits"]).succeeded().says("240 images to train on");
    let (converted, said) = inspected(&sandbox, "vimh-28x28x1_digits");
    assert_eq!(converted["format"], "VIMH");
    for part in 0..2 {
        for head in 0..heads.len() {
            assert_eq!(counts(&converted, part, head), counts(&found, part, head));
        }
    }
    let stated = |source: &str| json!({"source": source, "height": 28, "width": 28, "channels": 1});
    let sources = [stated("the folder's name"), stated("vimh_dataset_info.json"), stated("train_batch")];
    assert_eq!(converted["parts"][0]["stated_shapes"], json!(sources));
    assert!(said.contains("shape stated by"), "{said}");
}

#[test]
fn a_set_of_sounds_has_values_and_pictures() {
    let sandbox = Sandbox::new();
    data(&sandbox, &["make", "vimh", "--out", "sounds", "--scale", "0.02"]).succeeded();
    let (found, said) = inspected(&sandbox, "sounds");
    let head = &found["heads"][0];
    assert_eq!(
        (&head["name"], &head["reading"], &head["num_classes"]),
        (&json!("note_number"), &json!("steps"), &json!(13))
    );
    let span = head["max"].as_f64().unwrap() - head["min"].as_f64().unwrap();
    assert_eq!(span / head["step"].as_f64().unwrap(), 12.0);
    assert!(said.contains("a label is a value from"), "{said}");
    // The rarest class is one of those with the fewest samples.
    let train = counts(&found, 0, 0);
    let rarest = &found["parts"][0]["heads"][0]["rarest"];
    let seen = train.iter().filter(|count| **count > 0);
    assert_eq!(rarest["samples"].as_u64(), seen.min().copied());
    assert_eq!(rarest["samples"], train[rarest["class"].as_u64().unwrap() as usize]);

    let pictures = |more: &[&str], dir: &str| {
        let words = [&["inspect", "sounds", "--pictures", dir], more].concat();
        data(&sandbox, &words).succeeded().says(&format!("pictures are in `{dir}`"));
        bytes(sandbox.join(dir).join("samples.png"))
    };
    let first = pictures(&["--samples", "6"], "pictures/first");
    assert_eq!(first, pictures(&["--samples", "6", "--seed", "0"], "pictures/again"));
    assert_ne!(first, pictures(&["--samples", "6", "--seed", "1"], "pictures/other"));
    let (width, height) = png_size(&sandbox.join("pictures/first/samples.png"));
    // Six images of 96 pixels and their labels.
    assert!((300..1200).contains(&width) && (150..800).contains(&height), "{width} x {height}");
    let (width, height) = png_size(&sandbox.join("pictures/first/histograms.png"));
    assert!((400..1200).contains(&width) && (500..1200).contains(&height), "{width} x {height}");
    let message = refusal(&sandbox, &["inspect", "sounds", "--samples", "0"]);
    assert!(message.contains("--samples"), "{message}");
}

#[test]
fn heads_of_many_classes_have_pictures_that_fit_a_screen() {
    let sandbox = Sandbox::new();
    data(&sandbox, &["make", "digits", "--out", "digits", "--scale", "0.01"]).succeeded();
    std::fs::write(sandbox.join("digits/heads.json"), r#"{"digit": {"num_classes": 60000}}"#).unwrap();
    let finished = data(&sandbox, &["inspect", "digits", "--pictures", "pictures"]).succeeded();
    let said = "10 of 60000";
    assert!(finished.stdout.contains(said) && finished.stdout.len() < 10_000, "{}", finished.stdout);
    let (width, height) = png_size(&sandbox.join("pictures/histograms.png"));
    assert!((700..1200).contains(&width) && (700..1200).contains(&height), "{width} x {height}");
}

/// Records of CIFAR: labels, then 3072 bytes.
fn cifar(labels: &[&[u8]]) -> Vec<u8> {
    labels.iter().flat_map(|labels| [*labels, &[labels[0]; 3072]].concat()).collect()
}

#[test]
fn both_cifar_formats_are_inspected() {
    let sandbox = Sandbox::new();
    let write = |path: &str, contents: &[u8]| {
        let path = sandbox.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    };
    write("ten/data_batch_1.bin", &cifar(&[&[0], &[9], &[9]]));
    write("ten/data_batch_3.bin", &cifar(&[&[9]]));
    write("ten/batches.meta.txt", b"airplane\nb\nc\nd\ne\nf\ng\nh\ni\ntruck\n");
    let (found, said) = inspected(&sandbox, "ten");
    assert_eq!((&found["format"], counts(&found, 0, 0)), (&json!("CIFAR-10"), counted([0, 9, 9, 9], 10)));
    assert_eq!(found["heads"][0]["class_names"][9], "truck");
    assert_eq!(found["parts"].as_array().unwrap().len(), 1);
    for text in ["data_batch_1.bin, data_batch_3.bin", "no such part", "airplane (25.0 %)", "truck (75.0 %)"]
    {
        assert!(said.contains(text), "`{text}` is not in\n{said}");
    }
    write("hundred/train.bin", &cifar(&[&[3, 70], &[19, 99]]));
    write("hundred/test.bin", &cifar(&[&[3, 71]]));
    let (found, said) = inspected(&sandbox, "hundred");
    assert_eq!(found["format"], "CIFAR-100");
    assert_eq!(counts(&found, 0, 0), counted([3, 19], 20));
    assert_eq!(counts(&found, 1, 1), counted([71], 100));
    assert_eq!(found["parts"][1]["heads"][1]["empty"].as_array().unwrap().len(), 99);
    assert!(said.contains("0, 1, 2, 3, 4, 5, 6, 7, and 91 more"), "{said}");
    let words = ["inspect", "hundred", "--pictures", "pictures", "--samples", "2"];
    data(&sandbox, &words).succeeded();
    png_size(&sandbox.join("pictures/samples.png"));
}

/// A pickle of lists, as protocol 4 has them: rows of pixels, and rows `[2, 0, coarse, 1, fine]`.
fn pickle(labels: &[[u8; 2]], image_len: usize) -> Vec<u8> {
    let list = |numbers: &[u8]| {
        [b"](".to_vec(), numbers.iter().flat_map(|&n| [b'K', n]).collect(), b"e".to_vec()].concat()
    };
    let lists = |rows: Vec<Vec<u8>>| [b"](".to_vec(), rows.concat(), b"e".to_vec()].concat();
    let text = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let pixels = labels.iter().map(|[coarse, _]| list(&vec![*coarse; image_len])).collect();
    let rows = labels.iter().map(|[coarse, fine]| list(&[2, 0, *coarse, 1, *fine])).collect();
    [
        b"\x80\x04}(".to_vec(),
        text("data"),
        lists(pixels),
        text("cifar100mh_labels"),
        lists(rows),
        b"u.".to_vec(),
    ]
    .concat()
}

fn cifar100mh(sandbox: &Sandbox, labels: &[[u8; 2]]) {
    let folder = sandbox.join("many");
    std::fs::create_dir_all(&folder).unwrap();
    let info = json!({
        "format": "CIFAR-100-MH", "version": "1.0", "image_size": "2x2x3", "parameter_names": ["coarse", "fine"],
        "parameter_mappings": {"coarse": {"min": 0, "max": 19}, "fine": {"min": 0, "max": 99, "description": "kinds"}},
    });
    std::fs::write(folder.join("cifar100mh_dataset_info.json"), info.to_string()).unwrap();
    std::fs::write(folder.join("train_batch"), pickle(labels, 12)).unwrap();
    std::fs::write(folder.join("test_batch"), pickle(&labels[..1], 12)).unwrap();
}

#[test]
fn cifar_100_mh_is_inspected_and_converted() {
    let sandbox = Sandbox::new();
    cifar100mh(&sandbox, &[[3, 99], [3, 7], [19, 0]]);
    let (found, said) = inspected(&sandbox, "many");
    assert_eq!(found["format"], "CIFAR-100-MH");
    assert_eq!(counts(&found, 0, 0), counted([3, 3, 19], 20));
    assert_eq!(counts(&found, 0, 1), counted([99, 7, 0], 100));
    assert_eq!(found["heads"][1]["description"], "kinds");
    assert!(
        said.contains("fine: 100 classes from `max` - `min` + 1; a label is the class\nkinds\n"),
        "{said}"
    );
    data(&sandbox, &["convert", "many", "vimh-2x2x3_many"]).succeeded();
    let (converted, _) = inspected(&sandbox, "vimh-2x2x3_many");
    for head in 0..2 {
        assert_eq!(counts(&converted, 0, head), counts(&found, 0, head));
    }
    assert_eq!(converted["heads"][1]["description"], "kinds");
}

#[test]
fn bad_samples_are_named_counted_and_left_out() {
    let sandbox = Sandbox::new();
    data(&sandbox, &["make", "digits", "--out", "digits", "--scale", "0.02"]).succeeded();
    let path = sandbox.join("digits/train-labels-idx1-ubyte");
    let good = bytes(path.clone());
    let mut labels = good.clone();
    // The last sample too, which a run would refuse at once.
    for sample in [4, 50, 100, 101, 150, 200, 239] {
        labels[8 + sample] = 20;
    }
    std::fs::write(&path, &labels).unwrap();
    let words = ["inspect", "digits", "--json", "found.json", "--pictures", "pictures"];
    let finished = data(&sandbox, &words).expect(2);
    insta::assert_snapshot!(finished.error(sandbox.path()), @r#"
    error: 7 of 340 samples of `digits` are bad

    `digits/train-labels-idx1-ubyte`: sample 4 at byte 12: label 20 of head `digit` is out of range, it has 10 classes
    `digits/train-labels-idx1-ubyte`: sample 50 at byte 58: label 20 of head `digit` is out of range, it has 10 classes
    `digits/train-labels-idx1-ubyte`: sample 100 at byte 108: label 20 of head `digit` is out of range, it has 10 classes
    `digits/train-labels-idx1-ubyte`: sample 101 at byte 109: label 20 of head `digit` is out of range, it has 10 classes
    `digits/train-labels-idx1-ubyte`: sample 150 at byte 158: label 20 of head `digit` is out of range, it has 10 classes
    and 2 more

    hint: fix the label, or state the classes in a file `heads.json` beside it: `{"digit": {"num_classes": 21}}`
    "#);
    assert!(finished.stdout.contains("240 samples, 7 of them bad"), "{}", finished.stdout);
    let found = document(&sandbox);
    let part = &found["parts"][0];
    assert_eq!((&part["num_samples"], &part["num_bad"]), (&json!(240), &json!(7)));
    assert_eq!(part["bad"].as_array().unwrap().len(), 5);
    let expected = labels[8..].iter().copied().filter(|&label| label < 10);
    assert_eq!(counts(&found, 0, 0), counted(expected, 10));
    png_size(&sandbox.join("pictures/samples.png"));
    // Others are refused, and leave nothing.
    let message = refusal(&sandbox, &["convert", "digits", "converted"]);
    assert!(message.contains("label 20 of head `digit` is out of range"), "{message}");
}

#[test]
fn bad_samples_of_vimh_have_their_place_in_either_form() {
    let sandbox = Sandbox::new();
    data(&sandbox, &["make", "digits", "--out", "digits", "--scale", "0.01"]).succeeded();
    data(&sandbox, &["convert", "digits", "set"]).succeeded();
    let record = bytes(sandbox.join("set/train")).len() / 120;
    let (mut binary, mut pickled) =
        (bytes(sandbox.join("set/train")), bytes(sandbox.join("set/train_batch")));
    // The label of `digit` in the record of sample 7, and in its row of the pickle: [3, 0, digit, 1, ...].
    let digit = binary[7 * record + 16];
    binary[7 * record + 16] = 77;
    let rows: Vec<usize> =
        (0..pickled.len() - 8).filter(|&at| pickled[at..].starts_with(b"(K\x03K\x00K")).collect();
    assert_eq!((rows.len(), pickled[rows[7] + 6]), (120, digit));
    pickled[rows[7] + 6] = 77;
    std::fs::write(sandbox.join("set/train"), &binary).unwrap();
    std::fs::write(sandbox.join("set/train_batch"), &pickled).unwrap();
    let message = |file: &str, place: usize| {
        let finished = data(&sandbox, &["inspect", "set"]).expect(2);
        let expected = format!(
            "`set/{file}`: sample 7 at byte {place}: label 77 of head `digit` is out of range, it has 10 classes"
        );
        let error = finished.error(sandbox.path());
        assert!(error.contains(&expected) && error.contains("1 of 220 samples of `set` are bad"), "{error}");
    };
    message("train_batch", rows[7]);
    std::fs::remove_file(sandbox.join("set/train_batch")).unwrap();
    message("train", 7 * record + 16);
    // Another number of heads within a record.
    binary[7 * record + 16] = digit;
    binary[60 * record + 14] = 2;
    std::fs::write(sandbox.join("set/train"), &binary).unwrap();
    let error = data(&sandbox, &["inspect", "set"]).expect(2).error(sandbox.path());
    assert!(error.contains(&format!("sample 60 at byte {} differs from sample 0", 60 * record)), "{error}");
}

#[test]
fn damaged_and_lying_files_are_refused() {
    let sandbox = Sandbox::new();
    data(&sandbox, &["make", "digits", "--out", "digits", "--scale", "0.01"]).succeeded();
    let images = sandbox.join("digits/train-images-idx3-ubyte");
    let good = bytes(images.clone());
    std::fs::write(&images, &good[..1000]).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "digits", "--json", "found.json"]), @r"
    error: `digits/train-images-idx3-ubyte`: truncated: expected 94080 bytes for the images at byte 16, found 984

    hint: restore the file from its source
    ");
    std::fs::write(&images, [&good[..4], &[0xff; 12], &good[16..]].concat()).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "digits", "--pictures", "pictures"]), @r"
    error: `digits/train-images-idx3-ubyte`: images of 4294967295x4294967295x1: expected sides above 0 and at most 268435456 bytes an image

    hint: restore the file from its source
    ");
    std::fs::write(&images, &good).unwrap();

    data(&sandbox, &["convert", "digits", "vimh-28x28x1_digits"]).succeeded();
    std::fs::rename(sandbox.join("vimh-28x28x1_digits"), sandbox.join("vimh-32x32x1_digits")).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "vimh-32x32x1_digits"]), @r"
    error: `vimh-32x32x1_digits`: the sources disagree on the shape of an image: the folder's name says 32x32x1, vimh_dataset_info.json says 28x28x1, train_batch says 28x28x1

    hint: rename the folder or fix the metadata, whichever is wrong; the file's own numbers are what it was written with
    ");
    std::fs::rename(sandbox.join("vimh-32x32x1_digits"), sandbox.join("set")).unwrap();
    let pickled = bytes(sandbox.join("set/train_batch"));
    std::fs::write(sandbox.join("set/train_batch"), b"\x80\x04cos\nsystem\n(\x8c\x02idtR.").unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "set"]), @r"
    error: `set/train_batch`: at byte 2: the pickle asks for `os.system`; only `numpy.ndarray`, `numpy.dtype` and numpy's `_reconstruct` are allowed

    hint: it could run any program, so it is not loaded; write the set again with the format's own program
    ");
    std::fs::write(sandbox.join("set/train_batch"), &pickled[..pickled.len() / 2]).unwrap();
    let message = refusal(&sandbox, &["inspect", "set"]);
    assert!(message.contains("`set/train_batch`: ") && message.contains("byte"), "{message}");
    std::fs::remove_file(sandbox.join("set/train_batch")).unwrap();
    let binary = bytes(sandbox.join("set/train"));
    std::fs::write(sandbox.join("set/train"), &binary[..binary.len() - 1]).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "set"]), @r"
    error: `set/train`: truncated: expected 805 bytes for record 119 at byte 95795, found 804

    hint: restore the file from its source
    ");
}

#[test]
fn nothing_is_overwritten() {
    let sandbox = Sandbox::new();
    data(&sandbox, &["make", "digits", "--out", "digits", "--scale", "0.01"]).succeeded();
    for words in [&["make", "digits", "--out", "digits", "--seed", "1"][..], &["convert", "digits", "digits"]]
    {
        let message = refusal(&sandbox, words);
        assert!(message.contains("`digits`") && message.contains("is not empty"), "{message}");
    }
    insta::assert_snapshot!(refusal(&sandbox, &["convert", "digits", "vimh-32x32x1_digits"]), @r"
    error: `vimh-32x32x1_digits`: key `name`: expected a folder of another name for images of 28x28x1, found one that states 32x32x1

    hint: fix `name`, or write the set again
    ");
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "nowhere"]), @r"
    error: `nowhere`: there is no folder of this name

    hint: give the folder that holds the files of the set
    ");
    std::fs::create_dir_all(sandbox.join("alone/empty")).unwrap();
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "alone/empty"]), @r"
    error: `alone/empty`: found none of `train-images-idx3-ubyte`, `data_batch_1.bin`, `train.bin`, `vimh_dataset_info.json` and `cifar100mh_dataset_info.json`

    hint: give the folder that holds these files, as `data.root=` where a run is to use it
    ");
    insta::assert_snapshot!(refusal(&sandbox, &["inspect", "digits", "--json", "no/found.json"]), @r"
    error: `--json no/found.json`: there is no folder `no`

    hint: make the folder first
    ");
}

/// Files of MNIST with `num` samples of zeros, which take no room on the disk.
fn sparse_idx(folder: &Path, num: u32) {
    std::fs::create_dir(folder).unwrap();
    for part in ["train", "t10k"] {
        for (name, magic, shape) in [("images-idx3", 0x803_u32, &[28, 28][..]), ("labels-idx1", 0x801, &[])] {
            let numbers = [magic, num].into_iter().chain(shape.iter().copied());
            let header: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
            let path = folder.join(format!("{part}-{name}-ubyte"));
            std::fs::write(&path, &header).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let samples = u64::from(num) * shape.iter().map(|&side| u64::from(side)).product::<u64>();
            file.set_len(header.len() as u64 + samples).unwrap();
        }
    }
}

#[test]
fn a_set_of_a_gigabyte_is_opened_by_its_header_and_its_ends() {
    let sandbox = Sandbox::new();
    let folder = sandbox.join("big");
    sparse_idx(&folder, 1_300_000);
    let words = ["bench", "open", "big", "--rounds", "3", "--json", "figures.json"];
    sandbox.dtrain(words).finish().succeeded();
    let figures: Value = serde_json::from_slice(&bytes(sandbox.join("figures.json"))).unwrap();
    assert_eq!((&figures["format"], &figures["samples"]), (&json!("IDX"), &json!(2_600_000)));
    assert!(figures["file_bytes"].as_u64().unwrap() > 2_000_000_000);
    let memory = figures["memory_bytes"].as_u64().unwrap();
    assert!(memory < 20_000_000, "{memory} bytes for two headers and four samples");

    // The last label of the training part.
    use std::os::unix::fs::FileExt;
    let labels = std::fs::File::options().write(true).open(folder.join("train-labels-idx1-ubyte")).unwrap();
    labels.write_all_at(&[12], 8 + 1_299_999).unwrap();
    let refused = sandbox.dtrain(["bench", "open", "big"]).finish().expect(2);
    refused.says("train-labels-idx1-ubyte").says("sample 1299999").says("12");
}
