//! What is trained: a forward graph whose embedding and logits are known.

use nearkin_nn::{Architecture, DropSite, EMBEDDING, INPUT, Init, LOGITS, Scope, Value, Weights};
use nearkin_onnx::{Dim, Model, Tensor, TensorType, ValueId};
use nearkin_runtime::embedding_name;

use crate::error::TrainError;

/// A forward graph with one image input, an embedding `[N, D]` and logits `[N, C]`.
#[derive(Clone, Debug)]
pub struct Network {
    /// The graph, with its weights.
    pub model: Model,
    /// Name of the images' input.
    pub input: String,
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Name of the embedding.
    pub embedding: String,
    /// Its width D.
    pub width: usize,
    /// Name of the logits.
    pub logits: String,
    /// Their width C.
    pub classes: usize,
    /// Path of the layer that makes the logits, such as `fc`; empty if it has no name.
    pub classifier: String,
    /// Where training drops values at random.
    pub drop_sites: Vec<DropSite>,
}

impl Network {
    /// A variant of the zoo with these weights; it must have a head.
    ///
    /// # Errors
    /// [`TrainError::Network`] without a head, or for weights of another architecture.
    pub fn of_architecture(
        architecture: &Architecture,
        weights: &Weights,
    ) -> Result<Self, TrainError> {
        let name = &architecture.name;
        let wrong = |reason: String| TrainError::Network { name: name.clone(), reason };
        if architecture.num_classes == 0 {
            return Err(wrong("expected logits, found a variant built without a head".to_owned()));
        }
        let model = architecture.to_model(weights).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            model,
            input: INPUT.to_owned(),
            image: architecture.input(),
            embedding: EMBEDDING.to_owned(),
            width: architecture.embedding_width,
            logits: LOGITS.to_owned(),
            classes: architecture.num_classes,
            classifier: architecture.classifier.to_owned(),
            drop_sites: architecture.drop_sites().to_vec(),
        })
    }

    /// Any ONNX model of images, its external data loaded.
    ///
    /// The embedding is `embedding` if given, else the output of that name, else the input of the last
    /// linear layer. Logits are kept if they are `classes` wide; otherwise a linear layer `head` is
    /// put on the embedding, drawn by `seed`.
    ///
    /// # Errors
    /// [`TrainError::Network`]: no or several image inputs, no embedding `[N, D]`.
    pub fn of_model(
        name: &str,
        mut model: Model,
        embedding: Option<&str>,
        classes: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let wrong = |reason: String| TrainError::Network { name: name.to_owned(), reason };
        // Each parameter by itself, so that what was trained finds its place again.
        model = nearkin_autodiff::separate(&model);
        model.graph.infer_types().map_err(|error| wrong(error.to_string()))?;
        let (input, image) = image_input(&model).map_err(wrong)?;
        let embedding = embedding_name(&model.graph, embedding).map_err(wrong)?;
        let found = model.graph.find(&embedding);
        let id = found.ok_or_else(|| wrong(format!("it computes no value {embedding:?}")))?;
        let dims = model.graph.shape(id).map(|shape| shape.0.clone()).unwrap_or_default();
        let [Dim::Symbol { .. } | Dim::Known(_), Dim::Known(width)] = dims[..] else {
            let found = nearkin_onnx::Shape(dims);
            return Err(wrong(format!("embedding {embedding:?}: expected [N, D], found {found}")));
        };
        let (logits, classifier) = match own_logits(&model, id, classes) {
            Some((logits, classifier)) => (logits, classifier),
            None => {
                let head = "head";
                let graph = std::mem::replace(&mut model.graph, nearkin_onnx::Graph::new(name));
                let s = Scope::over(graph);
                let linear = Init::UniformFanIn(width);
                let weight = |suffix: &str, dims: &[usize]| {
                    let name = format!("{head}.{suffix}");
                    let values = linear.draw(&name, dims, seed);
                    s.weight(&name, Tensor::from_f32(dims.to_vec(), &values))
                };
                let (w, b) = (weight("weight", &[classes, width]), weight("bias", &[classes]));
                let inputs = [Value::of(id), w, b];
                let logits = s.onnx("Gemm", &inputs, &[("transB", 1i64.into())]);
                let logits = s.rename(logits, "head/logits").id();
                model.graph = s.finish().map_err(|error| wrong(error.to_string()))?;
                let logits = logits.ok_or_else(|| wrong("no head could be made".to_owned()))?;
                (logits, head.to_owned())
            }
        };
        model.graph.set_outputs(vec![id, logits]);
        let logits = model.graph.value(logits).name.clone();
        let drop_sites = Vec::new();
        Ok(Self { model, input, image, embedding, width, logits, classes, classifier, drop_sites })
    }

    pub(crate) fn value(&self, name: &str) -> Result<ValueId, TrainError> {
        self.model.graph.find(name).ok_or_else(|| TrainError::Network {
            name: self.model.graph.name.clone(),
            reason: format!("it computes no value {name:?}"),
        })
    }
}

/// The one input that is no initialiser, and the size of its images.
fn image_input(model: &Model) -> Result<(String, [usize; 3]), String> {
    let graph = &model.graph;
    let inputs: Vec<ValueId> =
        graph.inputs().iter().copied().filter(|&id| graph.initialiser(id).is_none()).collect();
    let [input] = inputs[..] else {
        return Err(format!("expected a model of one input, found {}", inputs.len()));
    };
    let value = graph.value(input);
    let dims = value.ty.as_ref().and_then(|ty: &TensorType| ty.shape.clone());
    let known = |dim: &Dim| dim.known();
    match dims.as_ref().map(|shape| shape.0.as_slice()) {
        Some([_, channels, height, width]) => match [channels, height, width].map(known) {
            [Some(c), Some(h), Some(w)] => Ok((value.name.clone(), [c, h, w])),
            _ => Err(format!(
                "input {:?}: expected images of a fixed size, found {}",
                value.name,
                dims.map(|shape| shape.to_string()).unwrap_or_default()
            )),
        },
        _ => Err(format!("input {:?}: expected images [N, C, H, W]", value.name)),
    }
}

/// An output that a linear layer makes of the embedding, `classes` wide, and that layer's name.
fn own_logits(model: &Model, embedding: ValueId, classes: usize) -> Option<(ValueId, String)> {
    let graph = &model.graph;
    graph.outputs().iter().find_map(|&output| {
        let dims = &graph.shape(output)?.0;
        if dims.len() != 2 || dims[1].known() != Some(classes) {
            return None;
        }
        let node = graph.node(graph.producer(output)?);
        let of_embedding = node.inputs.first().copied().flatten() == Some(embedding);
        let weight = node.inputs.get(1).copied().flatten()?;
        let named = &graph.value(weight).name;
        let linear = node.op == "Gemm" && of_embedding && graph.initialiser(weight).is_some();
        linear.then(|| (output, named.trim_end_matches(".weight").to_owned()))
    })
}
