//! Writes the model of a case to a file, before its child process starts.
//!
//! The weights are made here, in the parent, so that the child's memory is that of a program
//! which only loads a file and runs it.

use std::io::BufWriter;
use std::path::Path;

use nearkin_nn::{Architecture, Weights};
use nearkin_onnx::{Model, WriteError};
use nearkin_zoo::{Registry, UnknownVariant};

use crate::case::CaseSpec;
use crate::engine::EngineSpec;
use crate::environment::Environment;
use crate::files::write_whole;
use crate::images::Reading;
use crate::plan::options;
use crate::planned::PlannedCase;
use crate::suite::Suite;

/// Weights of more bytes than this go to a file of their own: protobuf ends at 2 GB.
const INLINE_BYTES: u64 = 1 << 30;

/// What the children of one run have in common.
#[derive(Debug)]
pub struct Preparation<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// The data set.
    pub images: &'a Path,
    /// How it is read.
    pub reading: &'a Reading,
    /// The zoo.
    pub registry: &'a Registry,
    /// Engine, threads and seed.
    pub environment: &'a Environment,
}

/// Why the model of a case cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Its variant is not in the zoo.
    #[error(transparent)]
    Variant(#[from] UnknownVariant),
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] nearkin_nn::BuildError),
    /// Its weights do not fit.
    #[error(transparent)]
    Weights(#[from] nearkin_nn::LoadError),
    /// It cannot be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] WriteError),
    /// The file cannot be written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl Preparation<'_> {
    /// Writes the model of `case` into `folder`, which exists, and says what its child must know.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(&self, case: &PlannedCase, folder: &Path) -> Result<CaseSpec, PrepareError> {
        let architecture = self.registry.variant(&case.variant)?.build(&options(case.input))?;
        let weights = Weights::init(&architecture, case.weights.seed.unwrap_or_default());
        let model = architecture.to_model(&weights)?;
        // Both are as large as the file: let go of one before the other is copied again.
        drop(weights);
        let path = folder.join("model.onnx");
        write(&model, &architecture, &path)?;
        let Suite { probe, timing, .. } = self.suite;
        let Environment { engine, threads, seed, .. } = self.environment;
        Ok(CaseSpec {
            model: path,
            input: case.input,
            transform: case.transform.clone(),
            engine: EngineSpec {
                runtime: engine.runtime.clone(),
                device: engine.device.clone(),
                threads: *threads,
                library: engine.library.as_ref().map(Into::into),
            },
            batch: case.batch.clone(),
            data: self.images.to_owned(),
            reading: *self.reading,
            probe: *probe,
            timing: *timing,
            seed: *seed,
        })
    }
}

fn write(model: &Model, architecture: &Architecture, path: &Path) -> Result<(), PrepareError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| PrepareError::File { path, source }
    };
    let bytes = if architecture.weight_bytes() <= INLINE_BYTES {
        model.to_bytes()?
    } else {
        let name = "model.onnx.data";
        let beside = path.with_file_name(name);
        let sink = std::fs::File::create(&beside).map_err(file(&beside))?;
        model.to_bytes_with_external(name, 1024, BufWriter::new(sink))?
    };
    write_whole(path, &bytes).map_err(file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::sample as environment;
    use crate::planned::tests::case;

    fn prepared(variant: &str, seed: u64) -> Result<Vec<u8>, PrepareError> {
        let folder = tempfile::tempdir().unwrap();
        let suite = Suite::load("quick").unwrap();
        let preparation = Preparation {
            suite: &suite,
            images: Path::new("images"),
            reading: &Reading::default(),
            registry: &Registry::standard(),
            environment: &environment(),
        };
        let mut case = case(variant);
        case.weights.seed = Some(seed);
        let spec = preparation.prepare(&case, folder.path())?;
        assert_eq!((spec.engine.threads.get(), spec.engine.runtime.as_str()), (2, "tract"));
        Ok(std::fs::read(spec.model).unwrap())
    }

    #[test]
    fn a_seed_gives_the_same_file_and_another_seed_another() {
        let first = prepared("fcnn_16", 0).unwrap();
        assert_eq!(prepared("fcnn_16", 0).unwrap(), first);
        assert_ne!(prepared("fcnn_16", 1).unwrap(), first);
        let model = Model::from_bytes(first).unwrap();
        let name = |&id: &_| model.graph.value(id).name.clone();
        let outputs: Vec<_> = model.graph.outputs().iter().map(name).collect();
        assert_eq!(outputs, ["embedding"], "no classifier");
    }

    #[test]
    fn a_variant_that_is_gone_is_an_error() {
        assert!(prepared("resnet81", 0).unwrap_err().to_string().contains("resnet18"));
    }
}
