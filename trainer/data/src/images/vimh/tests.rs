use std::path::{Path, PathBuf};
use std::process::Command;

use dtrain_test_skip::skipped;
use serde_json::{Map, json};

use super::super::shape::ImageShape;
use super::*;

/// Samples in memory.
struct Made {
    /// Label bytes of each sample.
    labels: Vec<Vec<u8>>,
}

impl Made {
    fn pixel(&self, sample: usize, at: usize) -> u8 {
        (sample * 31 + at * 7) as u8
    }
}

impl Samples for Made {
    fn num_samples(&self) -> usize {
        self.labels.len()
    }

    fn sample(&self, index: usize, pixels: &mut [u8], labels: &mut [u8]) -> Result<(), FormatError> {
        pixels.iter_mut().enumerate().for_each(|(at, pixel)| *pixel = self.pixel(index, at));
        labels.copy_from_slice(&self.labels[index]);
        Ok(())
    }

    fn scale(&self, index: usize) -> [f32; 2] {
        [-60.0 - index as f32, 3.5]
    }
}

fn mapping(json: serde_json::Value) -> Mapping {
    serde_json::from_value(json).unwrap()
}

fn parameter(name: &str, json: serde_json::Value) -> Parameter {
    Parameter { name: name.into(), mapping: mapping(json) }
}

fn meta(shape: ImageShape) -> SetMeta {
    SetMeta {
        shape,
        heads: vec![
            parameter("velocity", json!({"min": 0.0, "max": 127.0, "step": 1.0})),
            parameter("decay", json!({"min": -2.0, "max": 0.3, "step": 0.1})),
        ],
        fixed: vec![parameter("note", json!({"min": 43.35, "max": 43.35, "step": 0.0}))],
        further: Map::new(),
    }
}

const SHAPE: ImageShape = ImageShape { channels: 3, height: 2, width: 4 };

fn made(num_samples: usize) -> Made {
    let labels = (0..num_samples).map(|i| vec![(i * 5) as u8, 255 - (i * 3) as u8]).collect();
    Made { labels }
}

/// A set of `num` training samples and three test samples in a folder of this name.
fn written(name: &str, num: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(name);
    fs_err::create_dir(&folder).unwrap();
    write_set(&folder, name, &meta(SHAPE), &made(num), &made(3)).unwrap();
    (dir, folder)
}

fn opened(folder: &Path, form: Form) -> Result<ImageSet, FormatError> {
    open_split(folder, Split::Train, form).map(Option::unwrap)
}

fn message(folder: &Path, form: Form) -> String {
    opened(folder, form).unwrap_err().to_string()
}

/// Changes the metadata.
fn edit_info(folder: &Path, edit: impl FnOnce(&mut Map<String, serde_json::Value>)) {
    let path = folder.join(INFO_FILE);
    let mut info: Map<_, _> = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    edit(&mut info);
    fs_err::write(&path, serde_json::to_vec(&info).unwrap()).unwrap();
}

#[test]
fn both_forms_hold_what_was_written() {
    // More than a batch of a thousand rows and more than a frame of 64 KiB.
    for num in [1, 2, 1000, 1001, 5000] {
        let (_dir, folder) = written("vimh-2x4x3_8000Hz_1p0s_9dss_simple_2p", num);
        for form in [Form::Any, Form::Pickle, Form::Binary] {
            let set = opened(&folder, form).unwrap();
            assert_eq!((set.num_samples(), set.shape(), set.notes().len()), (num, SHAPE, 0));
            let lines: Vec<String> = set.heads().iter().map(|head| head.to_string()).collect();
            assert!(lines[0].starts_with("velocity: 128 classes from `min`, `max` and `step`"), "{lines:?}");
            let (made, mut pixels, mut bytes, mut classes) = (made(num), [0; 24], [0; 2], [0; 2]);
            for index in [0, num / 2, num - 1] {
                set.pixels(index, &mut pixels).unwrap();
                set.label_bytes(index, &mut bytes).unwrap();
                set.labels(index, &mut classes).unwrap();
                assert!((0..24).all(|at| pixels[at] == made.pixel(index, at)));
                assert_eq!(bytes.to_vec(), made.labels[index]);
                assert_eq!(classes[0], (f64::from(bytes[0]) / 255.0 * 127.0).round_ties_even() as u32);
            }
            set.check_all().unwrap();
        }
        assert_eq!(open_split(&folder, Split::Test, Form::Any).unwrap().unwrap().num_samples(), 3);
    }
}

#[test]
fn the_older_binary_header_is_recognized() {
    let (_dir, folder) = written("old", 5);
    let new = fs_err::read(folder.join("train")).unwrap();
    let record = new.len() / 5;
    let old: Vec<u8> = new.chunks(record).flat_map(|record| [&record[..6], &record[14..]].concat()).collect();
    fs_err::write(folder.join("train"), old).unwrap();
    for metadata_bytes in [json!(14), json!(6), json!(3), json!(null)] {
        edit_info(&folder, |info| info["label_encoding"]["metadata_bytes"] = metadata_bytes);
        let set = opened(&folder, Form::Binary).unwrap();
        let (mut pixels, mut labels) = ([0; 24], [0; 2]);
        set.pixels(4, &mut pixels).unwrap();
        set.label_bytes(4, &mut labels).unwrap();
        assert_eq!(
            (set.num_samples(), pixels[1], labels.to_vec()),
            (5, made(5).pixel(4, 1), made(5).labels[4].clone())
        );
    }
}

#[test]
fn disagreement_on_the_shape_names_all_three_sources() {
    let (dir, folder) = written("vimh-2x4x3_a", 4);
    let other = dir.path().join("vimh-2x5_a");
    fs_err::rename(&folder, &other).unwrap();
    let says = |form, file: &str| {
        let text = message(&other, form);
        let expected =
            format!("the folder's name says 2x5, vimh_dataset_info.json says 2x4x3, {file} says 2x4x3");
        assert!(text.ends_with(&expected), "{text}");
    };
    says(Form::Pickle, "train_batch");
    says(Form::Binary, "train");
    let plain = dir.path().join("plain");
    fs_err::rename(&other, &plain).unwrap();
    opened(&plain, Form::Pickle).unwrap();
    edit_info(&plain, |info| {
        info.insert("channels".into(), json!(1));
        info.remove("image_size");
    });
    let text = message(&plain, Form::Binary);
    assert!(
        text.contains("name says nothing, vimh_dataset_info.json says 2x4x1, train says 2x4x3"),
        "{text}"
    );
    let error = opened(&plain, Form::Binary).unwrap_err();
    assert!(error.hint().unwrap().contains("rename the folder or fix the metadata"));
}

#[test]
fn a_sample_that_differs_is_named_when_it_is_read() {
    let (_dir, folder) = written("set", 9);
    let good = fs_err::read(folder.join("train")).unwrap();
    let record = good.len() / 9;
    assert_eq!(record, 14 + 1 + 4 + 24);
    // Sample 5: the number of heads, the id of a head, the height.
    for (at, value, found) in [
        (14, 1, "2x4x3 with 1 heads of ids [0]"),
        (17, 7, "2x4x3 with 2 heads of ids [0, 7]"),
        (0, 3, "3x4x3 with 2 heads of ids [0, 1]"),
    ] {
        let mut bad = good.clone();
        bad[5 * record + at] = value;
        fs_err::write(folder.join("train"), bad).unwrap();
        let set = opened(&folder, Form::Binary).unwrap();
        let expected = format!(
            "sample 5 at byte {} differs from sample 0: expected 2x4x3 with 2 heads of ids [0, 1], found {found}",
            5 * record
        );
        let text = set.pixels(5, &mut [0; 24]).unwrap_err().to_string();
        assert!(text.ends_with(&expected), "{text}");
        assert_eq!(set.check_all().unwrap_err().to_string(), text);
        set.pixels(4, &mut [0; 24]).unwrap();
    }
    fs_err::write(folder.join("train"), &good[..good.len() - 1]).unwrap();
    let text = message(&folder, Form::Binary);
    assert!(text.ends_with("truncated: expected 43 bytes for record 8 at byte 344, found 42"), "{text}");
    fs_err::write(folder.join("train"), b"").unwrap();
    assert!(message(&folder, Form::Binary).ends_with("the file has no samples"));
}

#[test]
fn labels_out_of_range_name_the_sample() {
    let (_dir, folder) = written("set", 9);
    edit_info(&folder, |info| {
        info["parameter_mappings"]["decay"] = json!({"type": "classification", "min": 0, "max": 233});
    });
    // Labels of `decay` are 255, 252, ..., 231.
    for form in [Form::Pickle, Form::Binary] {
        let text = message(&folder, form);
        assert!(text.contains("sample 0 at byte "), "{text}");
        assert!(text.ends_with("label 255 of head `decay` is out of range, it has 234 classes"), "{text}");
        let set = open_with(&folder, Split::Train, form, Strictness::Lenient).unwrap().unwrap();
        let mut classes = [0; 2];
        assert_eq!(set.labels(0, &mut classes).unwrap_err().to_string(), text, "read later");
        set.labels(8, &mut classes).unwrap();
    }
}

#[test]
fn pickled_rows_must_be_alike() {
    let (_dir, folder) = written("set", 9);
    let path = folder.join("train_batch");
    let good = fs_err::read(&path).unwrap();
    // Sample 2 has the labels [2, 0, 10, 1, 249].
    let row = b"(K\x02K\x00K\x0aK\x01K\xf9e";
    let at = good.windows(row.len()).position(|window| window == row).unwrap();
    for (offset, value, expected) in [
        (2, 1, format!("at byte {at}: expected 3 numbers for 1 heads as `vimh_labels` of sample 2, found 5")),
        (
            4,
            9,
            format!(
                "sample 2 at byte {at} differs from sample 0: expected 2 heads of ids [0, 1], found 2 of ids [9, 1]"
            ),
        ),
        (
            2,
            0,
            format!(
                "at byte {at}: expected the number of heads and their labels as `vimh_labels` of sample 2, found [0, 0, 10, 1, 249]"
            ),
        ),
    ] {
        let mut bad = good.clone();
        bad[at + offset] = value;
        fs_err::write(&path, bad).unwrap();
        let text = message(&folder, Form::Pickle);
        assert!(text.ends_with(&expected), "{text}\n{expected}");
    }
    let replaced = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        fs_err::write(&path, [&good[..at], to, &good[at + from.len()..]].concat()).unwrap();
        message(&folder, Form::Pickle)
    };
    let text = replaced(b"\x8c\x0aimage_size\x94K\x18", b"\x8c\x0aimage_size\x94K\x19");
    assert!(text.ends_with("key `image_size`: expected 24, as `data` has it, found 25"), "{text}");
    let text = replaced(b"vimh_labels", b"vimh_tables");
    assert!(text.ends_with("key `vimh_labels`: expected rows of labels, found no such key"), "{text}");
    let text = replaced(b"\x8c\x02u1", b"\x8c\x02i1");
    assert!(text.contains("key `data`: expected an array of `uint8`, found an array of |i1"), "{text}");
}

#[test]
fn notes_tell_what_only_warns() {
    let (_dir, folder) = written("set", 4);
    edit_info(&folder, |info| {
        info.remove("output_format");
        info.insert("train_samples".into(), json!(40));
    });
    let notes = opened(&folder, Form::Any).unwrap().notes().join("\n");
    assert!(notes.contains("one may be stale") && notes.contains("states 40 samples"), "{notes}");
    edit_info(&folder, |info| {
        info.insert("format".into(), json!("COCO"));
    });
    assert!(message(&folder, Form::Any).ends_with("key `format`: expected VIMH, found `COCO`"));
    fs_err::remove_file(folder.join(INFO_FILE)).unwrap();
    let set = opened(&folder, Form::Any).unwrap();
    assert_eq!((set.heads()[1].name.as_str(), set.heads()[1].num_classes), ("param_1", 256));
    assert!(open_split(&folder.join("no"), Split::Train, Form::Any).unwrap().is_none());
}

/// Writes what numpy reads, and reads what numpy writes. Runs where `python3` has numpy.
#[test]
fn numpy_reads_our_pickles_and_we_read_theirs() {
    let script = r#"
import pickle, struct, sys
import numpy as np
folder = sys.argv[1]
for split, n in (("train", 1234), ("test", 3)):
    with open(f"{folder}/{split}_batch", "rb") as f:
        raw = f.read()
    d = pickle.loads(raw)
    assert d["data"].shape == (n, 24) and d["data"].dtype == np.uint8, d["data"].shape
    assert (d["height"], d["width"], d["channels"], d["image_size"]) == (2, 4, 3, 24)
    assert d["scale_factors"].dtype == np.float32 and d["scale_factors"][1, 0] == -61.0
    assert len(d["vimh_labels"]) == n and d["vimh_labels"][1] == [2, 0, 5, 1, 252], d["vimh_labels"][1]
    assert all(d["data"][i, j] == (i * 31 + j * 7) % 256 for i in (0, n - 1) for j in range(24))
    # A record of the binary form: shape, scale, heads, pixels.
    with open(f"{folder}/{split}", "rb") as f:
        binary = f.read()
    size = 14 + 1 + 4 + 24
    assert len(binary) == n * size
    assert struct.unpack("<HHHffB", binary[size:size + 15]) == (2, 4, 3, -61.0, 3.5, 2)
    assert np.array_equal(np.frombuffer(binary, np.uint8).reshape(n, size)[:, 19:], d["data"])
    for protocol in (3, 4):
        with open(f"{folder}/{split}_batch", "wb") as f:
            pickle.dump({k: v for k, v in d.items()}, f, protocol=protocol)
    # The same instructions as Python's own; numpy 1 has another name for a module.
    if int(np.__version__.split(".")[0]) >= 2:
        assert pickle.dumps(d, protocol=4) == raw
"#;
    let python = std::env::var("DTRAIN_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let imported = Command::new(&python).args(["-c", "import numpy"]).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        return skipped(&format!("`{python}` has no numpy (scripts/test.sh --python installs it)"));
    }
    let (_dir, folder) = written("set", 1234);
    let output = Command::new(&python).args(["-c", script]).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let set = opened(&folder, Form::Pickle).unwrap();
    let mut labels = [0; 2];
    set.label_bytes(1, &mut labels).unwrap();
    assert_eq!((set.num_samples(), labels), (1234, [5, 252]));
}
