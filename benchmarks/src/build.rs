//! What this library was built from, so that a result says which code it measured.

use serde::{Deserialize, Serialize};

/// Source and compiler of a build of nearkin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Version of the workspace.
    pub version: String,
    /// Full git revision; absent for a build outside a checkout.
    pub git_revision: Option<String>,
    /// Whether tracked files differed from that revision; absent where the revision is.
    pub git_dirty: Option<bool>,
    /// The compiler's own version line.
    pub rustc: Option<String>,
    /// `release` or `debug`; timings of a debug build mean nothing.
    pub profile: Option<String>,
    /// Target triple.
    pub target: Option<String>,
}

impl Build {
    /// This build.
    #[must_use]
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_revision: known(env!("NEARKIN_GIT_REVISION")),
            git_dirty: known(env!("NEARKIN_GIT_DIRTY")).map(|dirty| dirty == "true"),
            rustc: known(env!("NEARKIN_RUSTC")),
            profile: known(env!("NEARKIN_PROFILE")),
            target: known(env!("NEARKIN_TARGET")),
        }
    }

    /// Version, short revision and a `+` for changed files, as in `0.1.0 (1a2b3c4d5e+)`.
    #[must_use]
    pub fn label(&self) -> String {
        let dirty = if self.git_dirty == Some(true) { "+" } else { "" };
        match &self.git_revision {
            Some(revision) => {
                let short: String = revision.chars().take(10).collect();
                format!("{} ({short}{dirty})", self.version)
            }
            None => self.version.clone(),
        }
    }
}

fn known(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_marks_changed_files() {
        let build = Build {
            git_revision: Some("0123456789abcdef".to_owned()),
            git_dirty: Some(true),
            ..Build::this()
        };
        assert_eq!(build.label(), format!("{} (0123456789+)", env!("CARGO_PKG_VERSION")));
        let outside = Build { git_revision: None, ..build };
        assert_eq!(outside.label(), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn this_build_knows_its_compiler() {
        assert!(Build::this().rustc.is_some_and(|line| line.starts_with("rustc ")));
    }
}
