//! Where the library may be.

use super::Attempt;
use crate::options::Device;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a library came to be tried, as the report names it.
pub(super) const GIVEN: &str = "(given)";
pub(super) const ENVIRONMENT: &str = "(ORT_DYLIB_PATH)";

/// How long a Python interpreter may take to say where its package is.
const PYTHON_PATIENCE: Duration = Duration::from_secs(3);

/// Prints the package's folder without importing it.
const PYTHON_QUESTION: &str = "import importlib.util as u\n\
    s = u.find_spec('onnxruntime')\n\
    print(s.submodule_search_locations[0] if s else '')";

/// One kind of place.
pub(super) enum Places {
    /// A path that the user named, and by what means.
    Named(PathBuf, &'static str),
    /// `onnxruntime/` in one of these target folders, its flavours in this order.
    Setup { targets: Vec<PathBuf>, flavours: [&'static str; 2] },
    /// Python's package.
    Python { virtual_env: Option<PathBuf> },
    /// Names for the system's loader.
    System,
}

type Candidate = Result<(PathBuf, String), Attempt>;

impl Places {
    /// The places to try, in order.
    pub(super) fn of_process(named: Option<&Path>, device: Device) -> Vec<Self> {
        if let Some(path) = named {
            return vec![Self::Named(path.to_owned(), GIVEN)];
        }
        if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
            return vec![Self::Named(path.into(), ENVIRONMENT)];
        }
        let current = std::env::current_dir().unwrap_or_default();
        let executable = std::env::current_exe().unwrap_or_default();
        let targets = target_folders(&current, &executable, std::env::var_os("CARGO_TARGET_DIR"));
        let flavours = if device == Device::Cpu { ["cpu", "cuda"] } else { ["cuda", "cpu"] };
        vec![
            Self::Setup { targets, flavours },
            Self::Python { virtual_env: std::env::var_os("VIRTUAL_ENV").map(PathBuf::from) },
            Self::System,
        ]
    }

    /// The libraries there, or why there is none.
    pub(super) fn candidates(self) -> Vec<Candidate> {
        match self {
            Self::Named(path, origin) => named(&path, origin),
            Self::Setup { targets, flavours } => setup(&targets, flavours),
            Self::Python { virtual_env } => python(virtual_env.as_deref()),
            Self::System => system_names()
                .iter()
                .map(|name| Ok((PathBuf::from(name), "the system's loader".to_owned())))
                .collect(),
        }
    }
}

fn named(path: &Path, origin: &'static str) -> Vec<Candidate> {
    let bare = origin.trim_matches(['(', ')']).to_owned();
    let fail = |reason: &str| {
        let place = format!("{} {origin}", path.display());
        vec![Err(Attempt { place, reason: reason.to_owned(), broken: true })]
    };
    if path.is_dir() {
        return match libraries_in(path).pop() {
            Some(library) => vec![Ok((library, bare))],
            None => fail("the folder holds no ONNX Runtime library"),
        };
    }
    // A bare file name is for the system's loader; a path must be there.
    if path.components().count() > 1 && !path.exists() {
        return fail("no such file");
    }
    vec![Ok((path.to_owned(), bare))]
}

/// Cargo's target folders, as far as can be told: `target` above the current folder, where the
/// executable was built, and the one that the environment names.
fn target_folders(current: &Path, executable: &Path, named: Option<OsString>) -> Vec<PathBuf> {
    let above = |path: &Path| path.ancestors().map(|folder| folder.join("target")).collect();
    let mut folders: Vec<PathBuf> = named.map(PathBuf::from).into_iter().collect();
    folders.extend::<Vec<PathBuf>>(above(current));
    // A target folder of another name holds the executable at debug/ or release/, or one below.
    folders.extend(executable.ancestors().skip(2).take(3).map(Path::to_owned));
    folders.extend::<Vec<PathBuf>>(above(executable));
    folders
}

fn setup(targets: &[PathBuf], flavours: [&str; 2]) -> Vec<Candidate> {
    let mut found: Vec<PathBuf> = Vec::new();
    for flavour in flavours {
        for target in targets {
            let flavour = target.join("onnxruntime").join(flavour);
            let inner = folders_in(&flavour, "lib");
            for folder in std::iter::once(flavour).chain(inner) {
                if let Some(library) = libraries_in(&folder).pop()
                    && !found.contains(&library)
                {
                    found.push(library);
                }
            }
        }
    }
    if found.is_empty() {
        let nearest = targets.iter().find(|target| target.is_dir()).or(targets.first());
        let nearest = nearest.map(|target| target.join("onnxruntime").display().to_string());
        let place = format!("{} and above", nearest.unwrap_or_default());
        return vec![Err(Attempt { place, reason: "no library there".into(), broken: false })];
    }
    found.into_iter().map(|path| Ok((path, "cargo xtask setup".to_owned()))).collect()
}

fn python(virtual_env: Option<&Path>) -> Vec<Candidate> {
    let mut packages = Vec::new();
    if let Some(root) = virtual_env {
        let lib = root.join("lib");
        let sites =
            folders_in(&lib, "python").into_iter().map(|python| python.join("site-packages"));
        // Windows has no folder per version.
        packages.extend(
            sites.chain([root.join("Lib/site-packages")]).map(|site| site.join("onnxruntime")),
        );
    }
    let mut found: Vec<PathBuf> =
        packages.iter().filter_map(|package| libraries_in(&package.join("capi")).pop()).collect();
    let mut reason = "not installed".to_owned();
    if found.is_empty() {
        match ask_python() {
            Ok(package) => found.extend(libraries_in(&package.join("capi")).pop()),
            Err(error) => reason = error,
        }
    }
    if found.is_empty() {
        let place = "the Python package onnxruntime".to_owned();
        return vec![Err(Attempt { place, reason, broken: false })];
    }
    found.into_iter().map(|path| Ok((path, "the Python package".to_owned()))).collect()
}

/// The folder of Python's `onnxruntime`, as the interpreter on the path knows it.
fn ask_python() -> Result<PathBuf, String> {
    let program = if cfg!(windows) { "python" } else { "python3" };
    let mut child = Command::new(program)
        .args(["-c", PYTHON_QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let asked = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if asked.elapsed() < PYTHON_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => {
                let reason = match outcome {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("no answer within {} s", PYTHON_PATIENCE.as_secs()),
                };
                // It may have ended meanwhile; either way it is not waited for any longer.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program}: {reason}"));
            }
        }
    }
    let output = child.wait_with_output().map_err(|error| format!("{program}: {error}"))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    match answer.trim() {
        "" => Err("not installed".to_owned()),
        folder => Ok(PathBuf::from(folder)),
    }
}

fn system_names() -> &'static [&'static str] {
    if cfg!(windows) {
        &["onnxruntime.dll"]
    } else if cfg!(target_vendor = "apple") {
        &["libonnxruntime.dylib"]
    } else {
        &["libonnxruntime.so", "libonnxruntime.so.1"]
    }
}

/// ONNX Runtime's own libraries in `folder`, the newest last.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        entries(folder).filter(|path| path.file_name().is_some_and(is_library)).collect();
    found.sort_by_key(|path| (version_of(path), path.clone()));
    found
}

/// `libonnxruntime.so`, `libonnxruntime.so.1.31.1`, `libonnxruntime.1.31.1.dylib`,
/// `onnxruntime.dll`; not `libonnxruntime_providers_shared.so`.
fn is_library(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let versions = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if cfg!(windows) {
        name == "onnxruntime.dll"
    } else if cfg!(target_vendor = "apple") {
        name.strip_prefix("libonnxruntime")
            .and_then(|rest| rest.strip_suffix(".dylib"))
            .is_some_and(versions)
    } else {
        name.strip_prefix("libonnxruntime.so").is_some_and(versions)
    }
}

/// The numbers in a file's name, for comparison.
fn version_of(path: &Path) -> Vec<u32> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn folders_in(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| {
        path.is_dir()
            && path.file_name().and_then(OsStr::to_str).is_some_and(|n| n.starts_with(prefix))
    };
    let mut found: Vec<PathBuf> = entries(folder).filter(named).collect();
    found.sort();
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::fs;

    fn touch(path: PathBuf) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"").unwrap();
        path
    }

    fn paths(candidates: Vec<Candidate>) -> Vec<PathBuf> {
        candidates.into_iter().map(|candidate| candidate.unwrap().0).collect()
    }

    #[test]
    fn setup_is_found_upward_with_the_wanted_flavour_first_and_the_newest_version() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("target/onnxruntime");
        touch(home.join("cpu/libonnxruntime.so.1.9.0"));
        let cpu = touch(home.join("cpu/libonnxruntime.so.1.31.1"));
        touch(home.join("cpu/libonnxruntime_providers_shared.so"));
        let cuda = touch(home.join("cuda/lib64/libonnxruntime.so.1.31.1"));
        let targets = target_folders(&root.path().join("crates/deep"), Path::new("/bin/x"), None);
        assert_eq!(paths(setup(&targets, ["cpu", "cuda"])), [cpu.clone(), cuda.clone()]);
        assert_eq!(paths(setup(&targets, ["cuda", "cpu"])), [cuda, cpu]);
    }

    #[test]
    fn a_target_folder_of_another_name_is_found_from_the_executable_and_the_environment() {
        let root = tempfile::tempdir().unwrap();
        let built = root.path().join("built");
        let library = touch(built.join("onnxruntime/cpu/libonnxruntime.so"));
        for executable in ["built/release/nearkin", "built/debug/deps/nearkin"] {
            let targets = target_folders(Path::new("/"), &root.path().join(executable), None);
            assert_eq!(paths(setup(&targets, ["cpu", "cuda"])), [library.as_path()]);
        }
        let targets = target_folders(Path::new("/"), Path::new("/bin/x"), Some(built.into()));
        assert_eq!(paths(setup(&targets, ["cpu", "cuda"])), [library]);
    }

    #[test]
    fn a_missing_setup_names_where_it_looked() {
        let root = tempfile::tempdir().unwrap();
        let targets = [root.path().to_owned()];
        let attempt = setup(&targets, ["cpu", "cuda"]).pop().unwrap().unwrap_err();
        assert!(attempt.place.contains(&root.path().display().to_string()), "{attempt:?}");
        assert!(!attempt.broken);
    }

    #[test]
    fn a_virtual_environment_is_found_without_asking_python() {
        let root = tempfile::tempdir().unwrap();
        let capi = root.path().join("lib/python3.12/site-packages/onnxruntime/capi");
        let library = touch(capi.join("libonnxruntime.so.1.31.1"));
        assert_eq!(paths(python(Some(root.path()))), [library]);
    }

    #[test]
    fn a_named_folder_must_hold_a_library_and_a_named_file_must_exist() {
        let root = tempfile::tempdir().unwrap();
        let empty = named(root.path(), GIVEN).pop().unwrap().unwrap_err();
        assert_eq!(empty.reason, "the folder holds no ONNX Runtime library");
        let absent = named(&root.path().join("x.so"), GIVEN).pop().unwrap().unwrap_err();
        assert!(absent.place.ends_with("x.so (given)"), "{absent:?}");
        assert_eq!(absent.reason, "no such file");
        let library = touch(root.path().join("libonnxruntime.so"));
        assert_eq!(paths(named(root.path(), GIVEN)), [library.as_path()]);
        assert_eq!(paths(named(&library, GIVEN)), [library]);
    }
}
