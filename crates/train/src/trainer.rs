//! The training loop.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ndarray::{Array1, Array2, ArrayD, arr0};
use nearkin_data::{Loader, LoaderConfig, Order, Source, Target};
use nearkin_graph::{
    Distance, Engine, Graph, Spreading, Symmetry, Weighting, knn_graph, label_spreading,
    nearest_neighbours, symmetrised,
};
use nearkin_metrics::Labelled;
use nearkin_onnx::Model;
use nearkin_runtime::{Input, Options, Session, State, Tensor};

use crate::checkpoint::{Checkpoint, CheckpointError, Checkpoints};
use crate::diagnose::first_not_finite;
use crate::error::TrainError;
use crate::evaluate::{Evaluated, Quality, embed_first, quality};
use crate::export::trained_model;
use crate::log::{Log, Record};
use crate::network::Network;
use crate::objective::{Objective, names};
use crate::recipe::Recipe;
use crate::rows::{RowPlan, StepRows};
use crate::schedule::RateSchedule;
use crate::step::Step;

/// Images and what may be known of them.
pub struct Set<S> {
    /// The images with their targets.
    pub source: Arc<S>,
    /// Whether the target of each image may be used, `[n]`.
    pub labelled: Vec<bool>,
}

impl<S: Source<f32>> Set<S> {
    /// All targets that there are may be used.
    pub fn new(source: Arc<S>) -> Self {
        let labelled =
            (0..source.count()).map(|i| !matches!(source.target(i), Target::Unlabelled)).collect();
        Self { source, labelled }
    }

    /// The class of each image, where it has one that may be used.
    pub fn classes(&self) -> Vec<Option<usize>> {
        let class = |(i, &known): (usize, &bool)| match self.source.target(i) {
            Target::Class(class) if known => Some(*class),
            _ => None,
        };
        self.labelled.iter().enumerate().map(class).collect()
    }
}

/// Where a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The last step's objective.
    pub objective: f64,
    /// The last step's terms by name.
    pub terms: &'a [(String, f64)],
    /// Share of this epoch's labelled images that were classified right as they were trained on.
    pub accuracy: Option<f64>,
    /// Images a second, since this epoch's beginning.
    pub images_per_s: f64,
}

/// Who follows a training.
pub trait Watch {
    /// After every step. `Break` ends the training after a checkpoint.
    fn step(&mut self, _progress: &Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// After every epoch.
    fn epoch(&mut self, _record: &Record) {}
    /// Something that the user should know.
    fn note(&mut self, _text: &str) {}
}

/// Follows nothing.
impl Watch for () {}

/// What came of a training.
#[derive(Debug)]
pub struct Trained {
    /// The network with its last weights, or the best by validation accuracy if there is a validation
    /// set.
    pub model: Model,
    /// Steps done.
    pub steps: u64,
    /// Whether it ran to its end, and did not break off at the watcher's wish.
    pub finished: bool,
    /// Epochs as they were logged.
    pub epochs: Vec<Record>,
}

/// A training that is ready to run.
pub struct Trainer<'a, S, E> {
    /// What is trained.
    pub network: Network,
    /// How.
    pub recipe: Recipe,
    /// The images to train on, prepared for training.
    pub train: Set<S>,
    /// The same images, prepared for evaluation: for the bank of kNN and a graph from own embeddings.
    pub plain: Option<Arc<E>>,
    /// Images to watch and choose by.
    pub validation: Option<Set<E>>,
    /// The graph over the training images.
    pub graph: Option<Graph>,
    /// Builds the graph anew from the network's own embeddings every so many epochs: (epochs, k).
    pub rebuild: Option<(u64, usize)>,
    /// The engine.
    pub options: Options,
    /// Threads that load images.
    pub threads: usize,
    /// Where checkpoints and logs go; `None` keeps neither.
    pub folder: Option<PathBuf>,
    /// Steps between two records of single steps.
    pub log_every: u64,
    /// What the training is of, such as hashes of data and weights: a checkpoint with another one is
    /// refused. Text by name.
    pub identity: BTreeMap<String, String>,
    /// Who follows it.
    pub watch: &'a mut dyn Watch,
}

/// Running sums of an epoch.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Sums {
    steps: u64,
    terms: Vec<f64>,
    correct: f64,
    labelled: u64,
    gradient_norm: f64,
    /// Steps of the optimiser.
    updates: u64,
}

/// What is remembered beside the tensors.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Memory {
    sums: Sums,
    best: Option<f64>,
    since_best: u64,
    lowest: Option<f64>,
    since_lowest: u64,
    falls: u32,
    /// The epoch before which the graph was last built.
    built: Option<u64>,
}

/// Seconds after which a checkpoint is written also within an epoch.
const CHECKPOINT_S: u64 = 300;

/// Rows of which effective rank and uniformity are taken at most after each epoch.
const WATCHED_ROWS: usize = 2000;

impl<S: Source<f32>, E: Source<f32>> Trainer<'_, S, E> {
    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        let labelled = self.train.labelled.iter().filter(|&&known| known).count();
        let batch = self.recipe.batch.min(labelled.max(1)) as u64;
        let images = self.train.source.count() as u64;
        self.recipe.steps_per_epoch.unwrap_or_else(|| images.div_ceil(batch).max(1))
    }

    /// Trains to the end, from the last checkpoint if the folder holds one.
    ///
    /// # Errors
    /// [`TrainError`]; checkpoints that were written stay.
    pub fn run(&mut self) -> Result<Trained, TrainError> {
        self.recipe.check()?;
        self.check()?;
        let per_epoch = self.steps_per_epoch();
        let steps = per_epoch * self.recipe.epochs;
        let objective = self.recipe.objective(steps)?;
        let mut graph = self.graph.take();
        let labelled = self.train.labelled.iter().filter(|&&known| known).count();
        let (rows, images) =
            RowPlan::shape(labelled, self.recipe.batch, self.recipe.graph.as_ref());
        let mut step =
            Step::new(&self.network, &self.recipe, &objective, rows, images, &self.options)?;
        let mut state = step.start()?;
        let checkpoints =
            self.folder.as_ref().map(|folder| Checkpoints::new(&folder.join("checkpoints")));
        let checkpoints = checkpoints.transpose()?;
        let (mut done, mut memory) = (0, Memory::default());
        if let Some(checkpoints) = &checkpoints
            && let Some(found) = checkpoints.last()?
        {
            for refused in &found.refused {
                self.watch.note(&format!("{refused}; the checkpoint before it is taken"));
            }
            (done, memory) = self.resume(&found.checkpoint, &step, &mut state)?;
            self.watch.note(&format!("going on after step {done} of {steps}"));
        }
        let mut log = match &self.folder {
            Some(folder) => Some(Log::open(folder, done)?),
            None => None,
        };
        let mut kept: Vec<Record> =
            log.as_ref().map(|log| log.epochs().to_vec()).unwrap_or_default();
        let mut finished = true;
        let mut carried = self.carried(graph.as_ref())?;
        while done < steps {
            if self.recipe.patience.is_some_and(|patience| memory.since_best >= patience) {
                self.watch.note(&format!(
                    "stopped early: validation accuracy has not risen for {} epochs",
                    memory.since_best
                ));
                break;
            }
            let epoch = done / per_epoch;
            if let Some(new) = self.own_graph(epoch, &step, &state, &mut memory)? {
                carried = self.carried(Some(&new))?;
                graph = Some(new);
            }
            let ended = self.epoch(
                Epoch {
                    number: epoch,
                    per_epoch,
                    steps,
                    images,
                    objective: &objective,
                    carried: carried.as_deref(),
                },
                graph.as_ref(),
                &mut step,
                &mut state,
                (&mut done, &mut memory),
                (log.as_mut(), checkpoints.as_ref()),
            )?;
            if ended.is_break() {
                self.save(checkpoints.as_ref(), &step, &state, done, &memory)?;
                finished = false;
                break;
            }
            let record =
                self.after_epoch(epoch, done, &step, &state, &mut memory, checkpoints.as_ref())?;
            if let Some(log) = &mut log {
                log.write(&record)?;
            }
            self.watch.epoch(&record);
            kept.push(record);
            memory.sums = Sums::default();
            self.save(checkpoints.as_ref(), &step, &state, done, &memory)?;
        }
        if finished
            && memory.best.is_some()
            && let Some(best) = checkpoints.as_ref().map(Checkpoints::best).transpose()?.flatten()
        {
            self.resume(&best, &step, &mut state)?;
        }
        let model = trained_model(&self.network, &step, &state)?;
        Ok(Trained { model, steps: done, finished, epochs: kept })
    }

    fn check(&self) -> Result<(), TrainError> {
        let differs =
            |what, expected: String, found: String| Err(TrainError::Data { what, expected, found });
        let image = self.network.image;
        let sides = |shape: [usize; 3]| shape.map(|n| n.to_string()).join(" × ");
        if self.train.source.shape() != image {
            return differs("training images", sides(image), sides(self.train.source.shape()));
        }
        let n = self.train.source.count();
        if self.train.labelled.len() != n {
            let found = self.train.labelled.len().to_string();
            return differs("marks of labelled images", n.to_string(), found);
        }
        let plain = self.plain.iter().map(|source| (source.shape(), source.count()));
        for (shape, count) in plain {
            if (shape, count) != (image, n) {
                let show = |shape, count| format!("{count} images of {}", sides(shape));
                return differs("plain training images", show(image, n), show(shape, count));
            }
        }
        if self.recipe.graph.is_some() && self.graph.is_none() && self.rebuild.is_none() {
            let found = "none".to_owned();
            return differs("graph", "one over the training images".to_owned(), found);
        }
        if self.rebuild.is_some() && self.plain.is_none() {
            let expected = "training images prepared for evaluation".to_owned();
            return differs("graph of own embeddings", expected, "none".to_owned());
        }
        let classes = self.network.classes;
        for i in (0..n).filter(|&i| self.train.labelled[i]) {
            let bad = match self.train.source.target(i) {
                Target::Unlabelled => Some("no label".to_owned()),
                Target::Class(class) => (*class >= classes).then(|| format!("class {class}")),
                Target::Classes { present, .. } => {
                    present.iter().find(|&&class| class >= classes).map(|c| format!("class {c}"))
                }
            };
            if let Some(found) = bad {
                let expected = format!("a class below {classes} for {}", self.train.source.name(i));
                return differs("labels", expected, found);
            }
        }
        Ok(())
    }

    /// What label spreading carries over the graph to each image, if the recipe wants it: the likeliest
    /// class, and 1 − H/ln C as its weight, H being the entropy of the classes that came; 0 where none
    /// came. Iscen et al., 2019, <https://arxiv.org/abs/1904.04717>.
    fn carried(&self, graph: Option<&Graph>) -> Result<Option<Vec<(usize, f32)>>, TrainError> {
        let recipe = self.recipe.graph.filter(|_| self.recipe.carried().is_some());
        let (Some(graph), Some(recipe)) = (graph, recipe) else { return Ok(None) };
        let parameters =
            Spreading { alpha: recipe.carried_spread, tolerance: 1e-4, max_steps: 200 };
        let found = label_spreading(graph.view(), &self.train.classes(), parameters);
        let found = found.map_err(|error| TrainError::Data {
            what: "labels to carry over the graph",
            expected: "labels that spread".to_owned(),
            found: error.to_string(),
        })?;
        let classes = (self.network.classes as f64).ln();
        let labels = found.labels();
        let sure = |row: ndarray::ArrayView1<'_, f64>| {
            let entropy: f64 = row.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
            if row.sum() > 0.0 { (1.0 - entropy / classes).max(0.0) as f32 } else { 0.0 }
        };
        let weights = found.distributions.outer_iter().map(sure);
        Ok(Some(labels.into_iter().zip(weights).collect()))
    }

    /// One epoch, from wherever in it the training is.
    fn epoch(
        &mut self,
        at: Epoch<'_>,
        graph: Option<&Graph>,
        step: &mut Step,
        state: &mut State,
        (done, memory): (&mut u64, &mut Memory),
        (mut log, checkpoints): (Option<&mut Log>, Option<&Checkpoints>),
    ) -> Result<ControlFlow<()>, TrainError> {
        let view = graph.map(Graph::view).zip(self.recipe.graph.as_ref());
        let (labels, seed) = (&self.train.labelled, self.recipe.seed);
        let plan = RowPlan::new(labels, view, self.recipe.batch, at.per_epoch, seed)?;
        let last = (at.number + 1) * at.per_epoch;
        let rows: Vec<StepRows> =
            (*done..last).map(|step| plan.step(step)).collect::<Result<_, _>>()?;
        let indices: Vec<usize> =
            rows.iter().flat_map(|rows| rows.images.iter().copied()).collect();
        let config = LoaderConfig {
            threads: self.threads,
            strict: true,
            order: Order::Indices(indices.into()),
            ..LoaderConfig::new(at.images)
        };
        let loader = Loader::new(Arc::clone(&self.train.source), config)?;
        let mut loaded = loader.epoch(at.number)?;
        let (start, mut saved, mut images) = (Instant::now(), Instant::now(), 0);
        for rows in rows {
            let Some(batch) = loaded.next_batch()? else { break };
            images += batch.images.len_of(ndarray::Axis(0));
            let told = self.step(
                &at,
                step,
                state,
                *done,
                &rows,
                batch.images.into_dyn(),
                batch.targets,
                memory.falls,
            )?;
            *done += 1;
            memory.sums.add(&told, rows.labelled);
            let progress = Progress {
                step: *done,
                steps: at.steps,
                epoch: at.number,
                objective: told.objective,
                terms: &told.terms,
                accuracy: told.correct.map(|_| memory.sums.accuracy()),
                images_per_s: images as f64 / start.elapsed().as_secs_f64().max(1e-9),
            };
            if let Some(log) = &mut log
                && self.log_every > 0
                && (*done).is_multiple_of(self.log_every)
            {
                let mut values = told.terms.clone();
                values.push(("objective".to_owned(), told.objective));
                values.extend(told.gradient_norm.map(|norm| ("gradient_norm".to_owned(), norm)));
                values.push(("learning_rate".to_owned(), told.rate));
                values.push(("images_per_s".to_owned(), progress.images_per_s));
                let values =
                    values.into_iter().map(|(name, value)| (format!("step/{name}"), value));
                let (kind, values) = ("step".to_owned(), values.collect());
                log.write(&Record { kind, step: *done, epoch: at.number, values })?;
            }
            if self.watch.step(&progress).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if saved.elapsed().as_secs() >= CHECKPOINT_S {
                self.save(checkpoints, step, state, *done, memory)?;
                saved = Instant::now();
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    #[expect(clippy::too_many_arguments, reason = "each is another part of a step")]
    fn step(
        &self,
        at: &Epoch<'_>,
        step: &mut Step,
        state: &mut State,
        number: u64,
        rows: &StepRows,
        images: ndarray::ArrayViewD<'_, f32>,
        targets: &[Target],
        falls: u32,
    ) -> Result<Told, TrainError> {
        let recipe = &self.recipe;
        let rate =
            recipe.schedule.rate(recipe.learning_rate, number, at.steps, at.per_epoch, falls);
        let micro = recipe.accumulate as u64;
        // The optimiser counts its own steps.
        let updates = step.scalars.scalars_at(number / micro + 1, rate);
        let updates: Vec<(&str, ArrayD<f32>)> =
            updates.into_iter().map(|(name, value)| (name, arr0(value).into_dyn())).collect();
        let mut scalars: Vec<(&str, ArrayD<f32>)> = Vec::new();
        if step.apply.is_none() {
            scalars.clone_from(&updates);
        }
        for (name, dims, values) in step.scalars.masks_at(recipe.seed, number) {
            // As many values as its dims hold.
            if let Ok(mask) = ArrayD::from_shape_vec(dims.to_vec(), values) {
                scalars.push((name, mask));
            }
        }
        let mut integers: Vec<(&str, Array1<i64>)> = Vec::new();
        if step.has_alpha {
            let alpha = at.objective.graph.map_or(0.0, |graph| graph.alpha.at(number));
            scalars.push((names::ALPHA, arr0(alpha).into_dyn()));
            scalars.push((names::EDGE_W, Array1::from(rows.w.clone()).into_dyn()));
            integers.push((names::EDGE_U, Array1::from(rows.u.clone())));
            integers.push((names::EDGE_V, Array1::from(rows.v.clone())));
            if let Some(carried) = at.carried {
                let further = &rows.images[rows.labelled..];
                let mut targets = Array2::zeros((further.len(), self.network.classes));
                for (row, &image) in further.iter().enumerate() {
                    let (class, weight) = carried[image];
                    targets[[row, class]] = weight;
                }
                scalars.push((names::CARRIED, targets.into_dyn()));
            }
            if at.objective.graph.is_some_and(|graph| graph.repulsion.is_some()) {
                integers.push((names::FAR_V, Array1::from(rows.far.clone())));
            }
        }
        let labelled = rows.labelled.min(targets.len());
        if step.is_multi_label {
            let (targets, mask) = multi_label(&targets[..labelled], self.network.classes);
            scalars.push((names::TARGETS, targets.into_dyn()));
            scalars.push((names::TARGET_MASK, mask.into_dyn()));
        } else {
            let class = |target: &Target| match target {
                Target::Class(class) => *class as i64,
                _ => -1,
            };
            integers.push((names::LABELS, targets[..labelled].iter().map(class).collect()));
        }
        let mut inputs = vec![Input::new(&self.network.input, images.view())];
        inputs.extend(scalars.iter().map(|(name, value)| Input::new(name, value.view())));
        inputs.extend(integers.iter().map(|(name, value)| Input::new(name, value.view())));
        let mut outputs: Vec<&str> = step.terms.iter().map(String::as_str).collect();
        outputs.push(names::TOTAL);
        let norm = nearkin_autodiff::TrainingStep::GRADIENT_NORM;
        if step.apply.is_none() {
            outputs.push(norm);
        }
        let checked = outputs.len();
        if !step.is_multi_label {
            outputs.push(names::CORRECT);
        }
        let failed = |source| TrainError::Step { step: number, source };
        let (tensors, next) =
            step.session.advance(state, &step.carried, &inputs, &outputs).map_err(failed)?;
        let values: Vec<f32> = tensors.into_iter().map(scalar).collect();
        if let Some(bad) = values[..checked].iter().position(|value| !value.is_finite()) {
            let model = &step.scalars.model;
            return Err(TrainError::NotFinite {
                step: number,
                term: outputs[bad].trim_start_matches("step/").to_owned(),
                value: values[bad],
                first: first_not_finite(model, state, &step.carried, &inputs, &self.options),
            });
        }
        state.accept(next);
        let mut gradient_norm =
            step.apply.is_none().then(|| values.get(checked - 1).copied().map(f64::from)).flatten();
        if let Some((session, carried)) = &mut step.apply
            && (number + 1).is_multiple_of(micro)
        {
            let inputs: Vec<Input<'_>> =
                updates.iter().map(|(name, value)| Input::new(name, value.view())).collect();
            let (tensors, next) =
                session.advance(state, carried, &inputs, &[norm]).map_err(failed)?;
            let value = tensors.into_iter().next().map_or(f32::NAN, scalar);
            if !value.is_finite() {
                let term = "gradient_norm".to_owned();
                let first = "the sum of the last batches' gradients".to_owned();
                return Err(TrainError::NotFinite { step: number, term, value, first });
            }
            state.accept(next);
            gradient_norm = Some(f64::from(value));
        }
        let name = |term: &String| term.trim_start_matches("step/").to_owned();
        let terms = step.terms.iter().map(name).zip(values.iter().map(|&v| f64::from(v)));
        Ok(Told {
            terms: terms.collect(),
            objective: f64::from(values[step.terms.len()]),
            gradient_norm,
            correct: values.get(checked).map(|&value| f64::from(value)),
            rate,
        })
    }

    /// The record of an epoch; remembers what early stopping and the plateau need.
    fn after_epoch(
        &mut self,
        epoch: u64,
        done: u64,
        step: &Step,
        state: &State,
        memory: &mut Memory,
        checkpoints: Option<&Checkpoints>,
    ) -> Result<Record, TrainError> {
        let mut values = memory.sums.values(&step.terms);
        let mut loss = memory.sums.terms.first().map(|sum| sum / memory.sums.steps.max(1) as f64);
        if let Some(validation) = &self.validation {
            let found = self.evaluate(step, state, &validation.source, usize::MAX)?;
            let labels = validation.classes();
            let (right, all) = found.correct(&labels);
            if all > 0 {
                let accuracy = right as f64 / all as f64;
                values.push(("validation/accuracy".to_owned(), accuracy));
                if let Some(value) = found.cross_entropy(&labels) {
                    values.push(("validation/cross-entropy".to_owned(), value));
                    loss = Some(value);
                }
                memory.since_best += 1;
                if memory.best.is_none_or(|best| accuracy > best) {
                    (memory.best, memory.since_best) = (Some(accuracy), 0);
                    if let Some(checkpoints) = checkpoints {
                        checkpoints.save_best(&self.checkpoint(step, state, done, memory)?)?;
                    }
                }
            }
            values.extend(watched(&found));
        } else if let Some(plain) = &self.plain {
            // Without a validation set collapse is watched on the training images.
            let found = self.evaluate(step, state, plain, WATCHED_ROWS)?;
            values.extend(watched(&found));
        }
        if let RateSchedule::Plateau { patience, .. } = self.recipe.schedule {
            memory.since_lowest += 1;
            if loss.is_some_and(|loss| memory.lowest.is_none_or(|lowest| loss < lowest)) {
                (memory.lowest, memory.since_lowest) = (loss, 0);
            } else if memory.since_lowest >= patience {
                (memory.falls, memory.since_lowest) = (memory.falls + 1, 0);
            }
        }
        values.retain(|(_, value)| value.is_finite());
        Ok(Record { kind: "epoch".to_owned(), step: done, epoch, values })
    }

    /// Embeddings and logits of the first `n` images with the state's weights.
    fn evaluate(
        &self,
        step: &Step,
        state: &State,
        source: &Arc<E>,
        n: usize,
    ) -> Result<Evaluated, TrainError> {
        let model = trained_model(&self.network, step, state)?;
        let mut session = inference_session(&model, &self.options)?;
        let batch = self.recipe.batch.max(32);
        embed_first(&mut session, &self.network, source, n, batch, self.threads)
    }

    /// A graph of the network's own embeddings, if it is time for one.
    fn own_graph(
        &mut self,
        epoch: u64,
        step: &Step,
        state: &State,
        memory: &mut Memory,
    ) -> Result<Option<Graph>, TrainError> {
        let (Some((every, k)), Some(plain)) = (self.rebuild, &self.plain) else { return Ok(None) };
        let due = epoch.is_multiple_of(every.max(1)) && memory.built != Some(epoch);
        let file = self.folder.as_ref().map(|folder| folder.join("own.graph"));
        if !due {
            // Built in an earlier run of this training: the file holds it.
            let Some(file) = file.filter(|file| file.exists()) else { return Ok(None) };
            let opened = nearkin_graph::GraphFile::open(&file);
            let opened = opened.map_err(|error| TrainError::Quality(error.to_string()))?;
            return Ok(Some(opened.view().to_graph()));
        }
        let found = self.evaluate(step, state, plain, usize::MAX)?;
        let wrong = |error: &dyn std::fmt::Display| TrainError::Quality(error.to_string());
        let near = nearest_neighbours(found.embeddings.view(), k, Distance::Cosine, Engine::Auto)
            .map_err(|e| wrong(&e))?;
        let graph =
            knn_graph(&near, Distance::Cosine, Weighting::Constant).map_err(|e| wrong(&e))?;
        let graph = symmetrised(graph.view(), Symmetry::Max);
        if let Some(file) = file {
            let made = format!("knn {k} of the network's embeddings before epoch {epoch}");
            let info = nearkin_graph::GraphInfo::new(made);
            nearkin_graph::save_graph(&file, graph.view(), None, &info).map_err(|e| wrong(&e))?;
        }
        memory.built = Some(epoch);
        self.watch.note(&format!(
            "epoch {}: graph of the network's own embeddings, {} edges",
            epoch + 1,
            graph.view().edge_count()
        ));
        Ok(Some(graph))
    }

    fn checkpoint(
        &self,
        step: &Step,
        state: &State,
        done: u64,
        memory: &Memory,
    ) -> Result<Checkpoint, TrainError> {
        let mut tensors = BTreeMap::new();
        for (name, _) in step.slots() {
            let read = |source| TrainError::Step { step: done, source };
            if let Some(array) = state.tensor(name).map_err(read)?.into_f32() {
                tensors.insert(name.to_owned(), array);
            }
        }
        let mut notes: BTreeMap<String, String> = self
            .identity
            .iter()
            .map(|(name, value)| (format!("identity.{name}"), value.clone()))
            .collect();
        // Plain numbers always have a text.
        notes.insert("memory".to_owned(), serde_json::to_string(memory).unwrap_or_default());
        Ok(Checkpoint { step: done, notes, tensors })
    }

    fn save(
        &self,
        checkpoints: Option<&Checkpoints>,
        step: &Step,
        state: &State,
        done: u64,
        memory: &Memory,
    ) -> Result<(), TrainError> {
        if let Some(checkpoints) = checkpoints {
            checkpoints.save(&self.checkpoint(step, state, done, memory)?)?;
        }
        Ok(())
    }

    /// Puts a checkpoint into the state; returns the steps done and what is remembered.
    fn resume(
        &self,
        checkpoint: &Checkpoint,
        step: &Step,
        state: &mut State,
    ) -> Result<(u64, Memory), TrainError> {
        let path = self.folder.clone().unwrap_or_default();
        let other = |what: String, expected: String, found: String| CheckpointError::Other {
            path: path.clone(),
            what,
            expected,
            found,
        };
        for (name, expected) in &self.identity {
            let found = checkpoint.notes.get(&format!("identity.{name}"));
            if found != Some(expected) {
                let found = found.cloned().unwrap_or_else(|| "nothing".to_owned());
                return Err(other(name.clone(), expected.clone(), found).into());
            }
        }
        for (name, dims) in step.slots() {
            let found = checkpoint.tensors.get(name);
            match found {
                Some(array) if array.shape() == dims => state.set(name, array.clone()),
                found => {
                    let found = found.map_or("none".to_owned(), |a| format!("{:?}", a.shape()));
                    return Err(other(format!("tensor {name}"), format!("{dims:?}"), found).into());
                }
            }
        }
        let memory = checkpoint.notes.get("memory").map(String::as_str).unwrap_or_default();
        let memory = serde_json::from_str(memory).map_err(|error| {
            other("memory".to_owned(), "its numbers".to_owned(), error.to_string())
        })?;
        Ok((checkpoint.step, memory))
    }
}

/// Which epoch of which training.
struct Epoch<'a> {
    number: u64,
    per_epoch: u64,
    steps: u64,
    /// Images in a step.
    images: usize,
    objective: &'a Objective,
    /// What the graph carries to each image: a class, and how sure it is.
    carried: Option<&'a [(usize, f32)]>,
}

/// What a step told.
struct Told {
    terms: Vec<(String, f64)>,
    objective: f64,
    /// Of a step of the optimiser.
    gradient_norm: Option<f64>,
    correct: Option<f64>,
    rate: f64,
}

impl Sums {
    fn add(&mut self, told: &Told, labelled: usize) {
        self.terms.resize(told.terms.len(), 0.0);
        for (sum, (_, value)) in self.terms.iter_mut().zip(&told.terms) {
            *sum += value;
        }
        self.steps += 1;
        if let Some(norm) = told.gradient_norm {
            self.gradient_norm += norm;
            self.updates += 1;
        }
        if let Some(correct) = told.correct {
            self.correct += correct;
            self.labelled += labelled as u64;
        }
    }

    fn accuracy(&self) -> f64 {
        self.correct / self.labelled.max(1) as f64
    }

    fn values(&self, terms: &[String]) -> Vec<(String, f64)> {
        let steps = self.steps.max(1) as f64;
        let name = |term: &String| format!("train/{}", term.trim_start_matches("step/"));
        let mut values: Vec<(String, f64)> =
            terms.iter().map(name).zip(self.terms.iter().map(|sum| sum / steps)).collect();
        if self.updates > 0 {
            let norm = self.gradient_norm / self.updates as f64;
            values.push(("train/gradient_norm".to_owned(), norm));
        }
        if self.labelled > 0 {
            values.push(("train/accuracy".to_owned(), self.accuracy()));
        }
        values
    }
}

/// Effective rank and uniformity of the first rows.
fn watched(found: &Evaluated) -> Vec<(String, f64)> {
    let n = found.embeddings.nrows().min(WATCHED_ROWS);
    let rows = found.embeddings.slice(ndarray::s![..n, ..]);
    match quality(rows, &[], None, 1) {
        Ok(Quality { effective_rank, uniformity, .. }) => vec![
            ("embedding/effective_rank".to_owned(), effective_rank),
            ("embedding/uniformity".to_owned(), uniformity),
        ],
        // An embedding of zeros has neither; the record then lacks them.
        Err(_) => Vec::new(),
    }
}

/// A session of a network's inference graph.
pub(crate) fn inference_session(model: &Model, options: &Options) -> Result<Session, TrainError> {
    let bytes = model.to_bytes().map_err(|error| TrainError::Network {
        name: model.graph.name.clone(),
        reason: error.to_string(),
    })?;
    let load = |source| TrainError::Load { what: "the network", source };
    Session::load(bytes, options).map_err(load)
}

/// Targets and mask of images of several classes; difficult classes do not count.
fn multi_label(targets: &[Target], classes: usize) -> (Array2<f32>, Array2<f32>) {
    let (mut present, mut mask) =
        (Array2::zeros((targets.len(), classes)), Array2::ones((targets.len(), classes)));
    for (row, target) in targets.iter().enumerate() {
        match target {
            Target::Class(class) => present[[row, *class]] = 1.0,
            Target::Classes { present: there, difficult } => {
                there.iter().for_each(|&class| present[[row, class]] = 1.0);
                difficult
                    .iter()
                    .filter(|class| !there.contains(class))
                    .for_each(|&class| mask[[row, class]] = 0.0);
            }
            Target::Unlabelled => mask.row_mut(row).fill(0.0),
        }
    }
    (present, mask)
}

fn scalar(tensor: Tensor) -> f32 {
    tensor.into_f32().and_then(|array| array.first().copied()).unwrap_or(f32::NAN)
}

/// What an embedding says of test images, with the labelled training images as bank.
///
/// # Errors
/// [`TrainError::Quality`].
pub fn final_quality(
    found: &Evaluated,
    labels: &[Option<usize>],
    bank: (&Evaluated, &[Option<usize>]),
    classes: usize,
) -> Result<Quality, TrainError> {
    let (bank_all, bank_labels) = bank;
    let known: Vec<usize> = (0..bank_labels.len()).filter(|&i| bank_labels[i].is_some()).collect();
    let of_known: Vec<usize> = known.iter().filter_map(|&i| bank_labels[i]).collect();
    let rows = bank_all.embeddings.select(ndarray::Axis(0), &known);
    let bank =
        (!known.is_empty()).then_some(Labelled { embeddings: rows.view(), labels: &of_known });
    quality(found.embeddings.view(), labels, bank, classes)
}
