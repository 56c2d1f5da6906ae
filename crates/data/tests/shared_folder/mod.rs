//! Where the real data sets are, on a machine that has them.

use std::path::{Path, PathBuf};

/// `$NEARKIN_SHARED`, else `../shared` beside the workspace; `None` with one line if absent.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::var_os("NEARKIN_SHARED")
        .map_or_else(|| workspace.join("../shared"), PathBuf::from);
    let path = root.join("data").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    #[expect(clippy::print_stderr, reason = "a test without its data says so")]
    {
        eprintln!("not checked: {} is not there", path.display());
    }
    None
}
