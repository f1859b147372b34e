//! Instructions that no data set needs and files of PyTorch use: references to storages, classes, sets, and those of other
//! protocols.

use super::super::heap::Value;
use super::super::problem::PickleProblem;
use super::super::tensors;
use super::Machine;

impl Machine<'_> {
    pub(super) fn execute_more(&mut self, opcode: u8) -> Result<(), PickleProblem> {
        match opcode {
            // A storage, in the words of PyTorch's pickler.
            b'Q' => {
                let id = self.pop()?;
                let storage = tensors::storage(id, self.code, &mut self.heap, self.begin)?;
                self.push_container(storage)
            }
            b'1' => self.num_marked().and_then(|count| self.take(count)).map(|_| ()),
            b'2' => self.top().and_then(|value| self.push(value)),
            b'l' => self.marked_list(),
            b'd' => self.marked_dict(),
            0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.call_of_torch(class, args)
            }
            0x92 => {
                let (_, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call_of_torch(class, args)
            }
            0x8b => self.length(|bytes| u32::from_le_bytes(bytes).into()).and_then(|len| self.long(len)),
            // Texts of Python 2.
            b'U' => self.length(|bytes: [u8; 1]| bytes[0].into()).and_then(|len| self.text(len)),
            b'T' => self.length(|bytes| u32::from_le_bytes(bytes).into()).and_then(|len| self.text(len)),
            0x96 => self.length(u64::from_le_bytes).and_then(|len| self.blob(len)),
            // Sets hold no tensors.
            0x8f => self.push(Value::Opaque(None)),
            0x90 => self.num_marked().and_then(|count| self.take(count)).map(|_| ()),
            0x91 => {
                self.num_marked().and_then(|count| self.take(count))?;
                self.push(Value::Opaque(None))
            }
            opcode => Err(PickleProblem::Opcode { offset: self.begin, opcode }),
        }
    }

    fn marked_list(&mut self) -> Result<(), PickleProblem> {
        let items = self.num_marked().and_then(|count| self.take(count))?;
        self.heap.lists.push(items);
        self.push_container(Value::List(self.heap.lists.len() as u32 - 1))
    }

    fn marked_dict(&mut self) -> Result<(), PickleProblem> {
        let count = self.num_marked()?;
        let items = self.take(count)?;
        if !count.is_multiple_of(2) {
            let found = format!("{count} values");
            return Err(PickleProblem::unexpected(self.begin, "keys with values", found));
        }
        let (pairs, _) = items.as_chunks::<2>();
        self.heap.dicts.push(pairs.iter().map(|&[key, value]| (key, value)).collect());
        self.push_container(Value::Dict(self.heap.dicts.len() as u32 - 1))
    }
}
