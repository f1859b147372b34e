//! `ncclGroupStart` to `ncclGroupEnd`: operations of a thread that are launched together.

use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::Arc;

use crate::communicator::{Communicator, INVALID_USAGE, SUCCESS};
use crate::operation::Operation;
use crate::stream::Stream;

#[derive(Default)]
struct Group {
    /// Starts without an end yet.
    depth: usize,
    operations: Vec<(Arc<Communicator>, Stream, Operation)>,
}

thread_local! {
    static GROUP: RefCell<Group> = RefCell::default();
}

/// Opens a group on this thread.
pub(crate) fn start() {
    GROUP.with_borrow_mut(|group| group.depth += 1);
}

/// Closes the group and, if it was the outermost, launches it.
pub(crate) fn end() -> c_int {
    let operations = GROUP.with_borrow_mut(|group| match group.depth {
        0 => None,
        1 => {
            group.depth = 0;
            Some(std::mem::take(&mut group.operations))
        }
        _ => {
            group.depth -= 1;
            Some(Vec::new())
        }
    });
    operations.map_or(INVALID_USAGE, launch)
}

/// Adds an operation to the open group, or launches it alone.
pub(crate) fn submit(communicator: Arc<Communicator>, stream: &Stream, operation: Operation) -> c_int {
    let alone = GROUP.with_borrow_mut(|group| {
        if group.depth == 0 {
            return Some((communicator, stream.clone(), operation));
        }
        group.operations.push((communicator, stream.clone(), operation));
        None
    });
    alone.map_or(SUCCESS, |operation| launch(vec![operation]))
}

/// Launches operations of one communicator and stream, which is all that dtrain's groups hold.
fn launch(operations: Vec<(Arc<Communicator>, Stream, Operation)>) -> c_int {
    let Some((communicator, stream, _)) = operations.first() else { return SUCCESS };
    if !operations.iter().all(|(other, _, _)| Arc::ptr_eq(communicator, other)) {
        return INVALID_USAGE;
    }
    let (communicator, stream) = (communicator.clone(), stream.clone());
    communicator.launch(&stream, operations.into_iter().map(|(_, _, operation)| operation).collect())
}
