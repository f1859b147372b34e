//! Memory that is allocated by the driver, which is the host's here.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;

/// What is allocated, by its address.
static ALLOCATED: Mutex<Option<HashMap<u64, Box<[u128]>>>> = Mutex::new(None);

fn allocated() -> MutexGuard<'static, Option<HashMap<u64, Box<[u128]>>>> {
    ALLOCATED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(place: *mut u64, bytes: usize) -> c_int {
    if place.is_null() || bytes == 0 {
        return INVALID_VALUE;
    }
    let mut memory = vec![0_u128; bytes.div_ceil(size_of::<u128>())].into_boxed_slice();
    let address = memory.as_mut_ptr().expose_provenance() as u64;
    allocated().get_or_insert_default().insert(address, memory);
    // SAFETY: not null, and valid as the entry point demands of its caller.
    unsafe { place.write(address) };
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    let freed = allocated().as_mut().and_then(|all| all.remove(&address));
    if freed.is_some() { SUCCESS } else { INVALID_VALUE }
}
