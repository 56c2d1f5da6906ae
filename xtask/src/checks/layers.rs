//! Who may depend on whom.
//!
//! Data flows one way: a crate that knows little stays small, testable and quick to build. The
//! table here is the one of ARCHITECTURE.md. Development dependencies may add `testkit`, and
//! otherwise only what `IN_TESTS` lists.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use cargo_metadata::{DependencyKind, Metadata};

use super::report;
use crate::workspace::Workspace;

/// Folder of a crate, and the folders of ours it may depend on. `zoo/*` is every family.
const TABLE: &[(&str, &[&str])] = &[
    ("crates/onnx", &[]),
    ("crates/nn", &["crates/onnx"]),
    ("crates/autodiff", &["crates/onnx"]),
    ("crates/data", &[]),
    ("crates/metrics", &[]),
    ("crates/graph", &["crates/metrics"]),
    // Only with its feature `onnx`.
    ("crates/loss", &["crates/onnx", "crates/nn"]),
    ("crates/runtime", &["crates/onnx"]),
    ("crates/testkit", &["crates/onnx", "crates/nn", "crates/data"]),
    (
        "crates/train",
        &[
            "crates/onnx",
            "crates/nn",
            "crates/autodiff",
            "crates/data",
            "crates/metrics",
            "crates/graph",
            "crates/loss",
            "crates/runtime",
        ],
    ),
    ("zoo/*", &["crates/onnx", "crates/nn"]),
    ("zoo/registry", &["crates/onnx", "crates/nn", "zoo/*"]),
    (
        "benchmarks",
        &[
            "crates/onnx",
            "crates/nn",
            "crates/autodiff",
            "crates/data",
            "crates/metrics",
            "crates/graph",
            "crates/runtime",
            "zoo/*",
            "zoo/registry",
        ],
    ),
    (
        "crates/cli",
        &[
            "crates/onnx",
            "crates/nn",
            "crates/autodiff",
            "crates/data",
            "crates/metrics",
            "crates/graph",
            "crates/runtime",
            "crates/loss",
            "crates/train",
            "zoo/*",
            "zoo/registry",
            "benchmarks",
        ],
    ),
    ("xtask", &[]),
];

/// The only crate that may name a runtime in its manifest.
const RUNTIME: &str = "crates/runtime";
/// Crates that reach a runtime through it.
const RUNS_MODELS: &[&str] = &[RUNTIME, "crates/train", "crates/cli", "benchmarks"];
const TESTKIT: &str = "crates/testkit";
/// What tests and examples may use beyond what their crate knows: a crate, and one of its
/// development dependencies.
const IN_TESTS: &[(&str, &str)] = &[
    ("crates/autodiff", "crates/nn"),
    ("crates/graph", "crates/data"),
    ("crates/train", "zoo/registry"),
    // Every variant must be trainable, which only a test over the whole list can tell.
    ("zoo/registry", "crates/autodiff"),
    ("zoo/registry", "crates/loss"),
    ("zoo/registry", "crates/runtime"),
];

/// A workspace member: its folder, and the folders of ours it names.
struct Member {
    folder: String,
    depends: Vec<(String, DependencyKind)>,
    /// Names of all packages it reaches without development dependencies.
    reaches: BTreeSet<String>,
}

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let members = members(workspace, &workspace.metadata()?);
    report(&violations(&members))
}

/// One line per dependency that the table does not allow.
fn violations(members: &[Member]) -> Vec<String> {
    let mut found = Vec::new();
    for member in members {
        let folder = &member.folder;
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| name == &row(folder)) else {
            found.push(format!(
                "{folder} is not in the table of xtask/src/checks/layers.rs: give it a row"
            ));
            continue;
        };
        for (dependency, kind) in &member.depends {
            let in_tests = *kind == DependencyKind::Development
                && (dependency == TESTKIT
                    || IN_TESTS.contains(&(folder.as_str(), dependency.as_str())));
            if !in_tests && !allowed.contains(&row(dependency)) {
                let hint = if dependency == TESTKIT {
                    "testkit is for [dev-dependencies] only".to_owned()
                } else if allowed.is_empty() {
                    "it may depend on none of ours".to_owned()
                } else {
                    format!("it may depend on {}", allowed.join(", "))
                };
                found.push(format!("{folder} must not depend on {dependency}: {hint}"));
            }
        }
        if !RUNS_MODELS.contains(&folder.as_str())
            && let Some(runtime) = member.reaches.iter().find(|name| is_runtime(name))
        {
            found.push(format!("{folder} must not link a runtime, but reaches {runtime}"));
        }
    }
    found
}

/// The row of the table for a folder: families share one.
fn row(folder: &str) -> &str {
    if folder.starts_with("zoo/") && folder != "zoo/registry" { "zoo/*" } else { folder }
}

fn is_runtime(package: &str) -> bool {
    matches!(package, "ort" | "ort-sys") || package.starts_with("tract-")
}

fn members(workspace: &Workspace, metadata: &Metadata) -> Vec<Member> {
    let reached = reached(metadata);
    let folder_of = |manifest: &str| {
        let folder = std::path::Path::new(manifest);
        workspace.shown(folder)
    };
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| Member {
            folder: folder_of(package.manifest_path.parent().map_or("", |path| path.as_str())),
            depends: package
                .dependencies
                .iter()
                .filter_map(|dependency| {
                    let path = dependency.path.as_ref()?;
                    Some((folder_of(path.as_str()), dependency.kind))
                })
                .collect(),
            reaches: reached.get(&package.id.repr).cloned().unwrap_or_default(),
        })
        .collect()
}

/// Names of the packages that each member reaches through normal and build dependencies.
fn reached(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
        let next = node.deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|info| info.kind != DependencyKind::Development)
        });
        edges.insert(&node.id.repr, next.map(|dependency| dependency.pkg.repr.as_str()).collect());
    }
    let names: BTreeMap<&str, String> = metadata
        .packages
        .iter()
        .map(|package| (package.id.repr.as_str(), package.name.to_string()))
        .collect();
    let closure = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut todo = vec![start];
        while let Some(id) = todo.pop() {
            for next in edges.get(id).into_iter().flatten() {
                if seen.insert(*next) {
                    todo.push(next);
                }
            }
        }
        seen.into_iter().filter_map(|id| names.get(id).cloned()).collect()
    };
    metadata
        .workspace_members
        .iter()
        .map(|member| (member.repr.clone(), closure(member.repr.as_str())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use DependencyKind::{Development, Normal};

    fn member(folder: &str, depends: &[(&str, DependencyKind)], reaches: &[&str]) -> Member {
        Member {
            folder: folder.to_owned(),
            depends: depends.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
            reaches: reaches.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn check(member: Member, expect: &[&str]) {
        let found = violations(&[member]);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (line, part) in found.iter().zip(expect) {
            assert!(line.contains(part), "{line:?} does not say {part:?}");
        }
    }

    #[test]
    fn this_workspace_keeps_the_table() {
        run(&Workspace::here().expect("workspace")).expect("no violation");
    }

    #[test]
    fn a_family_stands_on_nn_and_onnx_alone() {
        check(member("zoo/vit", &[("crates/nn", Normal), ("crates/onnx", Normal)], &[]), &[]);
        check(
            member("zoo/vit", &[("zoo/resnet", Normal), ("crates/data", Normal)], &[]),
            &["zoo/vit must not depend on zoo/resnet", "zoo/vit must not depend on crates/data"],
        );
    }

    #[test]
    fn testkit_is_for_tests_only() {
        check(member("crates/onnx", &[("crates/testkit", Development)], &[]), &[]);
        check(member("crates/onnx", &[("crates/testkit", Normal)], &[]), &["dev-dependencies"]);
    }

    #[test]
    fn development_dependencies_add_nothing_but_testkit() {
        check(
            member("crates/metrics", &[("crates/graph", Development)], &[]),
            &["crates/metrics must not depend on crates/graph"],
        );
    }

    #[test]
    fn an_example_reads_data_that_its_crate_does_not_know() {
        check(member("crates/graph", &[("crates/data", Development)], &[]), &[]);
        check(
            member("crates/graph", &[("crates/data", Normal)], &[]),
            &["crates/graph must not depend on crates/data"],
        );
    }

    #[test]
    fn the_list_of_families_is_trained_in_its_tests_only() {
        check(member("zoo/registry", &[("crates/autodiff", Development)], &[]), &[]);
        check(
            member("zoo/registry", &[("crates/autodiff", Normal)], &[]),
            &["zoo/registry must not depend on crates/autodiff"],
        );
    }

    #[test]
    fn what_describes_models_never_reaches_a_runtime() {
        check(member("crates/nn", &[], &["serde", "tract-core"]), &["reaches tract-core"]);
        check(member("xtask", &[], &["ort"]), &["reaches ort"]);
        check(member("crates/runtime", &[], &["ort", "tract-onnx"]), &[]);
    }

    #[test]
    fn a_crate_without_a_row_is_refused() {
        check(member("crates/utils", &[], &[]), &["crates/utils is not in the table"]);
    }
}
