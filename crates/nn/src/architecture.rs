//! A built graph: parameters, stages and costs, before weights.

use crate::drop_site::DropSite;
use crate::family::{Config, Family, Options, Variant};
use crate::init::Init;
use crate::parameter::{Parameter, ParameterKind, Role};
use crate::scope::{BuildError, Builder, NormKind, Problem, Scope, Value, image_type};
use crate::weights::{LoadError, Weights};
use nearkin_onnx::{Dim, Graph, Model, Tensor, TensorData, ValueId, macs_per_item};
use std::collections::BTreeMap;

/// The name of the graph's input, images `[N, C, H, W]`.
pub const INPUT: &str = "input";
/// The name of the features before the head, `[N, D]`.
pub const EMBEDDING: &str = "embedding";
/// The name of the head's output, `[N, num_classes]`.
pub const LOGITS: &str = "logits";

/// A variant built for some options: a graph without weights.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// timm's name of the variant.
    pub name: String,
    /// timm's group.
    pub group: &'static str,
    /// What it was built for.
    pub options: Options,
    /// Width of the logits; 0 if there is no head.
    pub num_classes: usize,
    /// What the variant's default weights expect of images.
    pub config: Config,
    /// The name in timm of the layer that makes the logits.
    pub classifier: &'static str,
    /// The width `D` of the embedding.
    pub embedding_width: usize,
    /// Multiply–accumulates for one image.
    pub macs: u64,
    pub(crate) graph: Graph,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) stages: Vec<(String, ValueId)>,
    pub(crate) norms: BTreeMap<NormKind, Vec<f32>>,
    pub(crate) drop_sites: Vec<DropSite>,
}

pub(crate) fn build(
    family: &'static Family,
    variant: &Variant,
    options: &Options,
) -> Result<Architecture, BuildError> {
    let at = |problem: Problem| BuildError {
        path: variant.name.to_string(),
        problem: Box::new(problem),
    };
    let argument = |expected: &str, found: String| {
        at(Problem::Argument { expected: expected.to_owned(), found })
    };
    let (height, width) = options.img_size.unwrap_or(variant.config.image);
    if options.in_chans == 0 || height == 0 || width == 0 {
        let found = format!("{} × {height} × {width}", options.in_chans);
        return Err(argument("images of at least 1 × 1 × 1", found));
    }
    let mut graph = Graph::new(&variant.name);
    let ty = image_type(options.in_chans, height, width);
    let image = graph.add_input(INPUT, ty).map_err(|e| at(e.into()))?;
    let root = Scope::root(graph, image, family.scheme);
    let features = variant.features(&root, Value(Some(image)));
    let dims = root.dims(features);
    let embedding_width = root.width(features);
    let num_classes = options.num_classes.unwrap_or(variant.config.num_classes);
    let logits = (num_classes > 0).then(|| root.head(family.classifier, features, num_classes));
    let builder = root.into_builder().ok_or_else(|| {
        argument("scopes that end with the building", "one that was kept".to_owned())
    })?;
    if let Some(error) = builder.error {
        return Err(error);
    }
    if !matches!(dims[..], [Dim::Symbol { factor: 1, .. }, Dim::Known(_)]) {
        let found = nearkin_onnx::Shape(dims).to_string();
        return Err(argument("features [N, D]", found));
    }
    let Builder { mut graph, parameters, stages, norms, drops, .. } = builder;
    let mut outputs = Vec::new();
    for (value, name) in [(Some(features), EMBEDDING), (logits, LOGITS)] {
        if let Some(Value(Some(id))) = value {
            graph.rename(id, name).map_err(|e| at(e.into()))?;
            outputs.push(id);
        }
    }
    graph.set_outputs(outputs);
    let drop_sites = Builder::drop_sites(&drops, &graph);
    let macs = macs_per_item(&graph).map_err(|e| argument("known shapes", e.to_string()))?;
    Ok(Architecture {
        name: variant.name.to_string(),
        group: family.name,
        num_classes,
        options: *options,
        config: variant.config,
        classifier: family.classifier,
        embedding_width,
        macs,
        graph,
        parameters,
        stages,
        norms,
        drop_sites,
    })
}

impl Scope {
    /// The linear layer that turns features into logits.
    fn head(&self, name: &str, features: Value, num_classes: usize) -> Value {
        let width = self.width(features);
        // For the classifier alone: what else reads the embedding, such as a loss, gets all of it.
        self.dropout_before(features, name);
        let at = self.scope(name);
        let scheme = self.scheme();
        let bias = scheme.linear_bias.unwrap_or(Init::UniformFanIn(width));
        // A head has few outputs: by their number its logits would start large.
        let linear = match scheme.linear {
            Init::KaimingNormalFanOut => Init::TorchUniform,
            other => other,
        };
        let weight = at.parameter_in_role(
            "weight",
            &[num_classes, width],
            ParameterKind::Weight,
            linear,
            Role::Classifier,
        );
        let bias = at.parameter_in_role(
            "bias",
            &[num_classes],
            ParameterKind::Bias,
            bias,
            Role::Classifier,
        );
        self.gemm(name, features, weight, Some(bias))
    }
}

impl Architecture {
    /// Channels, height and width of one image.
    pub fn input(&self) -> [usize; 3] {
        let (height, width) = self.options.img_size.unwrap_or(self.config.image);
        [self.options.in_chans, height, width]
    }

    /// The graph, whose parameters are declared but not filled.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Every tensor of timm's `state_dict`, in its order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Trainable scalars; running statistics are not counted.
    pub fn parameter_count(&self) -> u64 {
        let trainable = self.parameters.iter().filter(|p| !p.kind.is_buffer());
        trainable.map(|p| p.count() as u64).sum()
    }

    /// The values that modules return, by timm's module names, in order of execution.
    pub fn stages(&self) -> &[(String, ValueId)] {
        &self.stages
    }

    /// The epsilons in use, by class of normalisation layer.
    pub fn norm_eps(&self) -> &BTreeMap<NormKind, Vec<f32>> {
        &self.norms
    }

    /// What training drops at random, in order of execution: branches of residual blocks, and
    /// elements, at least those of the embedding on its way to the classifier.
    pub fn drop_sites(&self) -> &[DropSite] {
        &self.drop_sites
    }

    /// The model that runs: this graph with these weights.
    ///
    /// # Errors
    /// [`LoadError::Names`] if the weights are of another architecture.
    pub fn to_model(&self, weights: &Weights) -> Result<Model, LoadError> {
        let mut graph = self.graph.clone();
        weights.check(self)?;
        for parameter in &self.parameters {
            let (Some(id), Some(tensor)) = (parameter.value, weights.get(&parameter.name)) else {
                continue;
            };
            let same = tensor.clone();
            graph.set_initialiser(id, same).map_err(|e| LoadError::Model(e.to_string()))?;
        }
        Ok(self.finish(graph))
    }

    /// The same with every stage as a further output, for finding where two networks part.
    ///
    /// # Errors
    /// As [`Architecture::to_model`].
    pub fn to_model_with_stages(&self, weights: &Weights) -> Result<Model, LoadError> {
        let mut model = self.to_model(weights)?;
        let mut outputs = model.graph.outputs().to_vec();
        for (_, id) in &self.stages {
            if !outputs.contains(id) {
                outputs.push(*id);
            }
        }
        model.graph.set_outputs(outputs);
        Ok(model)
    }

    fn finish(&self, graph: Graph) -> Model {
        let mut model = Model::new(graph);
        let Config { mean, std, crop_pct, crop_mode, interpolation, .. } = self.config;
        let list = |values: [f32; 3]| values.map(|v| v.to_string()).join(",");
        model.metadata = [
            ("nearkin.variant", self.name.clone()),
            ("nearkin.group", self.group.to_owned()),
            ("nearkin.mean", list(mean)),
            ("nearkin.std", list(std)),
            ("nearkin.crop_pct", crop_pct.to_string()),
            ("nearkin.crop_mode", format!("{crop_mode:?}").to_lowercase()),
            ("nearkin.interpolation", format!("{interpolation:?}").to_lowercase()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec();
        model
    }

    /// An example batch `[n, C, H, W]` of the formula, values in [−2, 2), row-major.
    pub fn formula_input(&self, n: usize) -> Vec<f32> {
        let count = n * self.input().iter().product::<usize>();
        crate::weights::formula::fill(INPUT, count, 0.0, 2.0)
    }

    /// Bytes of all parameters as f32.
    pub fn weight_bytes(&self) -> u64 {
        self.parameters.iter().map(|p| 4 * p.count() as u64).sum()
    }
}

/// True if the tensor holds its elements.
pub(crate) fn is_filled(tensor: &Tensor) -> bool {
    matches!(tensor.data, TensorData::Inline(_))
}
