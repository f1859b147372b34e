//! Instructions that make lists, tuples, dictionaries and arrays.

use super::super::heap::{Blob, Value};
use super::super::limits::Kind;
use super::super::names::{Dialect, Global, shown};
use super::super::numpy::{call, set_array, set_dtype};
use super::super::problem::PickleProblem;
use super::super::{rows, tensors};
use super::Machine;

impl Machine<'_> {
    /// A list; where small numbers follow, they are its contents and it is complete.
    pub(super) fn empty_list(&mut self) -> Result<(), PickleProblem> {
        let code = self.code.rest(self.at);
        let memo_len = match code.first() {
            Some(0x94) => 1,
            Some(b'q') => 2,
            Some(b'r') => 5,
            _ => 0,
        };
        let row = match self.dialect {
            Dialect::Arrays => code.get(memo_len..).and_then(rows::scan),
            Dialect::Tensors => None,
        };
        let Some(len) = row else {
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

    pub(super) fn tuple(&mut self, count: usize) -> Result<(), PickleProblem> {
        let items = self.take(count)?;
        self.heap.tuples.push(items);
        self.push_container(Value::Tuple(self.heap.tuples.len() as u32 - 1))
    }

    pub(super) fn append(&mut self, count: usize) -> Result<(), PickleProblem> {
        let items = self.take(count)?;
        let list = self.top()?;
        if self.is_passed_over(list) {
            return Ok(());
        }
        let Value::List(index) = list else { return Err(self.wrong("a list that is not complete", list)) };
        if let Some(list) = self.heap.lists.get_mut(index as usize) {
            list.extend(items);
        }
        Ok(())
    }

    /// `count` keys and values.
    pub(super) fn set_items(&mut self, count: usize) -> Result<(), PickleProblem> {
        if !count.is_multiple_of(2) {
            return Err(PickleProblem::unexpected(self.begin, "keys with values", format!("{count} values")));
        }
        let items = self.take(count)?;
        let dict = self.top()?;
        if self.is_passed_over(dict) {
            return Ok(());
        }
        let Value::Dict(index) = dict else { return Err(self.wrong("a dictionary", dict)) };
        if let Some(dict) = self.heap.dicts.get_mut(index as usize) {
            let (pairs, _) = items.as_chunks::<2>();
            dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        Ok(())
    }

    /// What belongs to an object that is never made.
    fn is_passed_over(&self, target: Value) -> bool {
        matches!(target, Value::Opaque(_)) && self.dialect == Dialect::Tensors
    }

    pub(super) fn global(&mut self) -> Result<(), PickleProblem> {
        let (module, name) = (self.line()?, self.line()?);
        self.push_global(module, name)
    }

    pub(super) fn stack_global(&mut self) -> Result<(), PickleProblem> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (module, name) = (self.place_of(module)?, self.place_of(name)?);
        self.push_global(module, name)
    }

    fn push_global(&mut self, module: Blob, name: Blob) -> Result<(), PickleProblem> {
        let text = |blob: Blob| self.code.part(blob.offset, blob.len, "a name");
        let texts = (text(module)?, text(name)?);
        if let Some(global) = Global::resolve(texts.0, texts.1, self.dialect) {
            return self.push(Value::Global(global));
        }
        if self.dialect == Dialect::Arrays {
            let name = format!("{}.{}", shown(texts.0), shown(texts.1));
            return Err(PickleProblem::Global { offset: self.begin, name });
        }
        self.heap.names.push([module, name]);
        self.push_container(Value::Global(Global::Foreign(self.heap.names.len() as u32 - 1)))
    }

    fn place_of(&self, value: Value) -> Result<Blob, PickleProblem> {
        match value {
            Value::Text { len, offset } => Ok(Blob { offset, len: len.into() }),
            other => Err(self.wrong("a text", other)),
        }
    }

    fn text_of(&self, value: Value) -> Result<&[u8], PickleProblem> {
        let place = self.place_of(value)?;
        self.code.part(place.offset, place.len, "a text")
    }

    pub(super) fn call(&mut self) -> Result<(), PickleProblem> {
        let (args, callee) = (self.pop()?, self.pop()?);
        if self.dialect == Dialect::Tensors {
            return self.call_of_torch(callee, args);
        }
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

    /// Nothing runs: what rebuilds tensors and dictionaries is described, and everything else stays unmade.
    pub(super) fn call_of_torch(&mut self, callee: Value, args: Value) -> Result<(), PickleProblem> {
        let result = tensors::call(callee, args, &mut self.heap, self.begin)?;
        if let Value::Dict(_) = result {
            self.num_items += tensors::num_items(result, &self.heap);
            self.limits.check(Kind::Items, self.num_items, self.begin)?;
        }
        self.push_container(result)
    }

    pub(super) fn build(&mut self) -> Result<(), PickleProblem> {
        let (state, target) = (self.pop()?, self.top()?);
        if self.dialect == Dialect::Tensors {
            // Attributes of a dictionary, such as `_metadata` of a state dict, or of a tensor; the state of an object.
            return Ok(());
        }
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
