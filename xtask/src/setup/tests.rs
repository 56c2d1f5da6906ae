//! Setup on small wheels made here; the real ones are checked by every `cargo xtask ci`.

use std::io::Write as _;

use zip::write::SimpleFileOptions;

use super::*;

fn wheel_of(sha256: &str) -> Wheel {
    Wheel {
        version: "9.9.9".into(),
        python: "312".into(),
        package: "onnxruntime".into(),
        platform: "test".into(),
        sha256: sha256.into(),
    }
}

fn zip(folder: &Path, entries: &[&str]) -> PathBuf {
    let path = folder.join("test.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).expect("created"));
    for entry in entries {
        zip.start_file(*entry, SimpleFileOptions::default()).expect("started");
        zip.write_all(entry.as_bytes()).expect("written");
    }
    zip.finish().expect("finished");
    path
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("listed");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn only_libraries_and_licences_are_unpacked() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = zip(
        folder.path(),
        &[
            "onnxruntime/__init__.py",
            "onnxruntime/LICENSE",
            "onnxruntime/ThirdPartyNotices.txt",
            "onnxruntime/capi/libonnxruntime.so.9.9.9",
            "onnxruntime/capi/libonnxruntime_providers_shared.so",
            "onnxruntime/capi/onnxruntime_pybind11_state.cpython-312-x86_64-linux-gnu.so",
            "onnxruntime/capi/../../escape/libonnxruntime.so.1",
        ],
    );
    let goal = folder.path().join("cpu");
    let installed = unpack::unpack(&file, &goal, &wheel_of("aa")).expect("unpacked");
    assert_eq!(installed.library, "libonnxruntime.so.9.9.9");
    assert_eq!(
        names(&goal),
        [
            "LICENSE",
            "ThirdPartyNotices.txt",
            "installed.json",
            "libonnxruntime.so.9.9.9",
            "libonnxruntime_providers_shared.so",
        ]
    );
}

#[test]
fn windows_and_macos_libraries_are_known() {
    for library in ["onnxruntime.dll", "libonnxruntime.9.9.9.dylib"] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = zip(folder.path(), &[&format!("onnxruntime/capi/{library}")]);
        let goal = folder.path().join("cpu");
        let installed = unpack::unpack(&file, &goal, &wheel_of("aa")).expect("unpacked");
        assert_eq!(installed.library, library);
    }
}

#[test]
fn what_is_whole_is_found_and_what_was_cut_or_changed_is_not() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = zip(folder.path(), &["onnxruntime/capi/libonnxruntime.so.9.9.9"]);
    let goal = folder.path().join("cpu");
    unpack::unpack(&file, &goal, &wheel_of("aa")).expect("unpacked");
    let library = goal.join("libonnxruntime.so.9.9.9");
    assert_eq!(Installed::find(&goal, &wheel_of("aa")), Some(library.clone()));
    assert_eq!(Installed::find(&goal, &wheel_of("bb")), None, "another wheel is pinned now");
    fs::write(&library, b"cut").expect("cut");
    assert_eq!(Installed::find(&goal, &wheel_of("aa")), None, "the library was cut");
}

#[test]
fn another_file_than_the_pinned_wheel_is_refused_with_both_sums() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = zip(folder.path(), &["onnxruntime/capi/libonnxruntime.so.9.9.9"]);
    let error = check_sum(&file, &wheel_of("00aa")).expect_err("refused").to_string();
    let found = files::sha256(&file).expect("read");
    assert!(error.contains("expected sha256 00aa") && error.contains(&found), "{error}");
    check_sum(&file, &wheel_of(&found)).expect("the right sum is accepted");
}

#[test]
fn a_wheel_without_the_library_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = zip(folder.path(), &["onnxruntime/LICENSE"]);
    let error = unpack::unpack(&file, &folder.path().join("cpu"), &wheel_of("aa"))
        .expect_err("refused")
        .to_string();
    assert!(error.contains("no ONNX Runtime library"), "{error}");
}

#[test]
fn what_stood_there_is_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let [fresh, goal, old] = ["fresh", "cpu", "old"].map(|name| folder.path().join(name));
    files::write(&fresh.join("new"), b"").expect("written");
    files::write(&goal.join("stale"), b"").expect("written");
    put_in_place(&fresh, &goal, &old).expect("replaced");
    assert_eq!(names(&goal), ["new"]);
}
