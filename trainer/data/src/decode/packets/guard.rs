//! Decoders of outside bytes at arm's length: where one panics, its file is a bad one, and the run goes on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::super::error::DecodeProblem;

thread_local! {
    static DECODES: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`; its panic becomes an error, without the words of a bug.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, DecodeProblem>) -> Result<T, DecodeProblem> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            if !DECODES.get() {
                others(info);
            }
        }));
    });
    DECODES.set(true);
    // What the decoder left half done is dropped with it.
    let done = catch_unwind(AssertUnwindSafe(work));
    DECODES.set(false);
    done.unwrap_or_else(|_| Err(DecodeProblem::Undecodable("the decoder gave up on these bytes".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_the_file() {
        assert_eq!(guarded(|| Ok(3)), Ok(3));
        assert_eq!(guarded::<()>(|| Err(DecodeProblem::Empty)), Err(DecodeProblem::Empty));
        let error = guarded::<()>(|| std::panic::panic_any("index out of bounds")).unwrap_err();
        assert_eq!(error.to_string(), "cannot be decoded: the decoder gave up on these bytes");
        assert!(!DECODES.get());
    }
}
