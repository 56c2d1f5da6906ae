//! The step graph of a recipe, in an engine, with its state.

use std::collections::BTreeMap;

use nearkin_autodiff::{
    Checkpoint, Lowering, Mask, MaskKind, Selection, Trainable, Training, TrainingStep, Which,
    dropout_nodes, select, training_step,
};
use nearkin_nn::{DropKind, Scope, Value};
use nearkin_onnx::{Model, Tensor};
use nearkin_runtime::{Carried, Device, EngineChoice, Library, Options, Session, State};

use crate::error::TrainError;
use crate::network::Network;
use crate::objective::{self, Objective, Rows, names};
use crate::recipe::{Recipe, TrainableRule};

/// A step graph and where its tensors go.
pub struct Step {
    pub(crate) session: Session,
    pub(crate) carried: Vec<Carried>,
    /// The optimiser, where gradients are accumulated.
    pub(crate) apply: Option<(Session, Vec<Carried>)>,
    pub(crate) scalars: TrainingStep,
    pub(crate) terms: Vec<String>,
    pub(crate) has_alpha: bool,
    pub(crate) is_multi_label: bool,
    /// Parameters by their own names, then by what holds their average.
    averaged: BTreeMap<String, String>,
}

impl Step {
    /// Makes the step graph and loads it.
    ///
    /// # Errors
    /// [`TrainError`]: an objective that does not fit, an operator without a rule, an engine that
    /// refuses the graph.
    pub(crate) fn new(
        network: &Network,
        recipe: &Recipe,
        objective: &Objective,
        rows: Rows,
        images: usize,
        options: &Options,
    ) -> Result<Self, TrainError> {
        let model = with_objective(network, objective, rows, recipe.seed)?;
        let selection = Selection {
            trainable: which(&recipe.trainable),
            classifier: network.classifier.clone(),
            weight_decay: recipe.weight_decay,
            layer_decay: recipe.layer_decay,
        };
        let mut trainable = select(&model, names::TOTAL, &selection)?;
        add_centres(&model, &mut trainable);
        let mut training = Training {
            batch_norm: recipe.batch_norm(),
            clip_norm: recipe.clip_norm,
            average: recipe.average,
            masks: masks(network, &model, recipe)?,
            accumulate: (recipe.accumulate > 1).then_some(recipe.accumulate),
            checkpoint: if recipe.recompute { Checkpoint::Auto } else { Checkpoint::Off },
            ..Training::new(images, trainable, recipe.optimiser())
        };
        let what = &network.model.graph.name;
        let mut loaded = None;
        let lowerings = lowerings(options);
        for (place, &lowering) in lowerings.iter().enumerate() {
            training.lowering = lowering;
            let step = training_step(&model, names::TOTAL, &training)?;
            let sessions = load(&step.model, &step, what, options).and_then(|session| {
                let apply = step.apply.as_ref();
                Ok((session, apply.map(|model| load(model, &step, what, options)).transpose()?))
            });
            match sessions {
                Ok((session, apply)) => {
                    loaded = Some((step, session, apply));
                    break;
                }
                // An engine without those operators takes ONNX's own.
                Err(_) if place + 1 < lowerings.len() => {}
                Err(error) => return Err(error),
            }
        }
        drop(model);
        let (step, (session, carried), apply) = loaded.ok_or_else(|| TrainError::Network {
            name: what.clone(),
            reason: "no form of its step graph was tried".to_owned(),
        })?;
        let averaged = step
            .slots
            .iter()
            .filter_map(|slot| {
                let name = slot.input.strip_suffix("/average")?;
                Some((name.to_owned(), slot.input.clone()))
            })
            .collect();
        Ok(Self {
            session,
            carried,
            apply,
            terms: objective::term_names(objective),
            has_alpha: objective.graph.is_some(),
            is_multi_label: objective.losses.iter().any(|(loss, _)| loss.is_multi_label()),
            scalars: step,
            averaged,
        })
    }

    /// The state before the first step.
    ///
    /// # Errors
    /// [`TrainError::Network`] for a parameter without values.
    pub(crate) fn start(&self) -> Result<State, TrainError> {
        let mut state = State::new();
        for slot in &self.scalars.slots {
            let array = to_array(&slot.start).ok_or_else(|| TrainError::Network {
                name: slot.input.clone(),
                reason: "expected f32 values, found none".to_owned(),
            })?;
            state.set(slot.input.clone(), array);
        }
        Ok(state)
    }

    /// Names of the state's tensors.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.scalars.slots.iter().map(|slot| (slot.input.as_str(), slot.start.dims.as_slice()))
    }

    /// Where the state keeps what is evaluated of the parameter `name`: its average if there is one.
    pub(crate) fn evaluated(&self, name: &str) -> Option<&str> {
        if let Some(average) = self.averaged.get(name) {
            return Some(average);
        }
        self.scalars.slots.iter().find(|slot| slot.input == name).map(|slot| slot.input.as_str())
    }
}

/// An array of the tensor's f32 values.
pub(crate) fn to_array(tensor: &Tensor) -> Option<ndarray::ArrayD<f32>> {
    ndarray::ArrayD::from_shape_vec(tensor.dims.clone(), tensor.to_f32()?).ok()
}

/// The forward graph with the objective on it.
fn with_objective(
    network: &Network,
    objective: &Objective,
    rows: Rows,
    seed: u64,
) -> Result<Model, TrainError> {
    let mut model = network.model.clone();
    let (embedding, logits) = (network.value(&network.embedding)?, network.value(&network.logits)?);
    let graph = std::mem::replace(&mut model.graph, nearkin_onnx::Graph::new(""));
    let s = Scope::over(graph);
    let told = objective::emit(
        &s,
        Value::of(embedding),
        Value::of(logits),
        network.classes,
        rows,
        objective,
        seed,
    );
    let mut outputs = vec![embedding];
    outputs.extend(told.into_iter().filter_map(Value::id));
    let mut graph = s.finish()?;
    graph.set_outputs(outputs);
    model.graph = graph;
    Ok(model)
}

/// In which operators the step may be written, the quickest first.
fn lowerings(options: &Options) -> Vec<Lowering> {
    let on_ort = options.engine != EngineChoice::Tract
        && Library::find(options.library.as_deref(), options.device).is_ok();
    match options.device {
        Device::Cuda(_) => vec![Lowering::Cuda],
        Device::Cpu if on_ort => {
            let mut all = vec![Lowering::of_this_processor(), Lowering::Standard];
            all.dedup();
            all
        }
        // What runs on the CPU alone would keep the rest from another device.
        _ => vec![Lowering::Standard],
    }
}

/// A session of a graph of the step, with what it takes from the state and gives back.
fn load(
    model: &Model,
    step: &TrainingStep,
    name: &str,
    options: &Options,
) -> Result<(Session, Vec<Carried>), TrainError> {
    let bytes = model.to_bytes().map_err(|error| TrainError::Network {
        name: name.to_owned(),
        reason: format!("its step graph: {error}"),
    })?;
    let refused = |source| TrainError::Load { what: "the step graph", source };
    let options = Options { frugal_memory: true, ..options.clone() };
    let session = Session::load(bytes, &options).map_err(refused)?;
    let has = |ports: &[nearkin_runtime::Port], name: &str| ports.iter().any(|p| p.name == name);
    let carried = step.slots.iter().filter(|slot| has(session.inputs(), &slot.input));
    let carried = carried
        .map(|slot| Carried {
            input: slot.input.clone(),
            output: has(session.outputs(), &slot.output).then(|| slot.output.clone()),
        })
        .collect();
    Ok((session, carried))
}

fn which(rule: &TrainableRule) -> Which {
    match rule {
        TrainableRule::All => Which::All,
        TrainableRule::Head => Which::Head,
        TrainableRule::Norms => Which::Norms,
        TrainableRule::Biases => Which::Biases,
        TrainableRule::Last(count) => Which::LastLayers(*count),
        TrainableRule::Patterns(patterns) => Which::Patterns(patterns.clone()),
    }
}

/// The learnt centres of losses are always trained.
fn add_centres(model: &Model, trainable: &mut Vec<Trainable>) {
    for (id, _) in model.graph.initialisers() {
        let name = &model.graph.value(*id).name;
        if name.starts_with(names::CENTRES) && !trainable.iter().any(|t| t.name == *name) {
            trainable.push(Trainable { name: name.clone(), decay: 0.0, rate: 1.0 });
        }
    }
}

/// What is dropped at random: where the network says so, and at `Dropout` nodes of a foreign file.
fn masks(network: &Network, model: &Model, recipe: &Recipe) -> Result<Vec<Mask>, TrainError> {
    let mut masks: Vec<Mask> = network
        .drop_sites
        .iter()
        .map(|site| Mask {
            value: site.value.clone(),
            reader: site.reader.clone(),
            kind: match site.kind {
                DropKind::Path { .. } => MaskKind::Row,
                DropKind::Elements => MaskKind::Element,
            },
            rate: site.rate(recipe.drop_path, recipe.dropout),
        })
        .filter(|mask| mask.rate > 0.0)
        .collect();
    if recipe.dropout > 0.0 {
        masks.extend(dropout_nodes(model)?);
    }
    if masks.is_empty() && recipe.drop_path + recipe.dropout > 0.0 {
        return Err(TrainError::Network {
            name: model.graph.name.clone(),
            reason: "it says no place where values are dropped in training".to_owned(),
        });
    }
    Ok(masks)
}
