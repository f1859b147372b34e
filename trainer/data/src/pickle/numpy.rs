//! What calling the names of numpy means here: nothing runs, a description is filled in.

use super::heap::{Array, Heap, Value};
use super::names::{Global, NumpyType, shown};
use super::problem::PickleProblem;

/// Numpy has at most 64 dimensions.
const MAX_DIMS: usize = 64;

/// The result of calling `callee`.
///
/// # Errors
/// Other arguments than those of a pickled array.
pub fn call(
    callee: Global,
    args: &[Value],
    code: &[u8],
    heap: &mut Heap,
    offset: u64,
) -> Result<Value, PickleProblem> {
    match (callee, args) {
        (Global::Reconstruct, [Value::Global(Global::Ndarray), Value::Tuple(_), Value::Bytes(_)]) => {
            heap.arrays.push(Array::default());
            Ok(Value::Array(heap.arrays.len() as u32 - 1))
        }
        (Global::NumpyType, [Value::Text { .. }, ..]) => {
            let code = <[u8; 2]>::try_from(code).map_err(|_| {
                PickleProblem::unexpected(
                    offset,
                    "a type of numbers such as `u1`",
                    format!("`{}`", shown(code)),
                )
            })?;
            heap.dtypes.push(NumpyType { order: b'|', code });
            Ok(Value::Dtype(heap.dtypes.len() as u32 - 1))
        }
        (_, args) => {
            let found: Vec<String> = args.iter().take(8).map(|&arg| heap.describe(arg)).collect();
            let expected = "the arguments of a pickled array";
            Err(PickleProblem::unexpected(offset, expected, found.join(", ")))
        }
    }
}

/// Fills in a type from its state `(3, '<', None, None, None, -1, -1, 0)`; `order` is the text.
pub fn set_dtype(dtype: Option<&mut NumpyType>, order: &[u8], offset: u64) -> Result<(), PickleProblem> {
    match (dtype, order) {
        (Some(dtype), &[order @ (b'|' | b'<' | b'>' | b'=')]) => {
            dtype.order = order;
            Ok(())
        }
        _ => Err(PickleProblem::unexpected(offset, "a byte order", format!("`{}`", shown(order)))),
    }
}

/// Fills in an array from its state `(1, shape, dtype, is_fortran, contents)`.
pub fn set_array(heap: &mut Heap, array: u32, state: &[Value], offset: u64) -> Result<(), PickleProblem> {
    let wrong = |expected: &str, found: String| Err(PickleProblem::unexpected(offset, expected, found));
    let &[Value::Int(_), Value::Tuple(shape), Value::Dtype(dtype), Value::Bool(is_fortran), contents] = state
    else {
        let found: Vec<String> = state.iter().take(8).map(|&value| heap.describe(value)).collect();
        return wrong("the state of a pickled array", found.join(", "));
    };
    let blob = match contents {
        Value::Bytes(blob) => heap.blob(blob),
        _ => None,
    };
    let Some(blob) = blob else {
        return wrong("the bytes of an array of numbers", heap.describe(contents));
    };
    let sizes = heap.tuple(shape).iter().map(|&size| match size {
        Value::Int(size) => u64::try_from(size).ok(),
        _ => None,
    });
    let Some(sizes) = sizes.collect::<Option<Vec<u64>>>().filter(|sizes| sizes.len() <= MAX_DIMS) else {
        return wrong("a shape of numbers", heap.describe(Value::Tuple(shape)));
    };
    let Some((dtype, item_bytes)) = heap.dtypes.get(dtype as usize).and_then(|d| Some((*d, d.num_bytes()?)))
    else {
        return wrong("a type of numbers such as `u1`", "another type".into());
    };
    let expected = sizes.iter().try_fold(item_bytes, |product, &size| product.checked_mul(size));
    if expected != Some(blob.len) {
        let claimed = expected.map_or("more than 2^64".into(), |expected| expected.to_string());
        let what = format!("{claimed} bytes for an array of {} with shape {sizes:?}", dtype.name());
        return Err(PickleProblem::unexpected(blob.offset, what, blob.len.to_string()));
    }
    if let Some(array) = heap.arrays.get_mut(array as usize) {
        *array = Array { shape: sizes, dtype: dtype.name(), is_fortran, offset: Some(blob.offset) };
    }
    Ok(())
}
