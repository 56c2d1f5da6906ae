//! The committed table of wheels.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// Which build of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Device {
    /// The processor
    Cpu,
    /// NVIDIA GPUs, with CUDA 13 and cuDNN 9
    Cuda,
}

impl Device {
    /// Name of its folder under `target/onnxruntime`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    version: String,
    python: String,
    wheel: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    device: Device,
    package: String,
    os: String,
    arch: String,
    platform: String,
    sha256: String,
}

/// One pinned wheel.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    pub(crate) version: String,
    /// CPython version of the wheel, without the dot; of no consequence for the libraries.
    pub(crate) python: String,
    pub(crate) package: String,
    /// pip's platform tag.
    pub(crate) platform: String,
    pub(crate) sha256: String,
}

impl Wheel {
    /// File name on the package index.
    pub(crate) fn file(&self) -> String {
        let package = self.package.replace('-', "_");
        let Self { version, python, platform, .. } = self;
        format!("{package}-{version}-cp{python}-cp{python}-{platform}.whl")
    }
}

fn table() -> Result<Table> {
    toml::from_str(include_str!("../../onnxruntime.toml")).context("xtask/onnxruntime.toml")
}

/// The wheel for a device on a machine, as `std::env::consts` names it.
pub(crate) fn for_machine(device: Device, os: &str, arch: &str) -> Result<Wheel> {
    let Table { version, python, wheel: rows } = table()?;
    let fits = |row: &Row| row.device == device && row.os == os && row.arch == arch;
    if cfg!(target_env = "musl") || !rows.iter().any(fits) {
        let has: Vec<String> = rows
            .iter()
            .filter(|row| row.device == device)
            .map(|row| format!("{} {}", row.os, row.arch))
            .collect();
        bail!(
            "there is no ONNX Runtime {version} wheel with {} libraries for {os} {arch}{}: it \
             exists for {}. Without it nearkin runs on tract; a library that you built yourself is \
             used when ORT_DYLIB_PATH names it",
            device.name(),
            if cfg!(target_env = "musl") { " with musl" } else { "" },
            has.join(", "),
        );
    }
    let row = rows.into_iter().find(fits).context("a row that fits")?;
    Ok(Wheel { version, python, package: row.package, platform: row.platform, sha256: row.sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_machine_has_one_wheel_with_a_whole_sum() {
        let table = table().expect("the table parses");
        let machines: BTreeSet<_> =
            table.wheel.iter().map(|row| (row.device.name(), &row.os, &row.arch)).collect();
        assert_eq!(machines.len(), table.wheel.len(), "two rows for one machine");
        for row in &table.wheel {
            assert!(
                row.sha256.len() == 64 && row.sha256.bytes().all(|b| b.is_ascii_hexdigit()),
                "{}: not a SHA-256: {}",
                row.platform,
                row.sha256
            );
        }
    }

    #[test]
    fn the_linux_wheel_has_the_name_of_the_package_index() {
        let wheel = for_machine(Device::Cuda, "linux", "x86_64").expect("pinned");
        assert_eq!(
            wheel.file(),
            format!("onnxruntime_gpu-{}-cp312-cp312-manylinux_2_28_x86_64.whl", wheel.version)
        );
    }

    #[test]
    fn a_machine_without_a_wheel_learns_what_to_do() {
        let error = for_machine(Device::Cuda, "macos", "aarch64").expect_err("no such wheel");
        let text = error.to_string();
        assert!(text.contains("macos aarch64") && text.contains("ORT_DYLIB_PATH"), "{text}");
        assert!(text.contains("linux x86_64"), "names what exists: {text}");
    }
}
