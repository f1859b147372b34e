//! Memory that runs out in the middle of an expression: the operators of tch panic where libtorch refuses a tensor. Such a
//! panic is an error like any other, with its exit code and without the words of a bug.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

use dtrain_trainer::TrainError;

use crate::failure::Failure;

/// Does `work`; a panic for want of memory becomes its failure, and others go on.
pub fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            if !becomes_an_error(info) {
                others(info);
            }
        }));
    });
    // What was half done is not looked at again: the verb ends.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(payload) => match TrainError::of_panic(&*payload) {
            Some(error) => Err(error.into()),
            None => resume_unwind(payload),
        },
    }
}

/// Threads of libraries have nobody who catches.
fn becomes_an_error(info: &PanicHookInfo<'_>) -> bool {
    std::thread::current().name() == Some("main") && TrainError::of_panic(info.payload()).is_some()
}

#[cfg(test)]
mod tests {
    use dtrain_front::Exit;

    use super::*;

    #[test]
    fn want_of_memory_is_a_failure_and_a_bug_stays_a_panic() {
        let words = "called `Result::unwrap()` on an `Err` value: Torch(\"not enough memory: you tried to allocate 2048 bytes.\")";
        let failure =
            caught(|| -> Result<(), Failure> { std::panic::panic_any(words.to_owned()) }).unwrap_err();
        assert_eq!(failure.message, "not enough memory for a tensor: 2.0 KiB");
        assert_eq!((failure.exit, failure.agreed), (Exit::Environment, false));
        assert!(failure.hint.is_some());
        let bug = || caught(|| -> Result<(), Failure> { std::panic::panic_any("index out of bounds") });
        assert!(catch_unwind(bug).is_err());
        assert!(caught(|| Ok(())).is_ok());
    }
}
