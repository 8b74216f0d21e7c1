//! File descriptors that a task can wait for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Lets tasks wait until `fd` is readable. To be called within the runtime.
///
/// # Errors
/// Where the operating system does not let it be waited for.
pub fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "unsound for types that do not own their descriptor, which this one does; what replaces it is unsafe"
    )]
    AsyncFd::new(fd)
}
