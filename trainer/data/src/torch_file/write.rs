//! Writes the zip form, such that `torch.load(path, weights_only=True)` gives an `OrderedDict` of contiguous tensors.

use std::io::{self, Write};

use rawzip::extra_fields::ExtraFieldId;
use rawzip::{Header, ZipArchiveWriter};

use crate::dtype::Dtype;

/// The folder within the archive; PyTorch takes any.
const FOLDER: &str = "archive";
/// Contents of storages begin at a multiple of this, as PyTorch lays them, so that it can map them.
const ALIGNMENT: u64 = 64;
/// `FB`, under which PyTorch fills up as well.
const PADDING: ExtraFieldId = ExtraFieldId::new(0x4246);
/// An extra field before its contents.
const FIELD_BYTES: u64 = 4;
/// A local header before its name, and the field in which sizes of 64 bits would stand.
const HEADER_BYTES: u64 = 30;
/// Items that are handed over at once, as Python's pickler does.
const BATCH: usize = 1000;

/// A tensor that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorToWrite<'a> {
    /// Its key in the dictionary.
    pub name: &'a str,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Sizes, outermost first; empty for a scalar.
    pub shape: &'a [u64],
}

impl TensorToWrite<'_> {
    fn numel(&self) -> Option<u64> {
        let product = self.shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size))?;
        // Numbers of a pickle have a sign.
        i64::try_from(product).ok().map(i64::unsigned_abs)
    }
}

/// Writes a dictionary of `tensors`. `fill(i, w)` writes the bytes of `tensors[i]` row by row, little-endian.
///
/// # Errors
/// Those of `out` and `fill`, and a tensor of other than its bytes.
pub fn write(
    out: &mut dyn Write,
    tensors: &[TensorToWrite<'_>],
    mut fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = ZipArchiveWriter::new(out);
    let pickle = pickle(tensors)?;
    entry(&mut archive, "data.pkl", |writer| writer.write_all(&pickle))?;
    entry(&mut archive, "byteorder", |writer| writer.write_all(b"little"))?;
    for (index, tensor) in tensors.iter().enumerate() {
        let expected = tensor.numel().and_then(|numel| numel.checked_mul(tensor.dtype.num_bytes()));
        entry(&mut archive, &format!("data/{index}"), |writer| {
            let mut counted = Counted { inner: writer, num_bytes: 0 };
            fill(index, &mut counted)?;
            if Some(counted.num_bytes) == expected {
                return Ok(());
            }
            let TensorToWrite { name, dtype, shape } = tensor;
            let (dtype, found) = (dtype.name(), counted.num_bytes);
            Err(io::Error::other(format!(
                "tensor `{name}`: {dtype} {shape:?} was written with {found} bytes"
            )))
        })?;
    }
    entry(&mut archive, "version", |writer| writer.write_all(b"3\n"))?;
    archive.finish().map(drop).map_err(io::Error::other)
}

/// An entry that is stored as it is, and whose contents are aligned.
fn entry(
    archive: &mut ZipArchiveWriter<&mut dyn Write>,
    name: &str,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let name = format!("{FOLDER}/{name}");
    let begin = archive.stream_offset() + HEADER_BYTES + name.len() as u64 + FIELD_BYTES;
    let padding = vec![b'Z'; (begin.next_multiple_of(ALIGNMENT) - begin) as usize];
    let file = archive.new_file(&name).extra_field(PADDING, &padding, Header::LOCAL);
    let (mut entry, config) = file.and_then(|file| file.start()).map_err(io::Error::other)?;
    let mut writer = config.wrap(&mut entry);
    fill(&mut writer)?;
    let (_, descriptor) = writer.finish().map_err(io::Error::other)?;
    entry.finish(descriptor).map(drop).map_err(io::Error::other)
}

/// The dictionary, of protocol 2 as PyTorch writes it.
fn pickle(tensors: &[TensorToWrite<'_>]) -> io::Result<Vec<u8>> {
    const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut code = [b"\x80\x02", ORDERED_DICT].concat();
    let mut key = 0_usize;
    for batch in tensors.chunks(BATCH) {
        code.push(b'(');
        for tensor in batch {
            let numel = tensor.numel().ok_or_else(|| {
                io::Error::other(format!(
                    "tensor `{}`: {:?} is larger than any file",
                    tensor.name, tensor.shape
                ))
            })?;
            text(&mut code, tensor.name)?;
            code.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            text(&mut code, "storage")?;
            code.extend(format!("ctorch\n{}\n", tensor.dtype.storage_class()).as_bytes());
            text(&mut code, &key.to_string())?;
            text(&mut code, "cpu")?;
            int(&mut code, numel);
            code.extend(b"tQ");
            int(&mut code, 0);
            ints(&mut code, tensor.shape.iter().copied());
            ints(&mut code, strides(tensor.shape).into_iter());
            // No gradient, no hooks.
            code.push(0x89);
            code.extend(ORDERED_DICT);
            code.extend(b"tR");
            key += 1;
        }
        code.push(b'u');
    }
    code.push(b'.');
    Ok(code)
}

fn strides(shape: &[u64]) -> Vec<u64> {
    let mut product = 1_u64;
    let mut strides: Vec<u64> = shape
        .iter()
        .rev()
        .map(|&size| {
            let stride = product;
            product = product.saturating_mul(size.max(1));
            stride
        })
        .collect();
    strides.reverse();
    strides
}

fn text(code: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let len = u32::try_from(text.len()).map_err(io::Error::other)?;
    code.push(b'X');
    code.extend(len.to_le_bytes());
    code.extend(text.as_bytes());
    Ok(())
}

/// A number that has a sign, without one.
fn int(code: &mut Vec<u8>, number: u64) {
    match (u8::try_from(number), u16::try_from(number), i32::try_from(number)) {
        (Ok(byte), ..) => code.extend([b'K', byte]),
        (_, Ok(word), _) => {
            code.push(b'M');
            code.extend(word.to_le_bytes());
        }
        (.., Ok(word)) => {
            code.push(b'J');
            code.extend(word.to_le_bytes());
        }
        _ => {
            code.extend([0x8a, 8]);
            code.extend(number.to_le_bytes());
        }
    }
}

fn ints(code: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    code.push(b'(');
    numbers.for_each(|number| int(code, number));
    code.push(b't');
}

struct Counted<'a> {
    inner: &'a mut dyn Write,
    num_bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.num_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
