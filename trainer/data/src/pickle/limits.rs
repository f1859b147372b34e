//! How much a pickle may build. Files of a few bytes can describe values of any size; those that hold data sets or tensors
//! build about one value for every two bytes, because each number takes two.

use super::names::Dialect;
use super::problem::PickleProblem;

/// What any pickle may have.
const FREE: u64 = 1024;
/// Values that wait on the stack; Python hands them over in batches of a thousand.
const MAX_STACK: u64 = 1 << 16;

/// Upper bounds, from the size of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
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
pub(crate) enum Kind {
    Stack,
    Items,
    Memo,
    Containers,
}

impl Limits {
    pub fn of_file(num_bytes: usize, dialect: Dialect) -> Self {
        let num_bytes = num_bytes as u64;
        // A tensor takes about 60 bytes, in which eight tuples and dictionaries are made.
        let bytes_per_container = match dialect {
            Dialect::Arrays => 64,
            Dialect::Tensors => 4,
        };
        Self {
            stack: MAX_STACK.min(FREE + num_bytes),
            items: FREE + num_bytes / 2,
            memo: FREE + num_bytes / 4,
            containers: FREE + num_bytes / bytes_per_container,
        }
    }

    /// # Errors
    /// `count` is more than the file justifies.
    pub fn check(self, kind: Kind, count: u64, offset: u64) -> Result<(), PickleProblem> {
        let (what, limit) = match kind {
            Kind::Stack => ("values at once", self.stack),
            Kind::Items => ("items", self.items),
            Kind::Memo => ("references", self.memo),
            Kind::Containers => ("lists and tuples", self.containers),
        };
        if count <= limit { Ok(()) } else { Err(PickleProblem::Excessive { offset, what, limit }) }
    }
}
