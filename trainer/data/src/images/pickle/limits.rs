//! How much a pickle may build. Files of a few bytes can describe values of any size; those that hold data sets build
//! about one value for every two bytes, because each number takes two.

use super::super::error::FormatProblem;

/// What any pickle may have.
const FREE: u64 = 1024;
/// Values that wait on the stack; Python hands them over in batches of a thousand.
const MAX_STACK: u64 = 1 << 16;

/// Upper bounds, from the size of the file.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    stack: u64,
    /// Items of lists, tuples and dictionaries.
    items: u64,
    /// Values that are remembered to be used again.
    memo: u64,
    /// Lists, tuples, dictionaries, arrays.
    containers: u64,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Stack,
    Items,
    Memo,
    Containers,
}

impl Limits {
    pub fn of_file(num_bytes: usize) -> Self {
        let num_bytes = num_bytes as u64;
        Self {
            stack: MAX_STACK.min(FREE + num_bytes),
            items: FREE + num_bytes / 2,
            memo: FREE + num_bytes / 4,
            containers: FREE + num_bytes / 64,
        }
    }

    /// # Errors
    /// `count` is more than the file justifies.
    pub fn check(self, kind: Kind, count: u64, offset: u64) -> Result<(), FormatProblem> {
        let (what, limit) = match kind {
            Kind::Stack => ("values at once", self.stack),
            Kind::Items => ("items", self.items),
            Kind::Memo => ("references", self.memo),
            Kind::Containers => ("lists and tuples", self.containers),
        };
        if count <= limit { Ok(()) } else { Err(FormatProblem::Excessive { offset, what, limit }) }
    }
}
