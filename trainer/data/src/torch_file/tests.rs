use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::dtype::Dtype;

/// Files of `fixtures/make_torch.py`.
const FILES: [&str; 13] = [
    "types.pth",
    "types_legacy.pth",
    "layouts.pth",
    "legacy.pth",
    "protocol_4.pth",
    "legacy_protocol_4.pth",
    "protocol_5.pth",
    "lightning.ckpt",
    "lightning_legacy.ckpt",
    "parameters.pth",
    "single.pth",
    "malicious.pth",
    "module.pth",
];

#[derive(Deserialize)]
struct Expected {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    bytes: String,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torch").join(name)
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn parse(bytes: &[u8]) -> Result<TorchFile, TorchFileError> {
    TorchFile::parse(Path::new("w.pth"), bytes.to_vec())
}

fn message(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A legacy file: what was saved, the keys, and the storages.
fn legacy(saved: &[u8], rest: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [&head[..], b"\x80\x02", saved, b".", rest].concat()
}

/// A tensor of 32-bit floats in storage `k` of `count` elements, and that storage.
fn one_tensor(count: u8, first: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let text = |text: &[u8]| [b"U", &[text.len() as u8][..], text].concat();
    let saved = [
        b"}".to_vec(),
        text(b"w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text(b"storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text(b"k"),
        text(b"cpu"),
        vec![b'K', count],
        b"NtQ".to_vec(),
        first.to_vec(),
        shape.to_vec(),
        strides.to_vec(),
        b"\x89}tRs".to_vec(),
    ]
    .concat();
    let data: Vec<u8> = (0..4 * u32::from(count)).map(|byte| byte as u8).collect();
    let keys = [b"\x80\x02]", &text(b"k")[..], b"a."].concat();
    legacy(&saved, &[&keys[..], &u64::from(count).to_le_bytes(), &data].concat())
}

#[test]
fn tensors_are_those_that_pytorch_saved() {
    let expected: BTreeMap<String, Vec<Expected>> =
        serde_json::from_slice(&fixture("expected.json")).unwrap();
    assert_eq!(expected.len(), FILES.len());
    for (name, expected) in expected {
        let file = TorchFile::read(&path(&name)).unwrap();
        let tensors = file.tensors().unwrap();
        assert_eq!(tensors.len(), expected.len(), "{name}");
        for ((found, tensor), expected) in tensors.into_iter().zip(expected) {
            let name = format!("{name}: {found}");
            assert_eq!(found, expected.name, "{name}");
            assert_eq!(tensor.dtype().name(), expected.dtype, "{name}");
            assert_eq!(tensor.shape(), expected.shape, "{name}");
            assert_eq!(hex(&tensor.bytes().unwrap()), expected.bytes, "{name}");
        }
    }
}

#[test]
fn what_lies_in_one_piece_is_not_copied() {
    let file = TorchFile::read(&path("layouts.pth")).unwrap();
    let copied = |tensor: &StoredTensor| matches!(tensor.bytes().unwrap(), std::borrow::Cow::Owned(_));
    let copied: Vec<String> =
        file.tensors().unwrap().into_iter().filter(|(_, t)| copied(t)).map(|(name, _)| name).collect();
    assert_eq!(copied, ["transposed", "part", "every_second", "channels_last", "repeated"]);
}

#[test]
fn plain_values_beside_tensors_are_read_and_objects_only_named() {
    for name in ["lightning.ckpt", "lightning_legacy.ckpt", "protocol_5.pth"] {
        let file = TorchFile::read(&path(name)).unwrap();
        let tree = file.tree().unwrap();
        assert!(matches!(tree.get("epoch"), Some(Node::Int(3))), "{name}");
        assert!(matches!(tree.get("global_step"), Some(Node::Int(1_099_511_627_776))), "{name}");
        assert!(matches!(tree.get("pytorch-lightning_version"), Some(Node::Text("2.5.0"))), "{name}");
        let hyper = tree.get("hyper_parameters").unwrap();
        assert!(matches!(hyper.get("half"), Some(Node::Float(0.5))), "{name}");
        let of = |key: &str| match hyper.get(key) {
            Some(Node::Opaque(class)) => class.clone(),
            other => panic!("{name}: {key}: {other:?}"),
        };
        assert_eq!(of("args"), "argparse.Namespace", "{name}");
        assert!(of("path").starts_with("pathlib."), "{name}");
        assert!(of("array").starts_with("numpy._core."), "{name}");
        assert!(["__builtin__.set", "builtins.set", ""].contains(&of("set").as_str()), "{name}");
        assert_eq!(of("huge"), "", "{name}");
        assert!(file.passed_over().iter().any(|name| name == "argparse.Namespace"), "{name}");
    }
    let parameters = TorchFile::read(&path("parameters.pth")).unwrap();
    let tree = parameters.tree().unwrap();
    let Some(Node::List(items)) = tree.get("nested") else { panic!("{tree:?}") };
    let Some(Node::List(pair)) = items[0].get("a") else { panic!("{items:?}") };
    assert!(matches!(pair[..], [Node::Tensor(_), Node::Int(1)]));
}

#[test]
fn code_in_a_file_is_a_name_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = TorchFile::read(&path("malicious.pth")).unwrap();
    let tree = file.tree().unwrap();
    let Some(Node::Opaque(name)) = tree.get("run") else { panic!("{tree:?}") };
    assert_eq!(name, "posix.system");
    assert_eq!(file.passed_over(), ["posix.system"]);
    assert_eq!(file.tensors().unwrap().len(), 1);
    for code in [&b"cbuiltins\neval\n"[..], b"cos\nsystem\n", b"c__builtin__\nexec\n"] {
        let marker = folder.path().join("ran");
        let command = format!("touch {}", marker.display());
        let text = [b"U", &[command.len() as u8][..], command.as_bytes()].concat();
        let file = legacy(&[b"}U\x01k", code, &text, b"\x85Rs"].concat(), b"\x80\x02].");
        parse(&file).unwrap();
        assert!(!marker.exists());
    }
    assert!(!path("code-has-run").exists() && !Path::new("code-has-run").exists());
    let module = TorchFile::read(&path("module.pth")).unwrap();
    assert!(module.tensors().unwrap().is_empty(), "a module's tensors are the state of an object");
    assert_eq!(module.passed_over()[0], "torch.nn.modules.container.Sequential");
}

#[test]
fn a_file_that_is_cut_anywhere_is_an_error() {
    for name in FILES {
        let bytes = fixture(name);
        for len in 0..bytes.len() {
            let error = parse(&bytes[..len]).err();
            assert!(error.is_some(), "{name} of {len} bytes was accepted");
        }
    }
}

#[test]
fn tensors_beyond_their_storage_are_refused_by_name() {
    let good = one_tensor(6, b"K\0", b"K\x02K\x03\x86", b"K\x03K\x01\x86");
    let file = parse(&good).unwrap();
    let (name, tensor) = file.tensors().unwrap().remove(0);
    assert_eq!((name.as_str(), tensor.shape(), tensor.dtype()), ("w", &[2, 3][..], Dtype::F32));
    assert_eq!(tensor.bytes().unwrap(), (0..24).collect::<Vec<u8>>());
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    type Case = (&'static [u8], Vec<u8>, Vec<u8>, &'static str);
    let cases: [Case; 6] = [
        (
            b"K\x01",
            b"K\x02K\x03\x86".to_vec(),
            b"K\x03K\x01\x86".to_vec(),
            "from element 1 on reaches beyond the 6",
        ),
        (b"K\0", b"K\x07\x85".to_vec(), b"K\x01\x85".to_vec(), "[7] with strides [1]"),
        (b"K\0", b"K\x02\x85".to_vec(), b"K\x06\x85".to_vec(), "[2] with strides [6]"),
        (
            b"K\0",
            [&huge[..], b"\x85"].concat(),
            b"K\0\x85".to_vec(),
            "[9223372036854775807] is larger than the file",
        ),
        (b"K\0", b"K\xff\x85".to_vec(), b"K\0\x85".to_vec(), "[255] is larger than the file"),
        (b"K\0", b"K\x02\x85".to_vec(), [&huge[..], b"\x85"].concat(), "reaches beyond"),
    ];
    for (first, shape, strides, expected) in cases {
        let text = message(&one_tensor(6, first, &shape, &strides));
        assert!(text.starts_with("`w.pth`: tensor `w`: ") && text.contains(expected), "{text}");
    }
    let text = message(&one_tensor(6, b"K\0", b"K\x02\x85", b"K\x02K\x01\x86"));
    assert!(
        text.contains(
            "expected the arguments of a pickled tensor, found a storage of PyTorch, 0, a tuple of 1"
        ),
        "{text}"
    );
    let text = message(&one_tensor(6, b"J\xff\xff\xff\xff", b"K\x02\x85", b"K\x01\x85"));
    assert!(text.contains("expected the arguments of a pickled tensor"), "{text}");
    let lying = [&one_tensor(6, b"K\0", b"K\x02\x85", b"K\x01\x85")[..], b"more"].concat();
    assert!(message(&lying).contains("expected the end of the file, found 4 bytes"), "{}", message(&lying));
}

#[test]
fn other_files_are_called_by_their_names() {
    let foreign =
        "`w.pth`: at byte 0: expected a zip archive (`PK`) or a pickle (0x80), as `torch.save` writes them";
    assert_eq!(message(b"hello"), foreign);
    assert_eq!(message(b""), foreign);
    let plain = message(b"\x80\x04}.");
    assert_eq!(
        plain,
        "`w.pth`: at byte 0: expected the magic number of `torch.save`, found a dictionary of 0"
    );
    let archive = |entries: &[(&str, &[u8])]| {
        let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
        for (name, bytes) in entries {
            let (mut entry, config) = archive.new_file(*name).start().unwrap();
            let mut writer = config.wrap(&mut entry);
            std::io::Write::write_all(&mut writer, bytes).unwrap();
            let (_, descriptor) = writer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
        archive.finish().unwrap()
    };
    assert!(message(&archive(&[("word/document.xml", b"x")])).contains("no entry `data.pkl` in a folder"));
    assert!(message(&archive(&[("data.pkl", b"\x80\x02}.")])).contains("no entry `data.pkl` in a folder"));
    let script = archive(&[("a/data.pkl", b"\x80\x02}."), ("a/code/x.py", b"")]);
    assert!(message(&script).contains("a TorchScript archive"));
    assert!(parse(&script).unwrap_err().hint().unwrap().contains("torch.save(model.state_dict(), "));
    assert!(message(&archive(&[("a/data.pkl", b"no")])).contains("expected a pickle of protocol 2 to 5"));
    parse(&archive(&[("a/data.pkl", b"\x80\x02}.")])).unwrap();
}

#[test]
fn bytes_of_the_other_order_are_turned() {
    let tensors = [
        TensorToWrite { name: "a", dtype: Dtype::I16, shape: &[2] },
        TensorToWrite { name: "b", dtype: Dtype::U8, shape: &[2] },
    ];
    let mut bytes = Vec::new();
    let data: [&[u8]; 2] = [&[1, 2, 3, 4], &[5, 6]];
    write(&mut bytes, &tensors, |index, w| w.write_all(data[index])).unwrap();
    let at = bytes.windows(6).position(|window| window == b"little").unwrap();
    bytes[at..at + 6].copy_from_slice(b"big   ");
    let file = parse(&bytes).unwrap();
    assert_eq!(
        file.tensors().unwrap()[0].1.bytes().unwrap().as_ref(),
        [1, 2, 3, 4],
        "six letters are not `big`"
    );
    let swapped = TorchFile {
        unpickled: Unpickled { is_big_endian: true, ..file.unpickled },
        path: file.path,
        bytes: file.bytes,
    };
    let tensors = swapped.tensors().unwrap();
    assert_eq!(tensors[0].1.bytes().unwrap().as_ref(), [2, 1, 4, 3]);
    assert_eq!(tensors[1].1.bytes().unwrap().as_ref(), [5, 6]);
}

#[test]
fn values_within_themselves_and_in_too_great_numbers_are_refused() {
    let within = legacy(b"}q\x00U\x01kh\x00s", b"\x80\x02].");
    assert!(message(&within).contains("deeper than 64, or within themselves"), "{}", message(&within));
    // Each list holds the one before ten times.
    let mut laughs = b"]".to_vec();
    for level in 0..20_u8 {
        laughs.extend([b'q', level, b'0', b']', b'(']);
        laughs.extend([b'h', level].repeat(10));
        laughs.push(b'e');
    }
    let text = message(&legacy(&laughs, b"\x80\x02]."));
    assert!(text.contains("it describes more values than"), "{text}");
    let flood = |code: &[u8]| message(&legacy(&code.repeat(100_000), b"\x80\x02]."));
    assert!(flood(b"N").contains("more values at once than 65536"));
    assert!(flood(b"(").contains("more values at once than 65536"));
    assert!(flood(b"]0").contains("more lists and tuples than"), "{}", flood(b"]0"));
    let count = [b"\x80\x02]U\x01ka.".as_slice(), &u64::MAX.to_le_bytes()].concat();
    let whole = one_tensor(1, b"K\0", b"K\x01\x85", b"K\x01\x85");
    let cut = whole.len() - 4 - 8 - b"\x80\x02]U\x01ka.".len();
    let text = message(&[&whole[..cut], &count].concat());
    assert!(text.contains("truncated: expected 18446744073709551615 bytes for a storage"), "{text}");
}

#[test]
fn a_tensor_of_other_than_its_bytes_is_not_written() {
    let tensors = [TensorToWrite { name: "a", dtype: Dtype::F32, shape: &[2] }];
    let short = write(&mut Vec::new(), &tensors, |_, w| w.write_all(&[0; 7]));
    assert_eq!(short.unwrap_err().to_string(), "tensor `a`: F32 [2] was written with 7 bytes");
    let endless = [TensorToWrite { name: "a", dtype: Dtype::U8, shape: &[u64::MAX, 2] }];
    let error = write(&mut Vec::new(), &endless, |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("is larger than any file"), "{error}");
}

fn to_write() -> impl Strategy<Value = Vec<(String, Dtype, Vec<u64>)>> {
    let one = (0..Dtype::ALL.len(), prop::collection::vec(0..4_u64, 0..4));
    prop::collection::btree_map("[a-z]{1,6}(_[a-zé\"]{1,4})?", one, 0..6).prop_map(|map| {
        map.into_iter().map(|(name, (dtype, shape))| (name, Dtype::ALL[dtype].0, shape)).collect()
    })
}

fn written(tensors: &[(String, Dtype, Vec<u64>)]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let all: Vec<TensorToWrite> =
        tensors.iter().map(|(name, dtype, shape)| TensorToWrite { name, dtype: *dtype, shape }).collect();
    let contents: Vec<Vec<u8>> = all
        .iter()
        .map(|t| (0..t.shape.iter().product::<u64>() * t.dtype.num_bytes()).map(|i| i as u8).collect())
        .collect();
    let mut bytes = Vec::new();
    write(&mut bytes, &all, |index, writer| writer.write_all(&contents[index])).unwrap();
    (bytes, contents)
}

proptest! {
    #[test]
    fn what_is_written_comes_back_aligned(tensors in to_write()) {
        let (bytes, contents) = written(&tensors);
        let file = parse(&bytes).unwrap();
        let found = file.tensors().unwrap();
        prop_assert_eq!(found.len(), tensors.len());
        for ((name, tensor), ((expected, dtype, shape), contents)) in found.iter().zip(tensors.iter().zip(&contents)) {
            prop_assert_eq!(name, expected);
            prop_assert_eq!(tensor.dtype(), *dtype);
            prop_assert_eq!(tensor.shape(), shape.as_slice());
            let bytes = tensor.bytes().unwrap();
            prop_assert_eq!(bytes.as_ref(), contents.as_slice());
        }
        for range in file.unpickled.storages.values() {
            prop_assert_eq!(range.start % 64, 0);
        }
    }

    #[test]
    fn damaged_files_are_errors_or_consistent(
        which in 0..FILES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = fixture(FILES[which]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz::parse(&bytes);
    }
}
