use std::path::Path;

use super::*;
use crate::pickle::PickleWriter;

fn parse(bytes: &[u8]) -> Result<Pickle, FormatProblem> {
    Pickle::parse(Bytes::owned(Path::new("p"), bytes.to_vec()))
}

fn message(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

/// `{'k': VALUE}` with the instructions of the value.
fn with_value(value: &[u8]) -> Vec<u8> {
    [b"\x80\x04}\x8c\x01k", value, b"s."].concat()
}

fn value(code: &[u8]) -> (Pickle, Value) {
    let pickle = parse(&with_value(code)).unwrap();
    let value = pickle.get("k").unwrap();
    (pickle, value)
}

#[test]
fn numbers_of_every_width() {
    let cases: [(&[u8], i64); 8] = [
        (b"K\xff", 255),
        (b"M\x00\x01", 256),
        (b"J\xff\xff\xff\xff", -1),
        (b"\x8a\x00", 0),
        (b"\x8a\x01\xff", -1),
        (b"\x8a\x05\x00\x00\x00\x00\x01", 1 << 32),
        (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", i64::MAX),
        (b"\x8a\x02\xff\x00", 255),
    ];
    for (code, expected) in cases {
        assert_eq!(value(code).1, Value::Int(expected), "{code:?}");
    }
    assert_eq!(value(b"G\x3f\xf8\0\0\0\0\0\0").1, Value::Float(1.5));
}

#[test]
fn rows_stay_in_the_file_whatever_their_reference() {
    for memo in [&b""[..], b"\x94", b"q\x00", b"r\0\0\0\0"] {
        let (pickle, row) = value(&[b"]", memo, b"(K\x01K\x02e(K\x03e"].concat());
        assert!(matches!(row, Value::Row { .. }), "{memo:?}");
        let mut out = Vec::new();
        pickle.extend_bytes(row, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3]);
    }
    let (pickle, list) = value(b"](K\x01M\x02\x00K\x03e");
    let mut out = Vec::new();
    pickle.extend_bytes(list, &mut out).unwrap();
    assert_eq!(out, [1, 2, 3]);
    let (pickle, list) = value(b"](K\x01M\x00\x01e");
    assert!(pickle.extend_bytes(list, &mut out).is_none());
}

#[test]
fn only_three_names_exist_and_nothing_runs() {
    let asks = "the pickle asks for `posix.system`; only";
    assert!(message(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.").starts_with("at byte 17: "));
    assert!(message(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.").contains(asks));
    assert!(message(b"\x80\x02cposix\nsystem\n(X\x02\x00\x00\x00lstR.").contains(asks));
    assert!(
        message(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.")
            .contains("the arguments of a pickled array")
    );
    for opcode in [b'i', b'o', 0x81, 0x92, b'P', b'Q', 0x82, b'I', b'S', 0x96, 0x97] {
        assert_eq!(
            message(&[0x80, 4, opcode]),
            format!("at byte 2: the pickle uses opcode {opcode:#04x}, which no data set of this kind needs")
        );
    }
}

#[test]
fn lengths_beyond_the_file_are_refused() {
    let cases: [(&[u8], &str); 6] = [
        (b"\x80\x04B\xff\xff\xff\xffx", "truncated: expected 4294967295 bytes for bytes at byte 7, found 1"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "truncated: expected 18446744073709551615 bytes"),
        (b"\x80\x04\x95\x05\0\0\0\0\0\0\0}.", "truncated: expected 5 bytes for a frame at byte 11, found 2"),
        (b"\x80\x04}", "truncated: expected 1 bytes for an instruction at byte 3, found 0"),
        (b"\x80\x05}.", "at byte 0: expected a pickle of protocol 4 or below, found 5"),
        (b"", "at byte 0: expected a pickle of protocol 2 to 4, which begins with 0x80, found nothing"),
    ];
    for (bytes, expected) in cases {
        assert!(message(bytes).starts_with(expected), "{}", message(bytes));
    }
}

#[test]
fn stacks_and_references_have_their_rules() {
    assert!(message(b"\x80\x04.").contains("expected 1 values, found 0 on the stack"));
    assert!(message(b"\x80\x04K\x01(0").contains("expected 1 values"));
    assert!(message(b"\x80\x04e").contains("expected a mark, found none"));
    assert!(message(b"\x80\x04h\x05").contains("expected one of 0 references, found 5"));
    assert!(message(b"\x80\x02Nq\x01").contains("expected reference 0 or less, found 1"));
    assert!(message(b"\x80\x04}(K\x01u").contains("expected keys with values, found 1 values"));
    assert!(message(b"\x80\x04](K\x01eNa").contains("expected a list that is not complete"));
    assert!(message(b"\x80\x04K\x01.").contains("expected a dictionary, found 1"));
    assert!(message(b"\x80\x04]]]tR").contains("expected a mark"));
}

#[test]
fn small_files_build_small_things() {
    let flood = |code: &[u8]| message(&[b"\x80\x04N", &code.repeat(100_000)[..]].concat());
    assert!(flood(b"N").contains("more values at once than 65536"), "{}", flood(b"N"));
    assert!(flood(b"(").contains("more values at once than 65536"));
    assert!(flood(b"\x94").contains("more references than 26024"));
    assert!(flood(b"]0").contains("more lists and tuples than 4149"));
    // Lists of lists of lists cost nothing here, since nothing is recursive.
    let mut deep = b"\x80\x04".to_vec();
    deep.extend(b"]".repeat(900));
    deep.extend(b"a".repeat(899));
    deep.push(b'.');
    assert!(message(&deep).contains("expected a dictionary, found a list of 1"));
    assert!(parse(b"\x80\x04}\x94\x8c\x01kh\x00s.").is_ok(), "a dictionary may hold itself");
}

#[test]
fn arrays_have_as_many_bytes_as_their_shape_says() {
    let written = |shape: [usize; 2], dtype: &str, num_bytes: usize| {
        let mut writer = PickleWriter::new(Vec::new()).unwrap();
        writer
            .dict(&["k"], |w, _| w.array(shape, dtype, num_bytes, |out| out.write_all(&vec![7; num_bytes])))
            .unwrap();
        writer.finish().unwrap()
    };
    for num_bytes in [12, 70_000] {
        let pickle = parse(&written([2, num_bytes / 2], "|u1", num_bytes)).unwrap();
        let array = pickle.array(pickle.get("k").unwrap()).unwrap();
        assert_eq!((array.shape.clone(), array.dtype.as_str()), (vec![2, num_bytes as u64 / 2], "|u1"));
        let contents = pickle.bytes().part(array.offset.unwrap(), num_bytes as u64, "x").unwrap();
        assert_eq!(contents, vec![7; num_bytes]);
    }
    let text = message(&written([2, 5], "|u1", 12));
    assert!(text.contains("expected 10 bytes for an array of |u1 with shape [2, 5], found 12"), "{text}");
    assert!(
        message(&written([usize::MAX / 2, 8], "<f8", 12))
            .contains("more than 2^64 bytes for an array of <f8")
    );
    assert!(message(&written([1, 1], "|O8", 8)).contains("a type of numbers such as `u1`"));
    assert!(message(&written([1, 1], "|V16", 8)).contains("a type of numbers such as `u1`, found `V16`"));
}
