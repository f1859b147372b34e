//! Variables that libraries read when they start.

/// How cuBLAS divides its memory; with another value than this or `:16:8` it may add up in any order.
const CUBLAS_WORKSPACE: (&str, &str) = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8");

/// Sets what the user has not. To be called first of all in `main`, before any thread is started.
pub fn begin() {
    let (name, value) = CUBLAS_WORKSPACE;
    if std::env::var_os(name).is_none() {
        // SAFETY: the process has this thread only, so that nobody reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}
