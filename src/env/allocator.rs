//! The C library's allocator, told once how the daemon uses memory.

/// Buffers from this length on go back to the system when they are freed, in bytes. By itself glibc raises this to the
/// longest buffer that was freed so far, and from then on keeps what is freed: the parts of uploads would stay the
/// daemon's, twice over, beside what `--memory` counts.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 1 << 20;

/// Has large buffers given back when they are freed.
pub fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers, and may be called at any time and by any thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
