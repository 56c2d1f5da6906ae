//! Opens a library to see whether it is an ONNX Runtime that will do.

use std::ffi::CStr;
use std::path::Path;

/// What a library says of itself.
pub(super) struct Probed {
    pub(super) version: String,
}

/// A library that will not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("{}", words(.0))]
    Open(libloading::Error),
    #[error("it is no ONNX Runtime: it does not export OrtGetApiBase")]
    Foreign,
    #[error("it is no ONNX Runtime: OrtGetApiBase returns nothing")]
    NoBase,
    #[error("ONNX Runtime 1.{} or later is needed, it is {found}", ort::MINOR_VERSION)]
    TooOld { found: String },
}

/// Opens `path`, asks for its version, and closes it again.
///
/// ort does the same when it loads the library, but answers two of these mistakes with a panic.
#[expect(unsafe_code, reason = "opening a dynamic library and calling its entry point")]
pub(super) fn probe(path: &Path) -> Result<Probed, ProbeError> {
    // SAFETY: opening a library runs its initialisers. It is one that the user named, or that lies
    // where ONNX Runtime's library is expected; there is no way to look inside without opening it.
    let library = unsafe { libloading::Library::new(path) }.map_err(ProbeError::Open)?;
    type Entry = unsafe extern "system" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: `Entry` is the signature that every version of ONNX Runtime exports by this name.
    let entry =
        unsafe { library.get::<Entry>(b"OrtGetApiBase\0") }.map_err(|_| ProbeError::Foreign)?;
    // SAFETY: as above; it takes nothing and returns a static table, or null.
    let base = unsafe { entry().as_ref() }.ok_or(ProbeError::NoBase)?;
    // SAFETY: the table's second entry returns a static string with a final zero.
    let version = unsafe { (base.GetVersionString)().as_ref().map(|text| CStr::from_ptr(text)) };
    let version = version.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    // An old library answers a request for a newer table on standard error: its version is asked first.
    // SAFETY: the table's first entry takes any number and returns null for one it does not know.
    if !new_enough(&version) || unsafe { (base.GetApi)(ort::MINOR_VERSION) }.is_null() {
        return Err(ProbeError::TooOld { found: version });
    }
    Ok(Probed { version })
}

/// The system's reason: libloading keeps it as the source of its own error.
fn words(error: &libloading::Error) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    parts.next() == Some(1) && parts.next().is_some_and(|minor| minor >= ort::MINOR_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_is_the_api_that_ort_was_built_for() {
        assert!(new_enough("1.31.1"));
        assert!(new_enough(&format!("1.{}.0", ort::MINOR_VERSION)));
        assert!(!new_enough("1.9.0"));
        assert!(!new_enough("2.99.0"));
        assert!(!new_enough(""));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_foreign_library_and_no_library_are_told_apart() {
        let foreign = probe(Path::new("libm.so.6")).err().unwrap();
        assert!(matches!(foreign, ProbeError::Foreign), "{foreign}");
        let file = tempfile::NamedTempFile::with_suffix(".so").unwrap();
        let broken = probe(file.path()).err().unwrap();
        assert!(broken.to_string().contains("file too short"), "{broken}");
    }
}
