//! Chooses what is trained: from a forward graph and a wish to a list of parameters.

mod layers;
mod names;
mod parameters;

use nearkin_onnx::Model;

use crate::error::{AutodiffError, Problem};
use crate::separate::separate;
use crate::training::Trainable;
use layers::Layers;
use names::matches;
use parameters::{Parameter, parameters};

/// Which parameters are trained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// All that the loss depends on.
    #[default]
    All,
    /// Those of the classifier.
    Head,
    /// Scales and shifts of normalisation layers, and the classifier, which is new in most uses.
    Norms,
    /// Biases, those of normalisation layers among them, and the classifier. Ben Zaken et al.,
    /// 2021, <https://arxiv.org/abs/2106.10199>.
    Biases,
    /// The last layers of the backbone, so many of them, and the classifier; layers are those of
    /// [`Selection::layer_decay`].
    LastLayers(usize),
    /// Those whose name one of these matches (`*` any text, `?` one character), and none of those
    /// that begin with `!`: `["blocks.1?.*", "!*.bias"]`. Only exclusions leave all the others.
    Patterns(Vec<String>),
}

/// What is trained, and how strongly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Which parameters are trained.
    pub trainable: Which,
    /// Path of the layer that makes the logits, such as `fc` or `head.fc`; empty if there is none.
    pub classifier: String,
    /// Weight decay λ, at least 0. As in timm, vectors and scalars (biases, normalisation, layer
    /// scale), position embeddings and class tokens have none.
    pub weight_decay: f32,
    /// Factor on the learning rate from layer to layer backwards, above 0 and at most 1.
    ///
    /// Layers are numbered by first use, and a parameter's rate is decayᵏ with k the number of
    /// layers after its own; the classifier is the last layer. A layer is named by what precedes and
    /// includes the first numbers in a dotted name, with a following `blocks.N`: `layer1.0`,
    /// `blocks.11`, `stages.2.blocks.5`. What has no number, or begins with `stem`, `conv1` or
    /// `patch_embed`, is one layer before the first and belongs to the layer before it later on.
    /// Clark et al., 2020, <https://arxiv.org/abs/2003.10555>; the grouping follows timm's.
    pub layer_decay: Option<f32>,
}

/// The parameters of `model` to train for `loss`, in the order in which the file declares them.
///
/// ONNX has one kind of constant for what was learned and what was written down. A constant counts
/// as a parameter if it is f32, the loss depends on it, and it is, perhaps moved or padded on the
/// way,
/// - the weight or bias of `Conv`, `ConvTranspose`, `Gemm` or `MatMul`, the scale or shift of a
///   normalisation, the slope of `PRelu`, or a vector that is added to a product;
/// - an operand of `Add`, `Sub`, `Mul`, `Div`, `Concat` or the table of a `Gather`, and has a name
///   that somebody gave it: not `constant/3`, `onnx::Mul_12`, `/blocks.0/Constant_output_0`,
///   `val_7` or `42`.
///
/// The builder's own constants (`constant/…`) and the running statistics of batch normalisation
/// never count. A buffer with a name, such as the mean of the pixels in a file that normalises its
/// images, cannot be told from a parameter: leave it out with a pattern such as `!mean`.
///
/// Where an exporter renamed a weight (`onnx::MatMul_812`), its module is taken from the node that
/// reads it (`/blocks/blocks.0/attn/qkv/MatMul` is in `blocks.0.attn.qkv`) for the head, the layers
/// and the patterns; its name stays what it is in the file.
///
/// # Errors
/// [`Problem::NoSuchValue`] if there is no `loss`; [`Problem::Setting`] for a number outside its
/// range, a classifier or pattern that no parameter has, and a selection that is empty.
///
/// # Examples
/// ```
/// use nearkin_autodiff::{Selection, Which, select};
/// use nearkin_onnx::{Graph, Model, Node, Shape, Tensor, TensorType};
///
/// let mut graph = Graph::new("line");
/// let x = graph.add_input("x", TensorType::f32(Shape::known(&[1, 2])))?;
/// let zeros = |dims: &[usize]| Tensor::from_f32(dims.to_vec(), &[0.0, 0.0]).ok_or("dims");
/// let w = graph.add_initialiser("fc.weight", zeros(&[2, 1])?)?;
/// let y = graph.add_value("y", Some(TensorType::f32(Shape::known(&[1, 1]))))?;
/// let mut node = Node::new("Gemm", &[x, w]);
/// node.outputs = vec![Some(y)];
/// graph.add_node(node)?;
///
/// let config = Selection { weight_decay: 0.05, ..Selection::default() };
/// let chosen = select(&Model::new(graph), "y", &config)?;
/// assert_eq!((chosen[0].name.as_str(), chosen[0].decay), ("fc.weight", 0.05));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn select(
    model: &Model,
    loss: &str,
    config: &Selection,
) -> Result<Vec<Trainable>, AutodiffError> {
    choose(&separate(model), loss, config).map_err(|problem| problem.at(""))
}

fn choose(model: &Model, loss: &str, config: &Selection) -> Result<Vec<Trainable>, Problem> {
    let wrong = |field, expected, found: String| Err(Problem::Setting { field, expected, found });
    let Selection { trainable, classifier, weight_decay, layer_decay } = config;
    if !(*weight_decay >= 0.0 && weight_decay.is_finite()) {
        return wrong("weight decay", "at least 0", weight_decay.to_string());
    }
    if let Some(decay) = layer_decay.filter(|&decay| !(decay > 0.0 && decay <= 1.0)) {
        return wrong("layer decay", "above 0 and at most 1", decay.to_string());
    }
    let found = parameters(&model.graph, loss)?;
    let is_head = |parameter: &Parameter| is_below(&parameter.path, classifier);
    // A loss on the embedding does not see the classifier; a name that is nowhere is a mistake.
    let mut constants = model.graph.initialisers().iter().map(|(id, _)| model.graph.value(*id));
    let is_named = classifier.is_empty()
        || found.iter().any(is_head)
        || constants.any(|value| is_below(&value.name, classifier));
    if !is_named {
        return wrong("classifier", "the path of some parameter", format!("{classifier:?}"));
    }
    if let Which::Patterns(patterns) = trainable {
        let unmatched = |pattern: &&String| {
            let glob = pattern.strip_prefix('!').unwrap_or(pattern);
            !found.iter().any(|parameter| parameter.is_called(glob))
        };
        if let Some(pattern) = patterns.iter().find(unmatched) {
            return wrong("pattern", "one that some parameter's name matches", pattern.clone());
        }
    }
    let layers = Layers::of(&found, is_head);
    let chosen = found.iter().filter(|parameter| match trainable {
        Which::All => true,
        Which::Head => is_head(parameter),
        Which::Norms => parameter.is_norm || is_head(parameter),
        Which::Biases => parameter.is_bias || is_head(parameter),
        Which::LastLayers(count) => is_head(parameter) || layers.after(parameter) < *count,
        Which::Patterns(patterns) => by_patterns(parameter, patterns),
    });
    let mut chosen: Vec<&Parameter> = chosen.collect();
    if chosen.is_empty() {
        let expected = "at least one parameter that the loss depends on";
        return wrong("trainable", expected, format!("none for {trainable:?}"));
    }
    chosen.sort_by_key(|parameter| parameter.place);
    let trained = |parameter: &&Parameter| Trainable {
        name: parameter.name.clone(),
        decay: if parameter.decays() { *weight_decay } else { 0.0 },
        rate: layer_decay.map_or(1.0, |decay| {
            let distance = if is_head(parameter) { 0 } else { layers.distance(parameter) };
            f64::from(decay).powf(distance as f64) as f32
        }),
    };
    Ok(chosen.iter().map(trained).collect())
}

fn by_patterns(parameter: &Parameter, patterns: &[String]) -> bool {
    let (mut wanted, mut refused, mut asked) = (false, false, false);
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(glob) => refused |= parameter.is_called(glob),
            None => {
                asked = true;
                wanted |= parameter.is_called(pattern);
            }
        }
    }
    (wanted || !asked) && !refused
}

fn is_below(path: &str, module: &str) -> bool {
    let rest = (!module.is_empty()).then(|| path.strip_prefix(module)).flatten();
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Parameter {
    fn is_called(&self, glob: &str) -> bool {
        matches(glob, &self.name) || matches(glob, &self.path)
    }

    /// timm's rule, <https://github.com/huggingface/pytorch-image-models>,
    /// `timm/optim/_param_groups.py`, with the names that its models exempt.
    fn decays(&self) -> bool {
        const EXEMPT: [&str; 4] =
            ["pos_embed", "position_embedding", "_token", "relative_position_bias_table"];
        let last = self.name.rsplit('.').next().unwrap_or_default();
        self.rank > 1 && !self.is_bias && !EXEMPT.iter().any(|part| last.contains(part))
    }
}
