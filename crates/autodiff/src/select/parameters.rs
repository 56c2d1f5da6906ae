//! Tells parameters from other constants by what reads them.

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{ElementType, Graph, Node, ValueId};

use super::names::{is_constant, is_made_up, module_of};
use crate::error::Problem;

/// A constant that can be trained.
pub(super) struct Parameter {
    /// Its name in the file.
    pub(super) name: String,
    /// The name, or the module that reads it where the name was made up.
    pub(super) path: String,
    /// Its position among the file's constants.
    pub(super) place: usize,
    pub(super) rank: usize,
    /// Scale or shift of a normalisation.
    pub(super) is_norm: bool,
    pub(super) is_bias: bool,
}

/// What a node takes a constant for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Weight,
    Bias,
    Scale,
    Shift,
    /// Something else that may have been learned, if it has a name.
    Operand,
}

/// Operators whose first input comes out elsewhere or beside something, but as it was.
const MOVES: [&str; 11] = [
    "Expand",
    "Flatten",
    "Identity",
    "Pad",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// The parameters that `loss` depends on, in order of first use.
pub(super) fn parameters(graph: &Graph, loss: &str) -> Result<Vec<Parameter>, Problem> {
    let loss = graph.find(loss).ok_or_else(|| Problem::NoSuchValue(loss.to_owned()))?;
    let mut typed = graph.clone();
    typed.infer_types()?;
    let reached = depended_on(&typed, loss);
    let statistics = statistics(&typed);
    let mut places = BTreeMap::new();
    for (place, (id, tensor)) in graph.initialisers().iter().enumerate() {
        let is_free = !is_constant(&graph.value(*id).name) && !statistics.contains(id);
        if tensor.element == ElementType::Float && reached.contains(id) && is_free {
            places.insert(*id, place);
        }
    }
    // From a value to the constant that was moved to it.
    let mut source: BTreeMap<ValueId, ValueId> = places.keys().map(|&id| (id, id)).collect();
    let mut found: Vec<Parameter> = Vec::new();
    let mut known: BTreeMap<ValueId, usize> = BTreeMap::new();
    for node in typed.nodes() {
        if !node.outputs.iter().flatten().any(|output| reached.contains(output)) {
            continue;
        }
        for (index, input) in node.inputs.iter().enumerate() {
            let Some(&id) = input.and_then(|input| source.get(&input)) else { continue };
            if index == 0 && MOVES.contains(&node.op.as_str()) {
                source.extend(node.outputs.iter().flatten().map(|&output| (output, id)));
                continue;
            }
            let (tensor, name) = (&graph.initialisers()[places[&id]].1, &graph.value(id).name);
            let Some(role) = role(&typed, node, index, tensor.dims.len()) else { continue };
            let made_up = is_made_up(name);
            if role == Use::Operand && made_up {
                continue;
            }
            let place = *known.entry(id).or_insert_with(|| {
                let path = if made_up { module_of(&node.name) } else { name.clone() };
                found.push(Parameter {
                    is_norm: false,
                    is_bias: name.rsplit('.').next() == Some("bias"),
                    name: name.clone(),
                    path,
                    place: places[&id],
                    rank: tensor.dims.len(),
                });
                found.len() - 1
            });
            let parameter = &mut found[place];
            parameter.is_bias |= matches!(role, Use::Bias | Use::Shift);
            parameter.is_norm |= match role {
                Use::Scale | Use::Shift => true,
                Use::Operand => parameter.rank <= 1 && in_norm(&parameter.path),
                Use::Weight | Use::Bias => false,
            };
        }
    }
    Ok(found)
}

/// What a gradient of `loss` reaches, going back from it: it follows f32 only.
fn depended_on(graph: &Graph, loss: ValueId) -> BTreeSet<ValueId> {
    let is_float = |id: &ValueId| {
        let ty = graph.value(*id).ty.as_ref();
        ty.is_none_or(|ty| ty.element == ElementType::Float)
    };
    let mut reached = BTreeSet::from([loss]);
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().flatten().any(|output| reached.contains(output)) {
            reached.extend(node.inputs.iter().flatten().filter(|id| is_float(id)));
        }
    }
    reached
}

/// Running means and variances.
fn statistics(graph: &Graph) -> BTreeSet<ValueId> {
    let norms = graph.nodes().iter().filter(|node| node.op == "BatchNormalization");
    norms.flat_map(|node| node.inputs.iter().skip(3).flatten().copied()).collect()
}

fn role(graph: &Graph, node: &Node, index: usize, rank: usize) -> Option<Use> {
    let producer = |id: &ValueId| graph.producer(*id).map(|id| graph.node(id).op.as_str());
    let is_product =
        |id: &ValueId| producer(id).is_some_and(|op| matches!(op, "Conv" | "Gemm" | "MatMul"));
    match (node.op.as_str(), index) {
        ("Conv" | "ConvTranspose" | "PRelu", 1) | ("Gemm", 0 | 1) | ("MatMul", _) => {
            Some(Use::Weight)
        }
        ("Conv" | "ConvTranspose" | "Gemm", 2) => Some(Use::Bias),
        (
            "BatchNormalization"
            | "GroupNormalization"
            | "InstanceNormalization"
            | "LayerNormalization",
            1 | 2,
        ) => Some(if index == 1 { Use::Scale } else { Use::Shift }),
        ("Add", _) if rank == 1 && node.inputs.iter().flatten().any(is_product) => Some(Use::Bias),
        ("Add" | "Concat" | "Div" | "Mul" | "Sub", _) | ("Gather", 0) => Some(Use::Operand),
        _ => None,
    }
}

/// Whether a parameter's module is called as normalisations are, for those that an exporter wrote
/// out in arithmetic.
fn in_norm(path: &str) -> bool {
    let module = path.rsplit('.').nth(1).unwrap_or_default();
    let kind = module.trim_end_matches(|c: char| c.is_ascii_digit());
    module.contains("norm") || matches!(kind, "bn" | "gn" | "grn" | "ln")
}
