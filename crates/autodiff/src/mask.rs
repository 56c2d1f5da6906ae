//! Dropout and stochastic depth: values are multiplied by masks, which are inputs of the step.
//!
//! Masks are drawn outside the graph, by a function of seed, step and name alone, so that a run that
//! is resumed, or goes on another engine, drops the same.

use nearkin_onnx::Model;

use crate::error::{AutodiffError, Problem};
use crate::rules::floats_of;

/// A value of the forward graph that is dropped at random in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// Name of the value.
    pub value: String,
    /// Name of the node for which alone it is masked; none for all that read it.
    pub reader: Option<String>,
    /// What is dropped.
    pub kind: MaskKind,
    /// The share that is dropped, in [0, 1); what stays is divided by 1 − rate. 0 leaves the value
    /// as it is.
    pub rate: f32,
}

/// What a [`Mask`] drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskKind {
    /// All of a row of the first dimension: stochastic depth of `[N, …]` by a mask `[N, 1, …]`.
    Row,
    /// Each element on its own: dropout.
    Element,
}

/// An input of a step that is fed a new mask in each.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskInput {
    /// Its name: `mask/VALUE`, or `mask/VALUE/READER` for one reader.
    pub input: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// The share that is dropped, in (0, 1).
    pub rate: f32,
}

impl MaskInput {
    /// The mask of a step, row-major: 0 with probability `rate`, else 1/(1 − rate).
    ///
    /// The same for the same seed, step and name, whatever else is drawn.
    ///
    /// ```
    /// let input = nearkin_autodiff::MaskInput { input: "mask/x".into(), dims: vec![5], rate: 0.5 };
    /// assert_eq!(input.draw(7, 1), [2.0, 0.0, 2.0, 2.0, 2.0]);
    /// ```
    pub fn draw(&self, seed: u64, step: u64) -> Vec<f32> {
        let key = mixed(seed ^ mixed(hash(&self.input)));
        let key = mixed(key ^ mixed(step));
        let kept = 1.0 / (1.0 - self.rate);
        let count: usize = self.dims.iter().product();
        let element = |i: u64| {
            // 53 bits, as many as f64 holds, in [0, 1).
            let bits = mixed(key.wrapping_add(i.wrapping_mul(STRIDE))) >> 11;
            let share = bits as f64 / (1_u64 << 53) as f64;
            if share < f64::from(self.rate) { 0.0 } else { kept }
        };
        (0..count as u64).map(element).collect()
    }
}

/// 2⁶⁴ divided by the golden ratio.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64. Steele et al., 2014, <https://doi.org/10.1145/2714064.2660195>.
fn mixed(z: u64) -> u64 {
    let z = z.wrapping_add(STRIDE);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a of a name.
fn hash(name: &str) -> u64 {
    let step = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A mask for every `Dropout` node of a file, with the node's own ratio.
///
/// Without masks such nodes do nothing in a step: exporters write them for training only.
///
/// # Errors
/// [`Problem::NoRuleFor`] a ratio that is no constant.
pub fn dropout_nodes(model: &Model) -> Result<Vec<Mask>, AutodiffError> {
    let graph = &model.graph;
    let mut masks = Vec::new();
    for node in graph.nodes().iter().filter(|node| node.op == "Dropout" && node.is_standard()) {
        let Some(output) = node.outputs.first().copied().flatten() else { continue };
        let rate = match node.inputs.get(1).copied().flatten() {
            None => node.float("ratio").unwrap_or(0.5),
            Some(id) => {
                let constant = floats_of(graph, id);
                let [rate] = constant.unwrap_or_default()[..] else {
                    let ratio = Problem::NoRuleFor("a ratio that is no constant".to_owned());
                    return Err(ratio.at(node.describe()));
                };
                rate
            }
        };
        let value = graph.value(output).name.clone();
        masks.push(Mask { value, reader: None, kind: MaskKind::Element, rate });
    }
    Ok(masks)
}

impl Mask {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if (0.0..1.0).contains(&self.rate) {
            return Ok(());
        }
        let found = format!("{} of {}", self.rate, self.value);
        Err(Problem::Setting { field: "drop rate", expected: "at least 0 and below 1", found })
    }

    /// The input for a value of these dimensions.
    pub(crate) fn input(&self, dims: &[usize]) -> Result<MaskInput, Problem> {
        let dims = match (self.kind, dims) {
            (MaskKind::Element, dims) => dims.to_vec(),
            (MaskKind::Row, &[rows, ref rest @ ..]) => [vec![rows], vec![1; rest.len()]].concat(),
            (MaskKind::Row, []) => {
                let found = format!("the scalar {}", self.value);
                let expected = "a value with rows to drop";
                return Err(Problem::Setting { field: "mask", expected, found });
            }
        };
        let reader = self.reader.iter().flat_map(|reader| ["/", reader]);
        let input = ["mask/", &self.value].into_iter().chain(reader).collect();
        Ok(MaskInput { input, dims, rate: self.rate })
    }
}
