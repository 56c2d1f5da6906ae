//! The step graph of a recipe, in an engine, with its state.

use std::collections::BTreeMap;

use nearkin_autodiff::{Trainable, Training, TrainingStep, training_step};
use nearkin_nn::{Scope, Value};
use nearkin_onnx::{ElementType, Model, Tensor};
use nearkin_runtime::{Carried, Options, Session, State};

use crate::error::TrainError;
use crate::network::Network;
use crate::objective::{self, Objective, Rows, names};
use crate::recipe::{Recipe, TrainableRule};

/// A step graph and where its tensors go.
pub struct Step {
    pub(crate) session: Session,
    pub(crate) carried: Vec<Carried>,
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
        let training = Training {
            batch: images,
            trainable: trainable(network, &model, recipe, objective)?,
            optimiser: recipe.optimiser(),
            batch_norm: recipe.batch_norm(),
            clip_norm: recipe.clip_norm,
            average: recipe.average,
            lowering: nearkin_autodiff::Lowering::Standard,
        };
        let step = training_step(&model, names::TOTAL, &training)?;
        drop(model);
        let bytes = step.model.to_bytes().map_err(|error| TrainError::Network {
            name: network.model.graph.name.clone(),
            reason: format!("its step graph: {error}"),
        })?;
        let load = |source| TrainError::Load { what: "the step graph", source };
        let session = Session::load(bytes, options).map_err(load)?;
        let carried: Vec<Carried> = step
            .slots
            .iter()
            .map(|slot| Carried { input: slot.input.clone(), output: Some(slot.output.clone()) })
            .collect();
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

/// The parameters that the recipe trains and the objective depends on.
fn trainable(
    network: &Network,
    model: &Model,
    recipe: &Recipe,
    objective: &Objective,
) -> Result<Vec<Trainable>, TrainError> {
    let graph = &model.graph;
    let reached = reaching(model, names::TOTAL);
    let buffers: Vec<usize> = graph
        .nodes()
        .iter()
        .filter(|node| node.op == "BatchNormalization")
        .flat_map(|node| node.inputs.iter().skip(3).take(2).flatten().map(|id| id.index()))
        .collect();
    let head = format!("{}.", network.classifier);
    let chosen = |name: &str, dims: &[usize]| {
        let of_head = name.starts_with(&head) || name.starts_with(names::CENTRES);
        let vector = dims.len() <= 1;
        of_head
            || match &recipe.trainable {
                TrainableRule::All => true,
                TrainableRule::Head => false,
                TrainableRule::Norms => vector && !name.ends_with(".bias") || is_norm(model, name),
                TrainableRule::Biases => name.ends_with(".bias"),
                TrainableRule::Prefixes(prefixes) => {
                    prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
                }
            }
    };
    let mut all = Vec::new();
    for (id, tensor) in graph.initialisers() {
        let name = &graph.value(*id).name;
        let parameter = tensor.element == ElementType::Float
            && !name.starts_with("constant/")
            && !buffers.contains(&id.index())
            && reached[id.index()];
        if parameter && chosen(name, &tensor.dims) {
            let plain = tensor.dims.len() <= 1 || name.ends_with(".bias");
            let decay = if plain { 0.0 } else { recipe.weight_decay };
            all.push(Trainable { name: name.clone(), decay, rate: 1.0 });
        }
    }
    if all.is_empty() {
        let losses: Vec<&str> = objective.losses.iter().map(|(loss, _)| loss.name()).collect();
        return Err(TrainError::Network {
            name: network.model.graph.name.clone(),
            reason: format!(
                "no parameter that {:?} chooses is reached by {}",
                recipe.trainable,
                losses.join(", ")
            ),
        });
    }
    Ok(all)
}

fn is_norm(model: &Model, name: &str) -> bool {
    let graph = &model.graph;
    let Some(id) = graph.find(name) else { return false };
    graph.consumers(id).any(|node| {
        matches!(
            graph.node(node).op.as_str(),
            "BatchNormalization" | "LayerNormalization" | "GroupNormalization"
        )
    })
}

/// For each value, whether `target` is computed from it.
fn reaching(model: &Model, target: &str) -> Vec<bool> {
    let graph = &model.graph;
    let mut reached = vec![false; graph.values().len()];
    let mut open: Vec<_> = graph.find(target).into_iter().collect();
    while let Some(id) = open.pop() {
        if std::mem::replace(&mut reached[id.index()], true) {
            continue;
        }
        if let Some(node) = graph.producer(id) {
            open.extend(graph.node(node).inputs.iter().flatten().copied());
        }
    }
    reached
}
