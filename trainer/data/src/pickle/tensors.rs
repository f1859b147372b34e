//! What calling the names of PyTorch means here: nothing runs, a description is filled in. Calls of names that are not known
//! leave an object of which nothing is known but the name.

use super::code::Code;
use super::heap::{Blob, Heap, StorageEntry, TensorEntry, Value};
use super::names::Global;
use super::problem::PickleProblem;

/// PyTorch has at most 64 dimensions.
const MAX_DIMS: usize = 64;

/// The result of calling `callee`.
///
/// # Errors
/// A name that rebuilds tensors, with other arguments than PyTorch gives.
pub(crate) fn call(callee: Value, args: Value, heap: &mut Heap, offset: u64) -> Result<Value, PickleProblem> {
    let Value::Tuple(args) = args else { return Ok(opaque(callee)) };
    let Value::Global(callee) = callee else { return Ok(Value::Opaque(None)) };
    let args = heap.tuple(args);
    match (callee, args) {
        (Global::RebuildTensor, &[Value::Storage(storage), first, shape, strides, ..]) => {
            let (shape, strides) = (numbers(shape, heap), numbers(strides, heap));
            match (first, shape, strides) {
                (Value::Int(first @ 0..), Some(shape), Some(strides)) if shape.len() == strides.len() => {
                    let entry = TensorEntry { storage, offset: first.unsigned_abs(), shape, strides };
                    heap.tensors.push(entry);
                    Ok(Value::Tensor(heap.tensors.len() as u32 - 1))
                }
                _ => Err(wrong(args, heap, offset)),
            }
        }
        // On a storage of a type that is not known.
        (Global::RebuildTensor, &[storage @ Value::Opaque(_), ..]) => Ok(storage),
        (Global::RebuildTensor, args) => Err(wrong(args, heap, offset)),
        (Global::RebuildParameter, &[data @ (Value::Tensor(_) | Value::Opaque(_)), ..]) => Ok(data),
        (Global::RebuildParameter, args) => Err(wrong(args, heap, offset)),
        (Global::RebuildFromType, &[function, _, args @ Value::Tuple(_), ..]) => match function {
            // Once: a tensor of a subclass is not within another.
            Value::Global(Global::RebuildTensor | Global::RebuildParameter) => {
                call(function, args, heap, offset)
            }
            _ => Ok(opaque(function)),
        },
        (Global::Size, &[tuple @ Value::Tuple(_)]) => Ok(tuple),
        (Global::Dict, &[Value::List(list)]) => {
            let pairs: Option<Vec<(Value, Value)>> = heap.list(list).iter().map(|&p| pair(p, heap)).collect();
            let Some(pairs) = pairs else { return Ok(Value::Opaque(None)) };
            heap.dicts.push(pairs);
            Ok(Value::Dict(heap.dicts.len() as u32 - 1))
        }
        (Global::Dict, []) | (Global::DefaultDict, _) => {
            heap.dicts.push(Vec::new());
            Ok(Value::Dict(heap.dicts.len() as u32 - 1))
        }
        // `copy_reg._reconstructor(CLASS, object, None)` names what it makes.
        (Global::Foreign(_), &[Value::Global(Global::Foreign(class)), Value::Global(_), Value::None]) => {
            Ok(Value::Opaque(Some(class)))
        }
        (callee, _) => Ok(opaque(Value::Global(callee))),
    }
}

/// Items that a call has put into a dictionary.
pub(crate) fn num_items(dict: Value, heap: &Heap) -> u64 {
    match dict {
        Value::Dict(index) => 2 * heap.dict(index).len() as u64,
        _ => 0,
    }
}

/// The storage that `('storage', CLASS, KEY, LOCATION, NUM_ELEMENTS, ...)` stands for. Other references leave an object of
/// which nothing is known.
///
/// # Errors
/// A storage with another key or length than PyTorch gives, or a view of another storage, as files of early versions have it.
pub(crate) fn storage(
    id: Value,
    code: Code<'_>,
    heap: &mut Heap,
    offset: u64,
) -> Result<Value, PickleProblem> {
    let Value::Tuple(id) = id else { return Ok(Value::Opaque(None)) };
    let id = heap.tuple(id);
    let is_storage = |word: Value| match word {
        Value::Text { len, offset } => code.part(offset, len.into(), "a text") == Ok(b"storage"),
        _ => false,
    };
    match *id {
        [word, ..] if !is_storage(word) => Ok(Value::Opaque(None)),
        [_, Value::Global(Global::StorageClass(dtype)), key, _, Value::Int(count @ 0..), ref view @ ..] => {
            let Value::Text { len, offset: begin } = key else {
                return Err(PickleProblem::unexpected(offset, "the key of a storage", heap.describe(key)));
            };
            if let [Value::Tuple(_), ..] = view {
                let found = "a view of another storage";
                return Err(PickleProblem::unexpected(offset, "a storage of its own", found));
            }
            let key = Blob { offset: begin, len: len.into() };
            heap.storages.push(StorageEntry { dtype, key, num_elements: count.unsigned_abs() });
            Ok(Value::Storage(heap.storages.len() as u32 - 1))
        }
        [_, class @ Value::Global(Global::Foreign(_)), ..] => Ok(opaque(class)),
        _ => Err(wrong(id, heap, offset)),
    }
}

/// What a callee that is not called would have made.
fn opaque(callee: Value) -> Value {
    match callee {
        Value::Global(Global::Foreign(name)) => Value::Opaque(Some(name)),
        _ => Value::Opaque(None),
    }
}

fn pair(value: Value, heap: &Heap) -> Option<(Value, Value)> {
    let items = match value {
        Value::Tuple(index) => heap.tuple(index),
        Value::List(index) => heap.list(index),
        _ => return None,
    };
    match *items {
        [key, value] => Some((key, value)),
        _ => None,
    }
}

/// Sizes or strides.
fn numbers(tuple: Value, heap: &Heap) -> Option<Vec<u64>> {
    let Value::Tuple(index) = tuple else { return None };
    let items = heap.tuple(index);
    if items.len() > MAX_DIMS {
        return None;
    }
    let number = |item: &Value| match *item {
        Value::Int(number @ 0..) => Some(number.unsigned_abs()),
        _ => None,
    };
    items.iter().map(number).collect()
}

fn wrong(args: &[Value], heap: &Heap, offset: u64) -> PickleProblem {
    let found: Vec<String> = args.iter().take(8).map(|&arg| heap.describe(arg)).collect();
    PickleProblem::unexpected(offset, "the arguments of a pickled tensor", found.join(", "))
}
