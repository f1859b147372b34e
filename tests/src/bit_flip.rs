//! Memory that fails: a bit of a process changes without anybody having written it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Flips the lowest bit of each place in the own memory of `pid` that holds `bytes`; returns how many there were.
///
/// # Errors
/// Where this user may not write the memory of the process.
pub fn flip_a_bit(pid: u32, bytes: &[u8]) -> io::Result<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    let mut found = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        // What other processes or files share is not its own.
        let is_file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
        let Some((begin, end)) = range.split_once('-') else { continue };
        let (Ok(begin), Ok(end)) = (u64::from_str_radix(begin, 16), u64::from_str_radix(end, 16)) else {
            continue;
        };
        if is_file || !rights.starts_with("rw-p") {
            continue;
        }
        let mut held = vec![0; (end - begin) as usize];
        // Pages come and go while the process runs.
        if memory.read_exact_at(&mut held, begin).is_err() {
            continue;
        }
        let places = held.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes);
        for (offset, window) in places {
            memory.write_all_at(&[window.first().map_or(0, |byte| byte ^ 1)], begin + offset as u64)?;
            found += 1;
        }
    }
    Ok(found)
}
