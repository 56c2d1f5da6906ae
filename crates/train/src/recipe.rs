//! How a network is trained, as plain data: what a TOML file says.

use nearkin_autodiff::{BatchNorm, Optimiser};
use nearkin_loss::{Alpha, EdgeDistance, LossError, Schedule, StopGradient};
use serde::{Deserialize, Serialize};

use crate::objective::{GraphObjective, Layer, Loss, Objective};
use crate::schedule::{RateSchedule, ScheduleError};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Passes over as many images as the training part has, at least 1.
    pub epochs: u64,
    /// Steps of an epoch; by default what `batch` labelled images a step make of all training images.
    pub steps_per_epoch: Option<u64>,
    /// Labelled images in a step, at least 1; at most the labelled images that there are.
    pub batch: usize,
    /// Of the order of images and edges, of augmentation and masks.
    pub seed: u64,
    /// How parameters follow their gradients.
    pub optimiser: OptimiserName,
    /// Momentum of `sgd` and `rmsprop`, in [0, 1).
    pub momentum: f32,
    /// The peak of the learning rate, above 0.
    pub learning_rate: f64,
    /// The learning rate over the steps.
    pub schedule: RateSchedule,
    /// Weight decay; not on biases and normalisation. At least 0.
    pub weight_decay: f32,
    /// The L2 norm of all gradients together is held down to this.
    pub clip_norm: Option<f32>,
    /// Keeps a moving average of the weights, with this share of the old, in (0, 1); it is what is
    /// evaluated and exported.
    pub average: Option<f32>,
    /// What is trained.
    pub trainable: TrainableRule,
    /// Factor on the learning rate from each layer to the one before it, in (0, 1].
    pub layer_decay: Option<f32>,
    /// How batch normalisation is trained.
    pub batch_norm: TrainingBatchNorm,
    /// Stochastic depth: the share of images whose last residual branch is dropped, in [0, 1).
    pub drop_path: f32,
    /// Dropout of the embedding, and where else the network has it, in [0, 1).
    pub dropout: f32,
    /// Batches whose mean gradient makes one step, at least 1.
    pub accumulate: usize,
    /// Computes parts of the forward pass again in the backward pass, to need less memory.
    pub recompute: bool,
    /// Losses on labelled images.
    pub losses: Vec<WeightedLoss>,
    /// The graph's term; without it the graph is of no use.
    pub graph: Option<GraphRecipe>,
    /// Epochs without a better validation accuracy after which the training ends.
    pub patience: Option<u64>,
}

/// A loss and its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedLoss {
    /// The loss.
    #[serde(flatten)]
    pub loss: Loss,
    /// Its weight, above 0.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// The optimisers by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserName {
    /// SGD with momentum.
    Sgd,
    /// SGD with Nesterov's momentum.
    Nesterov,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    #[default]
    Adamw,
    /// RMSprop.
    Rmsprop,
    /// Lion.
    Lion,
}

/// What is trained; the head always is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainableRule {
    /// Every parameter.
    #[default]
    All,
    /// The linear layer on the embedding.
    Head,
    /// Scales and shifts of normalisation.
    Norms,
    /// Biases.
    Biases,
    /// The last so many layers.
    Last(usize),
    /// Parameters that one of these patterns matches (`*` any text, `?` any character), but none that
    /// begins with `!`.
    Patterns(Vec<String>),
}

/// How batch normalisation is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingBatchNorm {
    /// By the statistics of the batch.
    #[default]
    Batch,
    /// By the running statistics, which stay.
    Frozen,
}

/// How the graph takes part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphRecipe {
    /// α, at least 0; 0 is the control: the same steps on the same images without the term.
    pub alpha: f32,
    /// α rises over this share of all steps, in [0, 1].
    pub warm_up: f64,
    /// d: `l1`, `squared-l2`, `l2`, `cosine`, `kl`, `js`, `cross-entropy`.
    #[serde(with = "distance_name")]
    pub distance: EdgeDistance,
    /// Of what.
    pub layer: Layer,
    /// Edges in a step, at least 1.
    pub edges: usize,
    /// How they are drawn.
    pub sampling: Sampling,
    /// The end of an edge that has a label, or the first, holds still.
    pub stop_gradient: bool,
    /// Weight of a cross-entropy of the edges' images with the labels that the graph carries to them,
    /// at least 0; 0 leaves it out. By default 1 for losses of one class, 0 for images of several.
    pub carried: Option<f32>,
    /// How much of a carried label comes from neighbours, in (0, 1): label spreading's α.
    pub carried_spread: f64,
    /// Weight of the term against collapse; 0 leaves it out.
    pub repulsion: f32,
    /// Its margin, above 0.
    pub repulsion_margin: f32,
}

/// How a step's edges are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// From the whole graph, by weight.
    #[default]
    Edges,
    /// From the whole graph, with these shares of labelled–labelled, labelled–unlabelled and
    /// unlabelled–unlabelled edges; by weight within a kind.
    Kinds(f64, f64, f64),
    /// Neighbours of the step's labelled images, by weight.
    Neighbours,
}

impl Default for GraphRecipe {
    fn default() -> Self {
        Self {
            alpha: 0.1,
            warm_up: 0.0,
            distance: EdgeDistance::SquaredL2,
            layer: Layer::Logits,
            edges: 256,
            sampling: Sampling::Edges,
            stop_gradient: false,
            carried: None,
            carried_spread: 0.99,
            repulsion: 0.0,
            repulsion_margin: 1.0,
        }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            epochs: 20,
            steps_per_epoch: None,
            batch: 64,
            seed: 0,
            optimiser: OptimiserName::Adamw,
            momentum: 0.9,
            learning_rate: 1e-3,
            schedule: RateSchedule::Cosine { warm_up_epochs: 1.0, last: 0.0 },
            weight_decay: 0.01,
            clip_norm: None,
            average: None,
            trainable: TrainableRule::All,
            layer_decay: None,
            batch_norm: TrainingBatchNorm::Batch,
            drop_path: 0.0,
            dropout: 0.0,
            accumulate: 1,
            recompute: false,
            losses: vec![WeightedLoss { loss: Loss::CROSS_ENTROPY, weight: 1.0 }],
            graph: None,
            patience: None,
        }
    }
}

/// A setting outside its range, or settings that do not go together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// A setting outside its range.
    #[error("{field}: expected {expected}, found {found}")]
    Setting {
        /// The field.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The learning rate's schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A loss's setting.
    #[error(transparent)]
    Loss(#[from] LossError),
}

impl Recipe {
    /// Refuses settings outside their ranges.
    ///
    /// # Errors
    /// [`RecipeError`] names the field.
    pub fn check(&self) -> Result<(), RecipeError> {
        let wrong =
            |field, expected, found: String| Err(RecipeError::Setting { field, expected, found });
        for (field, found) in [("epochs", self.epochs), ("batch", self.batch as u64)] {
            if found == 0 {
                return wrong(field, "at least 1", "0".to_owned());
            }
        }
        if self.steps_per_epoch == Some(0) {
            return wrong("steps_per_epoch", "at least 1", "0".to_owned());
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return wrong("learning_rate", "above 0", self.learning_rate.to_string());
        }
        if self.losses.is_empty() {
            return wrong("losses", "at least one", "none".to_owned());
        }
        if let Some(loss) = self.losses.iter().find(|l| !(l.weight > 0.0 && l.weight.is_finite())) {
            return wrong("weight of a loss", "above 0", loss.weight.to_string());
        }
        for (i, loss) in self.losses.iter().enumerate() {
            if self.losses[..i].iter().any(|other| other.loss.name() == loss.loss.name()) {
                return wrong("losses", "each loss once", loss.loss.name().to_owned());
            }
        }
        let multi = self.losses.iter().filter(|l| l.loss.is_multi_label()).count();
        if multi > 0 && multi < self.losses.len() {
            let found = "binary-cross-entropy beside a loss of one class".to_owned();
            return wrong("losses", "losses of one kind of label", found);
        }
        for (field, found) in [("drop_path", self.drop_path), ("dropout", self.dropout)] {
            if !(0.0..1.0).contains(&found) {
                return wrong(field, "at least 0 and below 1", found.to_string());
            }
        }
        if self.accumulate == 0 {
            return wrong("accumulate", "at least 1", "0".to_owned());
        }
        if self.patience == Some(0) {
            return wrong("patience", "at least 1", "0".to_owned());
        }
        if let Some(graph) = &self.graph {
            if graph.edges == 0 {
                return wrong("graph.edges", "at least 1", "0".to_owned());
            }
            if !(0.0..=1.0).contains(&graph.warm_up) {
                return wrong("graph.warm_up", "a share in [0, 1]", graph.warm_up.to_string());
            }
            if !(graph.repulsion >= 0.0 && graph.repulsion.is_finite()) {
                return wrong("graph.repulsion", "at least 0", graph.repulsion.to_string());
            }
            if let Some(found) = graph.carried.filter(|x| !(*x >= 0.0 && x.is_finite())) {
                return wrong("graph.carried", "at least 0", found.to_string());
            }
            if !(graph.carried_spread > 0.0 && graph.carried_spread < 1.0) {
                let found = graph.carried_spread.to_string();
                return wrong("graph.carried_spread", "above 0 and below 1", found);
            }
            if graph.carried.is_some_and(|weight| weight > 0.0) && multi > 0 {
                let found = "images of several classes".to_owned();
                return wrong("graph.carried", "0, or losses of one class", found);
            }
            if graph.distance.is_of_probabilities() && graph.layer != Layer::Probabilities {
                let found = format!("{:?} of {:?}", graph.distance, graph.layer);
                return wrong("graph.layer", "probabilities with a distance of them", found);
            }
        }
        self.schedule.check()?;
        Ok(())
    }

    /// The optimiser with its settings.
    pub fn optimiser(&self) -> Optimiser {
        let betas = (0.9, 0.999);
        match self.optimiser {
            OptimiserName::Sgd => Optimiser::Sgd { momentum: self.momentum, nesterov: false },
            OptimiserName::Nesterov => Optimiser::Sgd { momentum: self.momentum, nesterov: true },
            OptimiserName::Adam => Optimiser::Adam { betas, eps: 1e-8 },
            OptimiserName::Adamw => Optimiser::AdamW { betas, eps: 1e-8 },
            OptimiserName::Rmsprop => {
                Optimiser::RmsProp { alpha: 0.9, eps: 1e-8, momentum: self.momentum }
            }
            OptimiserName::Lion => Optimiser::Lion { betas: (0.9, 0.99) },
        }
    }

    /// The weight of carried labels, if they take part.
    pub(crate) fn carried(&self) -> Option<f32> {
        let graph = self.graph.as_ref()?;
        let multi = self.losses.iter().any(|loss| loss.loss.is_multi_label());
        let weight = graph.carried.unwrap_or(if multi { 0.0 } else { 1.0 });
        (weight > 0.0).then_some(weight)
    }

    pub(crate) fn batch_norm(&self) -> BatchNorm {
        match self.batch_norm {
            TrainingBatchNorm::Batch => BatchNorm::OfBatch,
            TrainingBatchNorm::Frozen => BatchNorm::Frozen,
        }
    }

    /// The objective of a training of `steps` steps.
    ///
    /// # Errors
    /// [`RecipeError::Loss`] for an α that is negative or not finite.
    pub fn objective(&self, steps: u64) -> Result<Objective, RecipeError> {
        let graph = self.graph.as_ref().map(|graph| -> Result<GraphObjective, RecipeError> {
            let warm_up = (graph.warm_up * steps as f64) as u64;
            let schedule = match warm_up {
                0 => Schedule::Constant,
                steps => Schedule::WarmUp { steps },
            };
            Ok(GraphObjective {
                distance: graph.distance,
                layer: graph.layer,
                stop_gradient: match graph.stop_gradient {
                    true => StopGradient::First,
                    false => StopGradient::Neither,
                },
                alpha: Alpha::new(graph.alpha, schedule)?,
                carried: self.carried(),
                repulsion: (graph.repulsion > 0.0)
                    .then_some((graph.repulsion, graph.repulsion_margin)),
            })
        });
        let losses = self.losses.iter().map(|l| (l.loss.clone(), l.weight)).collect();
        Ok(Objective { losses, graph: graph.transpose()? })
    }
}

/// Distances by the names of recipes and options.
pub(crate) mod distance_name {
    use nearkin_loss::EdgeDistance;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) const ALL: [(&str, EdgeDistance); 7] = [
        ("l1", EdgeDistance::L1),
        ("squared-l2", EdgeDistance::SquaredL2),
        ("l2", EdgeDistance::L2),
        ("cosine", EdgeDistance::Cosine),
        ("kl", EdgeDistance::KullbackLeibler),
        ("js", EdgeDistance::JensenShannon),
        ("cross-entropy", EdgeDistance::CrossEntropy),
    ];

    pub(crate) fn serialize<S: Serializer>(
        distance: &EdgeDistance,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name(*distance))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<EdgeDistance, D::Error> {
        let name = String::deserialize(deserializer)?;
        by_name(&name).map_err(serde::de::Error::custom)
    }

    pub(crate) fn name(distance: EdgeDistance) -> &'static str {
        let found = ALL.iter().find(|(_, known)| *known == distance);
        found.map_or("", |(name, _)| name)
    }

    pub(crate) fn by_name(name: &str) -> Result<EdgeDistance, String> {
        let found = ALL.iter().find(|(known, _)| *known == name);
        let known = || ALL.map(|(known, _)| known).join(", ");
        found
            .map(|(_, distance)| *distance)
            .ok_or_else(|| format!("expected a distance of {}, found {name:?}", known()))
    }
}

/// A distance between the ends of an edge, by its name in recipes.
///
/// # Errors
/// The known names.
pub fn edge_distance(name: &str) -> Result<EdgeDistance, String> {
    distance_name::by_name(name)
}
