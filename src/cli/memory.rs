//! What the C library's allocator is told before the first thread starts.

/// Freed memory of at least this size goes back to the system at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED: i32 = 128 << 10;

/// One arena for each processor instead of eight, and a fixed size from which memory goes back when it is freed. Else
/// most of what a burst of images took stays with the process, spread over the arenas of the threads that stored them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn settle() {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let arenas = i32::try_from(processors).unwrap_or(i32::MAX).max(2);
    // SAFETY: mallopt takes two ints and refuses what it does not know; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
        libc::mallopt(libc::M_MMAP_THRESHOLD, RETURNED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, RETURNED);
    }
}

/// Other allocators have no such settings.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn settle() {}
