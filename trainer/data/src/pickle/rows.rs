//! Lists of small numbers, such as a row of labels `[2, 0, 17, 1, 255]`. A set has millions of them, so they are
//! recognized as a whole and stay in the file: `(` `K` number ... `e`, repeated for every thousand numbers.

const MARK: u8 = b'(';
const BININT1: u8 = b'K';
const APPENDS: u8 = b'e';

/// Length in bytes of the instructions at the beginning of `code` that fill an empty list with small numbers only;
/// nothing where they do something else, or nothing.
pub fn scan(code: &[u8]) -> Option<u32> {
    let mut end = 0;
    while let Some(len) = scan_batch(code.get(end..)?) {
        end += len;
    }
    u32::try_from(end).ok().filter(|&end| end > 0)
}

fn scan_batch(code: &[u8]) -> Option<usize> {
    let (&mark, numbers) = code.split_first()?;
    if mark != MARK {
        return None;
    }
    let count = numbers.chunks_exact(2).take_while(|pair| pair[0] == BININT1).count();
    (numbers.get(2 * count) == Some(&APPENDS)).then_some(2 * count + 2)
}

/// Appends the numbers of instructions that [`scan`] accepted.
pub fn extend(mut code: &[u8], out: &mut Vec<u8>) {
    while let Some((&opcode, rest)) = code.split_first() {
        code = match (opcode, rest.split_first()) {
            (BININT1, Some((&number, rest))) => {
                out.push(number);
                rest
            }
            _ => rest,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_recognized_whole_or_not_at_all() {
        let numbers = |code: &[u8]| {
            let len = scan(code)? as usize;
            let mut out = Vec::new();
            extend(&code[..len], &mut out);
            Some((len, out))
        };
        assert_eq!(numbers(b"(K\x02K(KeeK\x05"), Some((8, vec![2, b'(', b'e'])));
        assert_eq!(numbers(b"(K\x01e(K\x02e(K\x03t"), Some((8, vec![1, 2])));
        assert_eq!(numbers(b"(e."), Some((2, vec![])));
        for code in [&b""[..], b"(", b"(K", b"(K\x01", b"(K\x01M\x00\x01e", b"e", b"K\x01e", b"(K\x01t"] {
            assert_eq!(numbers(code), None);
        }
    }
}
