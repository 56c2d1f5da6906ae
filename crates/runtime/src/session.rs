//! A loaded model: checks what goes in, and gives out what was asked for.

use crate::embedding::EMBEDDING;
use crate::error::{DeviceError, LoadError, RunError};
use crate::library::{Library, SETUP_COMMAND};
use crate::options::{Device, EngineChoice, Options};
use crate::ort_engine::OrtEngine;
use crate::pieces;
use crate::report::{EmbeddingOrigin, SessionReport};
use crate::source::{Prepared, Source};
use crate::state::{Carried, Feed, Held, HeldValue, NextState, State};
#[cfg(feature = "tract")]
use crate::tract_engine::TractEngine;
use crate::value::{Input, Port, Tensor, TensorView};
use ndarray::{Array2, ArrayView, Dimension};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// What runs a model: ONNX Runtime or tract.
///
/// Callers use [`Session`], which checks every argument first.
pub trait Engine: Send {
    /// What the model is fed.
    fn inputs(&self) -> &[Port];

    /// What the model gives.
    fn outputs(&self) -> &[Port];

    /// Runs the model once.
    ///
    /// - `inputs`: one for each of [`Engine::inputs`], in that order, of its element type and shape.
    /// - `outputs`: positions in [`Engine::outputs`].
    /// - returns: one tensor for each of `outputs`, in row-major order.
    ///
    /// # Errors
    /// [`RunError::Engine`], [`RunError::OutputElement`].
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &[usize],
    ) -> Result<Vec<Tensor>, RunError>;

    /// Runs the model once with inputs that may lie in the engine, and leaves some outputs there.
    ///
    /// An engine that keeps nothing of its own goes by way of this process's memory.
    ///
    /// - `inputs`: one for each of [`Engine::inputs`], as for [`Engine::run`].
    /// - `outputs`: positions of what is copied out; `kept`: of what stays.
    ///
    /// # Errors
    /// As [`Engine::run`].
    fn advance(
        &mut self,
        inputs: &[Feed<'_, '_>],
        outputs: &[usize],
        kept: &[usize],
    ) -> Result<(Vec<Tensor>, Vec<Held>), RunError> {
        let view = |feed: &'_ Feed<'_, '_>| match feed {
            Feed::Given(view) => Ok(view.to_tensor()),
            Feed::Held(held) => held.tensor("state"),
        };
        let tensors = inputs.iter().map(view).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<TensorView<'_>> = tensors.iter().map(Tensor::view).collect();
        let mut all = self.run(&views, &[outputs, kept].concat())?;
        let held = all.split_off(outputs.len());
        Ok((all, held.into_iter().map(|tensor| Held(HeldValue::Host(tensor))).collect()))
    }
}

/// What an engine knows of itself once it has loaded a model.
pub(crate) struct Facts {
    pub(crate) engine: &'static str,
    pub(crate) version: String,
    pub(crate) library: Option<PathBuf>,
    pub(crate) nodes_per_provider: BTreeMap<String, usize>,
    pub(crate) notice: Option<String>,
}

/// A model, ready to run.
///
/// Sessions are independent of each other: each may run in a thread of its own.
pub struct Session {
    engine: Box<dyn Engine>,
    report: SessionReport,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("report", &self.report).finish_non_exhaustive()
    }
}

impl Session {
    /// Loads a model.
    ///
    /// A file is loaded from where it lies, with its external data, if its embedding is one of its
    /// outputs; otherwise its graph is read, the embedding becomes an output, and the model without
    /// its external data is held in memory once more while it loads (at most 2 GB).
    ///
    /// # Errors
    /// [`LoadError`] says what is wrong with the model, the library or the device.
    pub fn load(source: impl Into<Source>, options: &Options) -> Result<Self, LoadError> {
        let start = Instant::now();
        let prepared = Prepared::new(source.into(), options.embedding.as_deref())?;
        let (model_bytes, embedding) = (prepared.model_bytes, prepared.embedding.clone());
        let (engine, facts) = load_engine(prepared, options)?;
        let provider = facts.nodes_per_provider.iter().max_by_key(|(_, nodes)| **nodes);
        let report = SessionReport {
            provider: provider.map_or_else(String::new, |(name, _)| name.clone()),
            engine: facts.engine,
            engine_version: facts.version,
            library: facts.library,
            device_asked: options.device.to_string(),
            nodes_per_provider: facts.nodes_per_provider,
            threads: options.thread_count(),
            load_s: start.elapsed().as_secs_f64(),
            model_bytes,
            embedding,
            notice: facts.notice,
        };
        Ok(Self { engine, report })
    }

    /// What the model is fed.
    pub fn inputs(&self) -> &[Port] {
        self.engine.inputs()
    }

    /// What the model gives.
    pub fn outputs(&self) -> &[Port] {
        self.engine.outputs()
    }

    /// Which engine runs, where, and what it cost to load.
    pub fn report(&self) -> &SessionReport {
        &self.report
    }

    /// What the user should know, in one line: another engine or device than the best one.
    pub fn notice(&self) -> Option<&str> {
        self.report.notice.as_deref()
    }

    /// Runs the model.
    ///
    /// A batch may be of any size, also where the model was exported for one: it then runs in
    /// pieces of that size, the last one filled up with zeros.
    ///
    /// - `inputs`: every input of the model, by name, in any order.
    /// - `outputs`: names; `embedding` stands for the session's embedding, whatever it is called.
    /// - returns: one tensor for each name, in that order. Inputs in row-major order are not copied
    ///   on ONNX Runtime and copied once on tract; outputs are copied once.
    ///
    /// # Errors
    /// [`RunError`] names the input or output, what was expected and what was found.
    pub fn run(&mut self, inputs: &[Input<'_>], outputs: &[&str]) -> Result<Vec<Tensor>, RunError> {
        let wanted = outputs.iter().map(|name| self.output(name)).collect::<Result<Vec<_>, _>>()?;
        let values = self.arrange(inputs)?;
        if let Some(batch) = pieces::size(self.engine.as_ref(), &values, &wanted) {
            return pieces::run(self.engine.as_mut(), &values[0], &wanted, batch);
        }
        for (port, value) in self.inputs().iter().zip(&values) {
            if !port.takes(value.shape()) {
                return Err(RunError::InputShape {
                    name: port.name.clone(),
                    expected: port.describe(),
                    found: value.shape().to_vec(),
                });
            }
        }
        self.engine.run(&values, &wanted)
    }

    /// Runs the model once, some inputs from `state`, and gives what becomes of it.
    ///
    /// The state lies where the engine computes: with ONNX Runtime nothing of it is copied. It stays
    /// as it was until [`State::accept`], so a step that went wrong can be left out.
    ///
    /// - `inputs`: every input that is not carried, by name, of exactly the model's shape.
    /// - `carried`: inputs fed from the state, with the outputs that replace them.
    /// - `outputs`: names of what is copied out.
    ///
    /// # Errors
    /// As [`Session::run`]; [`RunError::NotKept`] for a carried input that the state lacks.
    pub fn advance(
        &mut self,
        state: &State,
        carried: &[Carried],
        inputs: &[Input<'_>],
        outputs: &[&str],
    ) -> Result<(Vec<Tensor>, NextState), RunError> {
        let wanted = outputs.iter().map(|name| self.output(name)).collect::<Result<Vec<_>, _>>()?;
        let changing: Vec<(&Carried, &String)> =
            carried.iter().filter_map(|c| Some((c, c.output.as_ref()?))).collect();
        let kept =
            changing.iter().map(|(_, name)| self.output(name)).collect::<Result<Vec<_>, _>>()?;
        let ports = self.inputs();
        let mut feeds = Vec::with_capacity(ports.len());
        let mut given = self.given(inputs, |name| carried.iter().any(|c| c.input == name))?;
        for port in ports {
            if carried.iter().any(|c| c.input == port.name) {
                feeds.push(Feed::Held(state.held(&port.name)?));
                continue;
            }
            let found = given.iter().position(|(name, _)| *name == port.name);
            let (_, value) = found.map(|at| given.swap_remove(at)).ok_or_else(|| {
                RunError::MissingInput { name: port.name.clone(), known: names(ports) }
            })?;
            if !port.takes(value.shape()) {
                return Err(RunError::InputShape {
                    name: port.name.clone(),
                    expected: port.describe(),
                    found: value.shape().to_vec(),
                });
            }
            feeds.push(Feed::Given(value));
        }
        let (tensors, held) = self.engine.advance(&feeds, &wanted, &kept)?;
        let next = changing.into_iter().map(|(c, _)| c.input.clone()).zip(held).collect();
        Ok((tensors, NextState::new(next)))
    }

    /// Embeds a batch of images.
    ///
    /// - `images`: what the model's one input takes, usually `[N, C, H, W]`.
    /// - returns: `[N, D]`, one row for each image; further axes are flattened into `D`.
    ///
    /// # Errors
    /// As [`Session::run`]; [`RunError::NoEmbedding`]; [`RunError::OutputShape`] if the embedding
    /// has no row for each image.
    pub fn embed<D: Dimension>(
        &mut self,
        images: ArrayView<'_, f32, D>,
    ) -> Result<Array2<f32>, RunError> {
        let rows = images.shape().first().copied().unwrap_or(1);
        let name = self.inputs().first().map(|port| port.name.clone()).unwrap_or_default();
        let outputs = self.run(&[Input::new(&name, images.view())], &[EMBEDDING])?;
        let output = || self.report.embedding.value().unwrap_or(EMBEDDING).to_owned();
        let Some(embedding) = outputs.into_iter().next().and_then(Tensor::into_f32) else {
            return Err(RunError::OutputElement { name: output(), found: "i64".to_owned() });
        };
        let found = embedding.shape().to_vec();
        let width = found.iter().skip(1).product::<usize>();
        if found.first() != Some(&rows) {
            let expected = format!("{rows} rows");
            return Err(RunError::OutputShape { name: output(), expected, found });
        }
        embedding.into_shape_with_order((rows, width)).map_err(|_| RunError::OutputShape {
            name: output(),
            expected: format!("[{rows}, {width}]"),
            found,
        })
    }

    /// The position of the output of this name.
    fn output(&self, name: &str) -> Result<usize, RunError> {
        let ports = self.outputs();
        let find = |name: &str| ports.iter().position(|port| port.name == name);
        let alias = || self.report.embedding.value().filter(|_| name == EMBEDDING).and_then(find);
        find(name).or_else(alias).ok_or_else(|| match &self.report.embedding {
            EmbeddingOrigin::None { reason } if name == EMBEDDING => {
                RunError::NoEmbedding { reason: reason.clone() }
            }
            _ => RunError::UnknownOutput { name: name.to_owned(), known: names(ports) },
        })
    }

    /// The inputs in the order of the model's, their names and element types checked.
    fn arrange<'a>(&self, inputs: &[Input<'a>]) -> Result<Vec<TensorView<'a>>, RunError> {
        let ports = self.inputs();
        let given = self.given(inputs, |_| false)?;
        let find = |port: &Port| {
            let found = given.iter().find(|(name, _)| *name == port.name);
            let missing =
                || RunError::MissingInput { name: port.name.clone(), known: names(ports) };
            found.map(|(_, value)| value.clone()).ok_or_else(missing)
        };
        ports.iter().map(find).collect()
    }

    /// What the caller gives, its names and element types checked; `carried` are fed otherwise.
    fn given<'a>(
        &self,
        inputs: &[Input<'a>],
        carried: impl Fn(&str) -> bool,
    ) -> Result<Vec<(&'a str, TensorView<'a>)>, RunError> {
        let ports = self.inputs();
        let check = |(i, input): (usize, &Input<'a>)| {
            let name = || input.name.to_owned();
            let port = ports.iter().find(|port| port.name == input.name);
            let port =
                port.ok_or_else(|| RunError::UnknownInput { name: name(), known: names(ports) })?;
            if carried(input.name) || inputs[..i].iter().any(|other| other.name == input.name) {
                return Err(RunError::InputTwice { name: name() });
            }
            let found = input.value.element();
            if found.onnx() != port.element {
                let expected = port.element;
                return Err(RunError::InputElement { name: name(), expected, found });
            }
            let shape = input.value.shape();
            if shape.contains(&0) {
                return Err(RunError::Empty { name: name(), found: shape.to_vec() });
            }
            Ok((input.name, input.value.clone()))
        };
        inputs.iter().enumerate().map(check).collect()
    }
}

fn names(ports: &[Port]) -> Vec<String> {
    ports.iter().map(|port| port.name.clone()).collect()
}

fn load_engine(
    prepared: Prepared,
    options: &Options,
) -> Result<(Box<dyn Engine>, Facts), LoadError> {
    let find = || Library::find(options.library.as_deref(), options.device);
    let library = match options.engine {
        EngineChoice::Tract => return load_tract(prepared, options, None),
        EngineChoice::Ort => find()?,
        EngineChoice::Auto => match find() {
            Ok(library) => library,
            Err(error) if error.is_users() || !cfg!(feature = "tract") => return Err(error.into()),
            Err(error) => {
                let notice = format!(
                    "running on tract, which is slower: ONNX Runtime is not used ({}); `{SETUP_COMMAND}` brings it",
                    error.brief()
                );
                return load_tract(prepared, options, Some(notice));
            }
        },
    };
    let (engine, facts) = OrtEngine::load(&library, prepared, options)?;
    Ok((Box::new(engine), facts))
}

#[cfg(feature = "tract")]
fn load_tract(
    prepared: Prepared,
    options: &Options,
    notice: Option<String>,
) -> Result<(Box<dyn Engine>, Facts), LoadError> {
    if let Device::Cuda(_) = options.device {
        let device = options.device.to_string();
        return Err(LoadError::Device { device, source: DeviceError::TractIsCpuOnly });
    }
    let (engine, facts) = TractEngine::load(prepared, options.thread_count())?;
    Ok((Box::new(engine), Facts { notice, ..facts }))
}

#[cfg(not(feature = "tract"))]
fn load_tract(
    _prepared: Prepared,
    options: &Options,
    _notice: Option<String>,
) -> Result<(Box<dyn Engine>, Facts), LoadError> {
    match options.device {
        Device::Cuda(_) => Err(LoadError::Device {
            device: options.device.to_string(),
            source: DeviceError::TractIsCpuOnly,
        }),
        _ => Err(LoadError::NoTract),
    }
}
