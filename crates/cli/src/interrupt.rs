//! Ctrl-C: the first one asks to stop, the second one stops.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A flag that Ctrl-C, or a request to terminate, sets; a second one ends the program at once.
///
/// If the handler cannot be installed the signal keeps its usual effect, which loses no result
/// either: every result is on the disk when the next case begins.
pub(crate) fn flag() -> &'static AtomicBool {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted as i32);
        }
    };
    let _ = ctrlc::set_handler(handler);
    &INTERRUPTED
}
