//! What we depend on: licences, sources, and packages built in more than one version.
//!
//! The lists stand in deny.toml, in cargo-deny's format; an entry that is no longer needed fails
//! as much as one that is missing. The resolved graph of all targets is looked at, so the verdict
//! is the same on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::semver::{Version, VersionReq};
use cargo_metadata::{Metadata, Package};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use super::report;
use crate::workspace::Workspace;

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    /// `name@requirement`, as cargo-deny writes it.
    #[serde(rename = "crate")]
    package: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let deny = read(&workspace.root)?;
    let metadata = workspace.metadata()?;
    let packages = &metadata.packages;
    let mut findings = licences(&deny.licenses.allow, &licence_of(packages))?;
    findings.extend(sources(&deny.sources.allow_registry, packages));
    findings.extend(duplicates(&deny.bans.skip, &versions(packages), &users(&metadata))?);
    report(&findings)
}

fn read(root: &Path) -> Result<Deny> {
    let path = root.join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    toml::from_str(&text).context("deny.toml")
}

fn licence_of(packages: &[Package]) -> Vec<(String, Option<String>)> {
    packages
        .iter()
        .map(|package| (format!("{} {}", package.name, package.version), package.license.clone()))
        .collect()
}

/// Packages whose SPDX expression the allowed licences do not satisfy, and licences nobody names.
fn licences(allow: &[String], packages: &[(String, Option<String>)]) -> Result<Vec<String>> {
    let mut allowed = Vec::new();
    for licence in allow {
        let parsed = Licensee::parse(licence)
            .with_context(|| format!("deny.toml: {licence} is no SPDX licence"))?;
        allowed.push((licence, parsed, false));
    }
    let mut found = Vec::new();
    for (package, licence) in packages {
        let Some(licence) = licence else {
            found.push(format!("{package} states no licence in its manifest"));
            continue;
        };
        let expression = match Expression::parse_mode(licence, ParseMode::LAX) {
            Ok(expression) => expression,
            Err(error) => {
                found.push(format!(
                    "{package}: licence {licence:?} is no SPDX expression: {}",
                    error.reason
                ));
                continue;
            }
        };
        let satisfied = expression.evaluate(|requirement| {
            let mut any = false;
            for (_, licensee, used) in &mut allowed {
                if licensee.satisfies(requirement) {
                    *used = true;
                    any = true;
                }
            }
            any
        });
        if !satisfied {
            found.push(format!("{package}: licence {licence} is not allowed by deny.toml"));
        }
    }
    for (licence, ..) in allowed.iter().filter(|(.., used)| !used) {
        found.push(format!("deny.toml allows {licence}, which no dependency names: remove it"));
    }
    Ok(found)
}

/// Packages from elsewhere than the allowed registries and this workspace.
fn sources(allow: &[String], packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter_map(|package| {
            let source = package.source.as_ref()?.repr.as_str();
            let registry = source.strip_prefix("registry+").or(source.strip_prefix("sparse+"));
            let allowed = registry.is_some_and(|url| allow.iter().any(|known| known == url));
            (!allowed).then(|| {
                format!("{} {}: source {source} is not allowed", package.name, package.version)
            })
        })
        .collect()
}

type Versions = BTreeMap<String, BTreeSet<Version>>;

fn versions(packages: &[Package]) -> Versions {
    let mut versions = Versions::new();
    for package in packages {
        versions.entry(package.name.to_string()).or_default().insert(package.version.clone());
    }
    versions
}

/// `name version` of every package, with the names of the packages that depend on it.
fn users(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
        for dependency in &node.dependencies {
            let used = &metadata[dependency];
            let user = metadata[&node.id].name.to_string();
            users.entry(format!("{} {}", used.name, used.version)).or_default().insert(user);
        }
    }
    users
}

/// Packages that stand in several versions without a reason, and reasons without such a package.
fn duplicates(
    skips: &[Skip],
    versions: &Versions,
    users: &BTreeMap<String, BTreeSet<String>>,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut left: Versions = versions
        .iter()
        .filter(|(_, all)| all.len() > 1)
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    for Skip { package, reason } in skips {
        let (name, requirement) = package
            .split_once('@')
            .with_context(|| format!("deny.toml: {package:?} is not of the form name@version"))?;
        let requirement = VersionReq::parse(&format!("~{requirement}"))
            .with_context(|| format!("deny.toml: {package:?}"))?;
        if reason.trim().is_empty() {
            found.push(format!("deny.toml skips {package} without a reason"));
        }
        let needed = left.get_mut(name).is_some_and(|left| {
            let before = left.len();
            left.retain(|version| !requirement.matches(version));
            left.len() < before
        });
        if !needed {
            found.push(format!("deny.toml skips {package}, which is no duplicate now: remove it"));
        }
    }
    for (name, left) in left {
        if left.is_empty() {
            found.push(format!("deny.toml skips every version of {name}: keep the newest out"));
        }
        let surplus = left.len().saturating_sub(1);
        for version in left.iter().take(surplus) {
            let by = users.get(&format!("{name} {version}"));
            let by: Vec<&str> = by.into_iter().flatten().map(String::as_str).collect();
            found.push(format!(
                "{name} is built in {} versions: upgrade, or add to deny.toml\n    \
                 {{ crate = \"{name}@{version}\", reason = \"used by {}\" }},",
                versions.get(name.as_str()).map_or(0, BTreeSet::len),
                by.join(", "),
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn package(licence: &str) -> Vec<(String, Option<String>)> {
        vec![("p 1.0.0".to_owned(), Some(licence.to_owned()))]
    }

    fn skip(package: &str) -> Skip {
        Skip { package: package.to_owned(), reason: "because".to_owned() }
    }

    fn two(name: &str, versions: &[&str]) -> Versions {
        let versions = versions.iter().map(|version| Version::parse(version).expect("version"));
        Versions::from([(name.to_owned(), versions.collect())])
    }

    #[test]
    fn this_workspace_keeps_deny_toml() {
        run(&Workspace::here().expect("workspace")).expect("no finding");
    }

    #[test]
    fn one_allowed_branch_of_a_licence_is_enough() {
        let allow = strings(&["MIT"]);
        for licence in ["MIT OR GPL-3.0-only", "MIT/Apache-2.0"] {
            assert_eq!(licences(&allow, &package(licence)).expect("parsed"), [""; 0]);
        }
        let found = licences(&allow, &package("MIT AND GPL-3.0-only")).expect("parsed");
        assert!(found[0].contains("GPL-3.0-only is not allowed"), "{found:?}");
    }

    #[test]
    fn an_allowed_licence_that_nobody_names_is_a_finding() {
        let found = licences(&strings(&["MIT", "Zlib"]), &package("MIT")).expect("parsed");
        assert!(found.len() == 1 && found[0].contains("Zlib"), "{found:?}");
    }

    #[test]
    fn a_package_without_a_licence_is_a_finding() {
        let found = licences(&[], &[("p 1.0.0".to_owned(), None)]).expect("parsed");
        assert!(found[0].contains("states no licence"), "{found:?}");
    }

    #[test]
    fn two_versions_need_a_reason_for_the_older() {
        let versions = two("ndarray", &["0.16.1", "0.17.2"]);
        let found = duplicates(&[], &versions, &BTreeMap::new()).expect("parsed");
        assert!(found.len() == 1 && found[0].contains("ndarray@0.16.1"), "{found:?}");
        let found = duplicates(&[skip("ndarray@0.16")], &versions, &BTreeMap::new());
        assert_eq!(found.expect("parsed"), [""; 0]);
    }

    #[test]
    fn a_reason_that_is_no_longer_needed_is_a_finding() {
        let versions = two("ndarray", &["0.17.2"]);
        let found = duplicates(&[skip("ndarray@0.16")], &versions, &BTreeMap::new());
        assert!(found.expect("parsed")[0].contains("no duplicate now"));
        let versions = two("ndarray", &["0.16.1", "0.17.2"]);
        let found = duplicates(&[skip("ndarray@0.15")], &versions, &BTreeMap::new());
        assert!(found.expect("parsed")[0].contains("no duplicate now"));
    }
}
