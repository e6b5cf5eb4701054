//! The `kvfs` program: everything is in the library.

use std::process::ExitCode;

/// The buffers that long values pass through are made and freed at each request. The system's allocator gives such
/// memory back at once, and the kernel zeroes the pages of the next one; this one keeps it for a moment.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads when the program starts: few arenas, and a tenth of a second until freed memory goes back (the
/// parts of an upload, too), so that what a mount takes stays near its budget (`--memory`).
// SAFETY: this is the name and the form that jemalloc documents for its options, a pointer to text that ends in NUL;
// nothing else is called so.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 67] =
    b"narenas:2,dirty_decay_ms:100,muzzy_decay_ms:0,oversize_threshold:0\0";

fn main() -> ExitCode {
    kvfs::cli::run()
}
