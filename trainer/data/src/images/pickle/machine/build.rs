//! Instructions that make lists, tuples, dictionaries and arrays.

use super::super::super::error::FormatProblem;
use super::super::heap::Value;
use super::super::names::Global;
use super::super::numpy::{call, set_array, set_dtype};
use super::super::rows;
use super::Machine;

impl Machine<'_> {
    /// A list; where small numbers follow, they are its contents and it is complete.
    pub(super) fn empty_list(&mut self) -> Result<(), FormatProblem> {
        let code = self.code.get(self.at as usize..).unwrap_or_default();
        let memo_len = match code.first() {
            Some(0x94) => 1,
            Some(b'q') => 2,
            Some(b'r') => 5,
            _ => 0,
        };
        let Some(len) = code.get(memo_len..).and_then(rows::scan) else {
            self.heap.lists.push(Vec::new());
            return self.push_container(Value::List(self.heap.lists.len() as u32 - 1));
        };
        let offset = self.at + memo_len as u64;
        self.push(Value::Row { len, offset })?;
        if memo_len > 0 {
            let [opcode] = self.array("an instruction")?;
            self.execute(opcode)?;
        }
        self.at = offset + u64::from(len);
        Ok(())
    }

    pub(super) fn tuple(&mut self, count: usize) -> Result<(), FormatProblem> {
        let items = self.take(count)?;
        self.heap.tuples.push(items);
        self.push_container(Value::Tuple(self.heap.tuples.len() as u32 - 1))
    }

    pub(super) fn append(&mut self, count: usize) -> Result<(), FormatProblem> {
        let items = self.take(count)?;
        let list = self.top()?;
        let Value::List(index) = list else { return Err(self.wrong("a list that is not complete", list)) };
        if let Some(list) = self.heap.lists.get_mut(index as usize) {
            list.extend(items);
        }
        Ok(())
    }

    /// `count` keys and values.
    pub(super) fn set_items(&mut self, count: usize) -> Result<(), FormatProblem> {
        if !count.is_multiple_of(2) {
            return Err(FormatProblem::unexpected(self.begin, "keys with values", format!("{count} values")));
        }
        let items = self.take(count)?;
        let dict = self.top()?;
        let Value::Dict(index) = dict else { return Err(self.wrong("a dictionary", dict)) };
        if let Some(dict) = self.heap.dicts.get_mut(index as usize) {
            let (pairs, _) = items.as_chunks::<2>();
            dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        Ok(())
    }

    pub(super) fn global(&mut self) -> Result<(), FormatProblem> {
        let begin = self.begin;
        let module = self.line()?.to_vec();
        let global = Global::resolve(&module, self.line()?, begin)?;
        self.push(Value::Global(global))
    }

    pub(super) fn stack_global(&mut self) -> Result<(), FormatProblem> {
        let (name, module) = (self.pop()?, self.pop()?);
        let global = Global::resolve(self.text_of(module)?, self.text_of(name)?, self.begin)?;
        self.push(Value::Global(global))
    }

    fn text_of(&self, value: Value) -> Result<&[u8], FormatProblem> {
        match value {
            Value::Text { len, offset } => self.code.part(offset, len.into(), "a text"),
            other => Err(self.wrong("a text", other)),
        }
    }

    pub(super) fn call(&mut self) -> Result<(), FormatProblem> {
        let (args, callee) = (self.pop()?, self.pop()?);
        let Value::Global(callee) = callee else { return Err(self.wrong("a name of numpy", callee)) };
        let Value::Tuple(args) = args else { return Err(self.wrong("a tuple of arguments", args)) };
        let args = self.heap.tuple(args).to_vec();
        let code = match args.first() {
            Some(&first @ Value::Text { .. }) => self.text_of(first)?.to_vec(),
            _ => Vec::new(),
        };
        let result = call(callee, &args, &code, &mut self.heap, self.begin)?;
        self.push_container(result)
    }

    pub(super) fn build(&mut self) -> Result<(), FormatProblem> {
        let (state, target) = (self.pop()?, self.top()?);
        let Value::Tuple(state) = state else { return Err(self.wrong("a tuple with the state", state)) };
        match target {
            Value::Array(array) => {
                let state = self.heap.tuple(state).to_vec();
                set_array(&mut self.heap, array, &state, self.begin)
            }
            Value::Dtype(dtype) => {
                let order = self.heap.tuple(state).get(1).copied().unwrap_or(Value::None);
                let order = self.text_of(order)?.to_vec();
                set_dtype(self.heap.dtypes.get_mut(dtype as usize), &order, self.begin)
            }
            other => Err(self.wrong("an array of numpy or its type", other)),
        }
    }
}
