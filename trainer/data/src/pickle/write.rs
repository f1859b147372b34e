//! Writes pickles of protocol 4, byte for byte as Python's own pickler does, so that nothing that reads those can tell
//! the difference: the same instructions, references and frames.

use std::io::{self, Write};

/// Frames are closed at this size, and bytes of this size stand outside of them.
const FRAME_TARGET: usize = 64 << 10;
/// Shorter frames have no header.
const FRAME_MIN: usize = 4;
/// Items that are handed over at once.
const BATCH: usize = 1000;

/// Writes one pickle. Every method writes one value, unless it says otherwise.
#[derive(Debug)]
pub struct PickleWriter<W> {
    out: W,
    frame: Vec<u8>,
    num_memo: u32,
    numpy: Option<NumpyMemo>,
}

/// References to what every array uses, from the first one.
#[derive(Debug, Clone, Copy)]
struct NumpyMemo {
    reconstruct: u32,
    ndarray: u32,
    letter: u32,
    dtype: u32,
}

impl<W: Write> PickleWriter<W> {
    /// Begins a pickle.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&[0x80, 4])?;
        Ok(Self { out, frame: Vec::with_capacity(FRAME_TARGET + BATCH), num_memo: 0, numpy: None })
    }

    /// Ends it.
    pub fn finish(mut self) -> io::Result<W> {
        self.frame.push(b'.');
        self.close_frame()?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> io::Result<u32> {
        self.boundary()?;
        match u8::try_from(text.len()) {
            Ok(len) => self.frame.extend([0x8c, len]),
            Err(_) => {
                let len = u32::try_from(text.len()).map_err(io::Error::other)?;
                self.frame.push(b'X');
                self.frame.extend(len.to_le_bytes());
            }
        }
        self.frame.extend(text.as_bytes());
        Ok(self.memoize())
    }

    /// A whole number.
    pub fn int(&mut self, number: i64) -> io::Result<()> {
        self.boundary()?;
        if let Ok(byte) = u8::try_from(number) {
            self.frame.extend([b'K', byte]);
        } else if let Ok(word) = u16::try_from(number) {
            self.frame.push(b'M');
            self.frame.extend(word.to_le_bytes());
        } else if let Ok(word) = i32::try_from(number) {
            self.frame.push(b'J');
            self.frame.extend(word.to_le_bytes());
        } else {
            // As few bytes as keep the sign.
            let bytes = number.to_le_bytes();
            let fits = |len: &usize| {
                let shift = 64 - 8 * *len as u32;
                (number << shift) >> shift == number
            };
            let len = (5..8).find(fits).unwrap_or(8);
            self.frame.extend([0x8a, len as u8]);
            self.frame.extend(bytes.iter().take(len));
        }
        Ok(())
    }

    /// A list of numbers from 0 to 255.
    pub fn row(&mut self, numbers: &[u8]) -> io::Result<()> {
        self.list(numbers.len(), |writer, i| writer.int(numbers.get(i).copied().unwrap_or_default().into()))
    }

    /// A list whose items `item` writes.
    pub fn list(
        &mut self,
        len: usize,
        mut item: impl FnMut(&mut Self, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        self.boundary()?;
        self.frame.push(b']');
        self.memoize();
        if len == 1 {
            item(self, 0)?;
            self.frame.push(b'a');
            return Ok(());
        }
        for begin in (0..len).step_by(BATCH) {
            self.frame.push(b'(');
            for i in begin..len.min(begin + BATCH) {
                item(self, i)?;
            }
            self.frame.push(b'e');
        }
        Ok(())
    }

    /// A dictionary of up to a thousand keys, whose values `value` writes.
    pub fn dict(
        &mut self,
        keys: &[&str],
        mut value: impl FnMut(&mut Self, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        self.boundary()?;
        self.frame.push(b'}');
        self.memoize();
        if keys.len() > 1 {
            self.frame.push(b'(');
        }
        for (i, key) in keys.iter().enumerate() {
            self.text(key)?;
            value(self, i)?;
        }
        match keys.len() {
            0 => {}
            1 => self.frame.push(b's'),
            _ => self.frame.push(b'u'),
        }
        Ok(())
    }

    /// An array of two dimensions as numpy 2 pickles it; `contents` writes its bytes. `dtype` is such as `|u1`.
    pub fn array(
        &mut self,
        shape: [usize; 2],
        dtype: &str,
        num_bytes: usize,
        contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let (order, code) = dtype.split_at_checked(1).ok_or_else(|| io::Error::other("a type of numpy"))?;
        self.boundary()?;
        // ndarray, (0,), b'b': an empty array, which the state below fills.
        let letter = match self.numpy {
            Some(memo) => {
                self.get(memo.reconstruct)?;
                self.get(memo.ndarray)?;
                self.int(0)?;
                self.tuple(0x85);
                self.get(memo.letter)?;
                None
            }
            None => {
                self.text("numpy._core.multiarray")?;
                self.text("_reconstruct")?;
                let reconstruct = self.stack_global();
                let numpy = self.text("numpy")?;
                self.text("ndarray")?;
                let ndarray = self.stack_global();
                self.int(0)?;
                self.tuple(0x85);
                let letter = self.bytes(1, |out| out.write_all(b"b"))?;
                Some((NumpyMemo { reconstruct, ndarray, letter, dtype: 0 }, numpy))
            }
        };
        self.tuple(0x87);
        self.tuple(b'R');
        self.frame.push(b'(');
        self.int(1)?;
        for size in shape {
            self.int(i64::try_from(size).map_err(io::Error::other)?)?;
        }
        self.tuple(0x86);
        match (letter, self.numpy) {
            (Some((memo, numpy)), _) => {
                self.get(numpy)?;
                self.text("dtype")?;
                let dtype = self.stack_global();
                self.numpy = Some(NumpyMemo { dtype, ..memo });
            }
            (None, Some(memo)) => self.get(memo.dtype)?,
            (None, None) => {}
        }
        self.dtype(order, code)?;
        self.boundary()?;
        self.frame.push(0x89);
        self.bytes(num_bytes, contents)?;
        self.tuple(b't');
        self.frame.push(b'b');
        Ok(())
    }

    /// Arguments and state of a type, whose name is on the stack.
    fn dtype(&mut self, order: &str, code: &str) -> io::Result<()> {
        self.text(code)?;
        self.frame.extend([0x89, 0x88]);
        self.tuple(0x87);
        self.tuple(b'R');
        self.frame.push(b'(');
        self.int(3)?;
        self.text(order)?;
        self.frame.extend(b"NNN");
        self.int(-1)?;
        self.int(-1)?;
        self.int(0)?;
        self.tuple(b't');
        self.frame.push(b'b');
        Ok(())
    }

    fn bytes(
        &mut self,
        num_bytes: usize,
        contents: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<u32> {
        self.boundary()?;
        let header = match (u8::try_from(num_bytes), u32::try_from(num_bytes)) {
            (Ok(len), _) => vec![b'C', len],
            (_, Ok(len)) => [&b"B"[..], &len.to_le_bytes()].concat(),
            _ => [&[0x8e][..], &(num_bytes as u64).to_le_bytes()].concat(),
        };
        if num_bytes < FRAME_TARGET {
            self.frame.extend(header);
            contents(&mut self.frame)?;
        } else {
            self.close_frame()?;
            self.out.write_all(&header)?;
            contents(&mut self.out)?;
        }
        Ok(self.memoize())
    }

    /// An instruction whose result is remembered.
    fn tuple(&mut self, opcode: u8) {
        self.frame.push(opcode);
        self.memoize();
    }

    fn stack_global(&mut self) -> u32 {
        self.frame.push(0x93);
        self.memoize()
    }

    fn memoize(&mut self) -> u32 {
        self.frame.push(0x94);
        self.num_memo += 1;
        self.num_memo - 1
    }

    fn get(&mut self, index: u32) -> io::Result<()> {
        self.boundary()?;
        match u8::try_from(index) {
            Ok(index) => self.frame.extend([b'h', index]),
            Err(_) => {
                self.frame.push(b'j');
                self.frame.extend(index.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Frames are closed between values only.
    fn boundary(&mut self) -> io::Result<()> {
        if self.frame.len() >= FRAME_TARGET { self.close_frame() } else { Ok(()) }
    }

    fn close_frame(&mut self) -> io::Result<()> {
        if self.frame.len() >= FRAME_MIN {
            self.out.write_all(&[0x95])?;
            self.out.write_all(&(self.frame.len() as u64).to_le_bytes())?;
        }
        self.out.write_all(&self.frame)?;
        self.frame.clear();
        Ok(())
    }
}
