//! Wrong and missing libraries. One test, as a process keeps the first library that loads.

mod common;
#[path = "common/nets.rs"]
mod nets;

use nearkin_runtime::{Device, EngineChoice, Library, LibraryError, LoadError, Options, Session};
use std::path::{Path, PathBuf};

fn load(engine: EngineChoice, library: &Path) -> Result<Session, LoadError> {
    let bytes = nets::dense().model(&["logits"]).to_bytes().unwrap();
    let library = Some(library.to_owned());
    Session::load(bytes, &Options { library, ..common::options(engine) })
}

#[test]
#[cfg(target_os = "linux")]
fn a_wrong_library_is_refused_with_the_reason_and_a_second_one_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.so");
    std::fs::write(&garbage, [b'x'; 4096]).unwrap();
    let cases: [(&Path, &str); 4] = [
        (Path::new("/no/such/libonnxruntime.so"), "no such file"),
        (&garbage, "invalid ELF header"),
        (Path::new("libm.so.6"), "does not export OrtGetApiBase"),
        (folder.path(), "the folder holds no ONNX Runtime library"),
    ];
    for (path, reason) in cases {
        for engine in [EngineChoice::Ort, EngineChoice::Auto] {
            let error = load(engine, path).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, LoadError::Library(LibraryError::NotFound { .. })), "{text}");
            assert!(text.contains(reason) && text.contains(&path.display().to_string()), "{text}");
            assert!(text.contains("cargo xtask setup"), "{text}");
        }
    }
    // A failure leaves the way open for the right library.
    if common::has_onnx_runtime() {
        let library = Library::find(None, Device::Cpu).unwrap();
        assert!(library.version.starts_with("1."), "{}", library.version);
        assert!(load(EngineChoice::Ort, &library.path).is_ok());
        let error =
            load(EngineChoice::Ort, &PathBuf::from("/other/libonnxruntime.so")).unwrap_err();
        assert!(matches!(error, LoadError::Library(LibraryError::Other { .. })), "{error}");
    }
}
