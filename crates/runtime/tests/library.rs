//! Wrong and missing libraries. One test, as a process keeps the first library that loads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

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

#[cfg(all(target_os = "linux", feature = "tract"))]
mod without_a_library {
    use super::*;

    /// Set in the process that has no library within reach.
    const ALONE: &str = "NEARKIN_TEST_WITHOUT_LIBRARY";

    #[test]
    fn auto_runs_on_tract_and_says_so() {
        if std::env::var_os(ALONE).is_some() {
            return;
        }
        // A copy of this program, far from any target folder, with an empty environment.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("test");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let output = std::process::Command::new(&copy)
            .args(["--exact", "without_a_library::alone", "--nocapture"])
            .current_dir(folder.path())
            .env_clear()
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    /// What the copy does; nothing in an ordinary run.
    #[test]
    fn alone() {
        if std::env::var_os(ALONE).is_none() {
            return;
        }
        let bytes = nets::dense().model(&["logits"]).to_bytes().unwrap();
        let session = Session::load(bytes.clone(), &common::options(EngineChoice::Auto)).unwrap();
        if session.report().engine == "ort" {
            // A library that is installed for the whole system is always within reach.
            assert!(session.report().library.is_some());
            return;
        }
        assert_eq!(
            session.report().notice.as_deref(),
            Some(
                "running on tract, which is slower: ONNX Runtime is not used (its library was not \
             found); `cargo xtask setup` brings it"
            )
        );
        let error =
            Session::load(bytes, &common::options(EngineChoice::Ort)).unwrap_err().to_string();
        for place in
            ["onnxruntime and above: ", "the Python package onnxruntime: ", "libonnxruntime.so"]
        {
            assert!(error.contains(place), "{error}");
        }
    }
}
