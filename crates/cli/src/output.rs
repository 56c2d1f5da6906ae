//! Standard output. A reader that has closed it (`nearkin … | head`) is no error.

use std::io::{self, ErrorKind, Write as _};

use crate::exit::{Exit, Failure, OrExit as _};

/// Writes `text` as it is.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.or_exit(Exit::NotWritable),
    }
}
