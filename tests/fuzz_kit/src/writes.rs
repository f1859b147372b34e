//! How many write calls a piece of work made, as the kernel counts them.

/// Write calls of this thread so far; `None` where the kernel keeps no account.
pub(crate) fn of_this_thread() -> Option<u64> {
    let account = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    account.lines().find_map(|line| line.strip_prefix("syscw: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use dtrain_test_skip::skipped;

    use super::*;

    #[test]
    fn a_write_is_counted() {
        let Some(before) = of_this_thread() else {
            skipped("this kernel keeps no account of a thread's writes");
            return;
        };
        assert_eq!(of_this_thread(), Some(before));
        std::fs::write("/dev/null", b"x").expect("the null device takes anything");
        assert_eq!(of_this_thread(), Some(before + 1));
    }
}
