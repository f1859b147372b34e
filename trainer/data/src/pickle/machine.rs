//! The stack machine: one pass over the file, one instruction at a time.

mod build;
mod more;

use super::code::Code;
use super::heap::{Blob, Heap, Value};
use super::limits::{Kind, Limits};
use super::names::Dialect;
use super::problem::PickleProblem;

/// Module and name of a global in the old text form are shorter.
const MAX_LINE_BYTES: usize = 256;

struct Machine<'a> {
    code: Code<'a>,
    dialect: Dialect,
    /// Where the next byte is read.
    at: u64,
    /// Where the current instruction began.
    begin: u64,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Value>,
    heap: Heap,
    num_items: u64,
    limits: Limits,
}

/// What a pickle leaves.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Refers to the heap and the file.
    pub value: Value,
    /// What values refer to.
    pub heap: Heap,
    /// Where the pickle ends.
    pub end: u64,
}

/// Runs the pickle at byte `begin`.
pub(crate) fn run(code: Code<'_>, begin: u64, dialect: Dialect) -> Result<Ran, PickleProblem> {
    let rest = code.rest(begin);
    let mut machine = Machine {
        code,
        dialect,
        at: begin,
        begin,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        heap: Heap::default(),
        num_items: 0,
        limits: Limits::of_file(rest.len(), dialect),
    };
    match rest.first() {
        Some(0x80) => {}
        first => {
            let found = first.map_or("nothing".into(), |byte| format!("{byte:#04x}"));
            let expected =
                format!("a pickle of protocol 2 to {}, which begins with 0x80", dialect.last_protocol());
            return Err(PickleProblem::unexpected(begin, expected, found));
        }
    }
    loop {
        machine.begin = machine.at;
        let [opcode] = machine.array("an instruction")?;
        if opcode == b'.' {
            let value = machine.pop()?;
            return Ok(Ran { value, heap: machine.heap, end: machine.at });
        }
        machine.execute(opcode)?;
    }
}

impl Machine<'_> {
    fn execute(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.frame(),
            b'(' => {
                self.limits.check(Kind::Stack, self.marks.len() as u64 + 1, self.begin)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => self.number(|[byte]: [u8; 1]| byte),
            b'M' => self.number(u16::from_le_bytes),
            b'J' => self.number(i32::from_le_bytes),
            0x8a => self.length(|bytes: [u8; 1]| bytes[0].into()).and_then(|len| self.long(len)),
            b'G' => self.array("a number").map(f64::from_be_bytes).and_then(|x| self.push(Value::Float(x))),
            0x8c => self.length(|bytes: [u8; 1]| bytes[0].into()).and_then(|len| self.text(len)),
            b'X' => self.length(|bytes| u32::from_le_bytes(bytes).into()).and_then(|len| self.text(len)),
            0x8d => self.length(u64::from_le_bytes).and_then(|len| self.text(len)),
            b'C' => self.length(|bytes: [u8; 1]| bytes[0].into()).and_then(|len| self.blob(len)),
            b'B' => self.length(|bytes| u32::from_le_bytes(bytes).into()).and_then(|len| self.blob(len)),
            0x8e => self.length(u64::from_le_bytes).and_then(|len| self.blob(len)),
            b']' => self.empty_list(),
            b'}' => {
                self.heap.dicts.push(Vec::new());
                self.push_container(Value::Dict(self.heap.dicts.len() as u32 - 1))
            }
            b')' => self.tuple(0),
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b't' => self.num_marked().and_then(|count| self.tuple(count)),
            b'a' => self.append(1),
            b'e' => self.num_marked().and_then(|count| self.append(count)),
            b's' => self.set_items(2),
            b'u' => self.num_marked().and_then(|count| self.set_items(count)),
            0x94 => self.remember(self.memo.len()),
            b'q' => self.array("a reference").and_then(|[index]| self.remember(index.into())),
            b'r' => self.array("a reference").and_then(|i| self.remember(u32::from_le_bytes(i) as usize)),
            b'h' => self.array("a reference").and_then(|[index]| self.recall(index.into())),
            b'j' => self.array("a reference").and_then(|i| self.recall(u32::from_le_bytes(i) as usize)),
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'R' => self.call(),
            b'b' => self.build(),
            opcode => match self.dialect {
                Dialect::Arrays => Err(PickleProblem::Opcode { offset: self.begin, opcode }),
                Dialect::Tensors => self.execute_more(opcode),
            },
        }
    }
}

/// Reading.
impl Machine<'_> {
    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], PickleProblem> {
        let array = self.code.array(self.at, what)?;
        self.at += N as u64;
        Ok(array)
    }

    fn skip(&mut self, len: u64, what: &str) -> Result<u64, PickleProblem> {
        let offset = self.at;
        self.code.part(offset, len, what)?;
        self.at += len;
        Ok(offset)
    }

    fn length<const N: usize>(&mut self, decode: fn([u8; N]) -> u64) -> Result<u64, PickleProblem> {
        self.array("a length").map(decode)
    }

    fn protocol(&mut self) -> Result<(), PickleProblem> {
        let ([protocol], last) = (self.array("the protocol")?, self.dialect.last_protocol());
        if protocol <= last {
            return Ok(());
        }
        let expected = format!("a pickle of protocol {last} or below");
        Err(PickleProblem::unexpected(self.begin, expected, protocol.to_string()))
    }

    /// A frame is a hint for readers of streams; its length must only be possible.
    fn frame(&mut self) -> Result<(), PickleProblem> {
        let len = self.length(u64::from_le_bytes)?;
        self.code.part(self.at, len, "a frame").map(|_| ())
    }

    fn number<const N: usize, T: Into<i64>>(
        &mut self,
        decode: fn([u8; N]) -> T,
    ) -> Result<(), PickleProblem> {
        let number = decode(self.array("a number")?).into();
        self.push(Value::Int(number))
    }

    /// A number of up to eight bytes with a sign; longer ones stay in the file.
    fn long(&mut self, len: u64) -> Result<(), PickleProblem> {
        let offset = self.skip(len, "a number")?;
        let digits = self.code.part(offset, len, "a number")?;
        if digits.len() > 8 {
            if let (Dialect::Tensors, Ok(len)) = (self.dialect, u32::try_from(len)) {
                return self.push(Value::Long { len, offset });
            }
            return Err(PickleProblem::unexpected(
                self.begin,
                "a number of up to 8 bytes",
                format!("one of {len}"),
            ));
        }
        let is_negative = digits.last().is_some_and(|&top| top >= 0x80);
        let mut number = [if is_negative { 0xff } else { 0 }; 8];
        for (to, &from) in number.iter_mut().zip(digits) {
            *to = from;
        }
        self.push(Value::Int(i64::from_le_bytes(number)))
    }

    fn text(&mut self, len: u64) -> Result<(), PickleProblem> {
        let offset = self.skip(len, "a text")?;
        match u32::try_from(len) {
            Ok(len) => self.push(Value::Text { len, offset }),
            Err(_) => {
                Err(PickleProblem::unexpected(self.begin, "a short text", format!("one of {len} bytes")))
            }
        }
    }

    fn blob(&mut self, len: u64) -> Result<(), PickleProblem> {
        let offset = self.skip(len, "bytes")?;
        self.heap.blobs.push(Blob { offset, len });
        self.push_container(Value::Bytes(self.heap.blobs.len() as u32 - 1))
    }

    fn line(&mut self) -> Result<Blob, PickleProblem> {
        let rest = self.code.rest(self.at);
        let rest = rest.get(..rest.len().min(MAX_LINE_BYTES)).unwrap_or_default();
        match rest.iter().position(|&byte| byte == b'\n') {
            Some(len) => {
                let line = Blob { offset: self.at, len: len as u64 };
                self.at += len as u64 + 1;
                Ok(line)
            }
            None => Err(PickleProblem::unexpected(self.at, "a line with a name", "no end of a line")),
        }
    }
}

/// Stack and memory.
impl Machine<'_> {
    fn push(&mut self, value: Value) -> Result<(), PickleProblem> {
        self.limits.check(Kind::Stack, self.stack.len() as u64 + 1, self.begin)?;
        self.stack.push(value);
        Ok(())
    }

    fn push_container(&mut self, value: Value) -> Result<(), PickleProblem> {
        self.limits.check(Kind::Containers, self.heap.num_containers(), self.begin)?;
        self.push(value)
    }

    /// The number of values above the highest mark.
    fn num_available(&self) -> usize {
        self.stack.len().saturating_sub(self.marks.last().copied().unwrap_or(0))
    }

    /// Takes the highest mark away; the number of values above it.
    fn num_marked(&mut self) -> Result<usize, PickleProblem> {
        let count = self.num_available();
        match self.marks.pop() {
            Some(_) => Ok(count),
            None => Err(PickleProblem::unexpected(self.begin, "a mark", "none")),
        }
    }

    fn pop(&mut self) -> Result<Value, PickleProblem> {
        match self.num_available() {
            0 => Err(self.too_few(1)),
            _ => self.stack.pop().ok_or_else(|| self.too_few(1)),
        }
    }

    fn too_few(&self, expected: usize) -> PickleProblem {
        let found = format!("{} on the stack", self.num_available());
        PickleProblem::unexpected(self.begin, format!("{expected} values"), found)
    }

    /// Takes the highest `count` values.
    fn take(&mut self, count: usize) -> Result<Vec<Value>, PickleProblem> {
        if self.num_available() < count {
            return Err(self.too_few(count));
        }
        self.num_items += count as u64;
        self.limits.check(Kind::Items, self.num_items, self.begin)?;
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    /// The highest value, which stays.
    fn top(&self) -> Result<Value, PickleProblem> {
        match self.num_available() {
            0 => Err(self.too_few(1)),
            _ => self.stack.last().copied().ok_or_else(|| self.too_few(1)),
        }
    }

    /// References are numbered as they come.
    fn remember(&mut self, index: usize) -> Result<(), PickleProblem> {
        let value = self.top()?;
        if let Some(old) = self.memo.get_mut(index) {
            *old = value;
            return Ok(());
        }
        if index != self.memo.len() {
            let expected = format!("reference {} or less", self.memo.len());
            return Err(PickleProblem::unexpected(self.begin, expected, index.to_string()));
        }
        self.limits.check(Kind::Memo, index as u64 + 1, self.begin)?;
        self.memo.push(value);
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Result<(), PickleProblem> {
        match self.memo.get(index) {
            Some(&value) => self.push(value),
            None => {
                let expected = format!("one of {} references", self.memo.len());
                Err(PickleProblem::unexpected(self.begin, expected, index.to_string()))
            }
        }
    }

    fn wrong(&self, expected: &str, found: Value) -> PickleProblem {
        PickleProblem::unexpected(self.begin, expected, self.heap.describe(found))
    }
}
