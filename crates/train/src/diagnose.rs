//! Where NaN or infinity first appears in a step.

use nearkin_onnx::{ElementType, Model};
use nearkin_runtime::{Carried, Input, Options, Session, State, Tensor};

/// The first value of the step graph, in order of execution, that is not finite, in words.
///
/// Runs the step once more with every value as an output, so it takes the memory of all of them.
pub(crate) fn first_not_finite(
    model: &Model,
    state: &State,
    carried: &[Carried],
    inputs: &[Input<'_>],
    options: &Options,
) -> String {
    for slot in carried {
        if let Ok(Tensor::F32(values)) = state.tensor(&slot.input)
            && values.iter().any(|value| !value.is_finite())
        {
            return format!("{:?} was not finite before the step", slot.input);
        }
    }
    for input in inputs {
        if let nearkin_runtime::TensorView::F32(values) = &input.value
            && values.iter().any(|value| !value.is_finite())
        {
            return format!("the input {:?} is not finite", input.name);
        }
    }
    match search(model, state, carried, inputs, options) {
        Ok(Some(found)) => found,
        Ok(None) => "it is not so in a second run".to_owned(),
        Err(reason) => format!("where it begins could not be found ({reason})"),
    }
}

fn search(
    model: &Model,
    state: &State,
    carried: &[Carried],
    inputs: &[Input<'_>],
    options: &Options,
) -> Result<Option<String>, String> {
    let mut model = model.clone();
    let graph = &model.graph;
    let mut values = Vec::new();
    for node in graph.nodes() {
        for &id in node.outputs.iter().flatten() {
            let value = graph.value(id);
            let float = value.ty.as_ref().is_some_and(|ty| ty.element == ElementType::Float);
            if float {
                values.push((id, value.name.clone(), node.describe()));
            }
        }
    }
    let mut outputs = graph.outputs().to_vec();
    outputs.extend(values.iter().map(|(id, ..)| *id).filter(|id| !graph.outputs().contains(id)));
    model.graph.set_outputs(outputs);
    let bytes = model.to_bytes().map_err(|error| error.to_string())?;
    let mut session = Session::load(bytes, options).map_err(|error| error.to_string())?;
    let names: Vec<&str> = values.iter().map(|(_, name, _)| name.as_str()).collect();
    let reading: Vec<Carried> =
        carried.iter().map(|c| Carried { input: c.input.clone(), output: None }).collect();
    let (tensors, _) =
        session.advance(state, &reading, inputs, &names).map_err(|error| error.to_string())?;
    let bad = tensors.into_iter().zip(&values).find_map(|(tensor, (_, name, node))| {
        let values = tensor.into_f32()?;
        let at = values.iter().position(|value| !value.is_finite())?;
        let value = values.iter().nth(at)?;
        Some(format!(
            "first in {name:?} of {:?}, {value} at element {at}, made by {node}",
            values.shape()
        ))
    });
    Ok(bad)
}
