//! Reads the cases from their files.

use super::{Case, Value};
use ndarray::ArrayD;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// A case that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file or folder that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Tensors in another form than `make.py` writes.
    #[error("{}: {reason}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

pub(super) fn cases() -> Result<Vec<Case>, CaseError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/conformance");
    let fail = |source| CaseError::File { path: folder.clone(), source };
    let mut models = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            models.push(path);
        }
    }
    models.sort();
    models.iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Result<Case, CaseError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| CaseError::File { path: path.to_owned(), source })
    };
    let beside = path.with_extension("safetensors");
    let bytes = read(&beside)?;
    let wrong = |reason: String| CaseError::Tensors { path: beside.clone(), reason };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
    let tolerance = header.metadata().as_ref().and_then(|entries| entries.get("tolerance"));
    let tolerance = tolerance
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong("no tolerance in its metadata".to_owned()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
    let side = |prefix: &str| {
        let mut names: Vec<&str> = tensors.names().into_iter().collect();
        names.sort_unstable();
        names
            .into_iter()
            .filter_map(|name| Some((name, name.strip_prefix(prefix)?.to_owned())))
            .map(|(key, name)| Ok((name, value(&tensors, key).map_err(wrong)?)))
            .collect::<Result<Vec<_>, CaseError>>()
    };
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Case { name, model: read(path)?, inputs: side("in.")?, outputs: side("out.")?, tolerance })
}

fn value(tensors: &SafeTensors<'_>, key: &str) -> Result<Value, String> {
    let tensor = tensors.tensor(key).map_err(|error| error.to_string())?;
    let (shape, data) = (tensor.shape().to_vec(), tensor.data());
    match tensor.dtype() {
        Dtype::F32 => {
            let values = data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            ArrayD::from_shape_vec(shape, values.collect()).map(Value::F32)
        }
        Dtype::I64 => {
            let values = data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
            ArrayD::from_shape_vec(shape, values.collect()).map(Value::I64)
        }
        other => return Err(format!("{key}: expected F32 or I64, found {other:?}")),
    }
    .map_err(|error| format!("{key}: {error}"))
}
