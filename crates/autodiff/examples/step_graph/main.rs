//! Writes the training step of a network as ONNX, with what a loop needs to run it.
//!
//! `step_graph NET LOWERING FOLDER`, LOWERING `standard`, `nchwc` (this processor's blocks), `nchwc8`
//! or `nchwc16`. Three files are written: `NET.onnx`, the step; `NET.json`, its inputs and slots;
//! `NET.bin`, the slots' starting values, f32, one after the other. `cargo xtask peers train-step`
//! calls it.

#![expect(clippy::print_stderr, reason = "a program for people")]

mod nets;

use std::error::Error;
use std::path::Path;

use nearkin_autodiff::{Lowering, Optimiser, Trainable, Training, training_step};
use nearkin_nn::{INPUT, LOGITS, Options, ParameterKind, Scope, Value, Weights};
use nearkin_onnx::{Dim, ElementType, Model, Shape, TensorType};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [net, lowering, folder] = &arguments[..] else {
        eprintln!("usage: step_graph NET standard|nchwc|nchwc8|nchwc16 FOLDER");
        std::process::exit(2);
    };
    let lowering = match lowering.as_str() {
        "standard" => Lowering::Standard,
        "nchwc" => Lowering::of_this_processor(),
        "nchwc8" => Lowering::CpuNchwc { block: 8 },
        "nchwc16" => Lowering::CpuNchwc { block: 16 },
        other => return Err(format!("no lowering {other:?}").into()),
    };
    write(net, lowering, Path::new(folder))
}

fn write(net: &str, lowering: Lowering, folder: &Path) -> Result<(), Box<dyn Error>> {
    let entry = nets::FAMILY.variant(net).ok_or_else(|| format!("no network {net:?}"))?;
    let (image, batch, classes) = if net == "resnet18" { (224, 8, 1000) } else { (32, 64, 10) };
    let options = Options {
        num_classes: Some(classes),
        img_size: Some((image, image)),
        ..Options::default()
    };
    let architecture = entry.build(&options)?;
    let mut model = architecture.to_model(&Weights::init(&architecture, 1))?;
    append_loss(&mut model, batch, classes)?;

    let adam = matches!(net, "vit" | "convnext");
    let (optimiser, decay, rate) = if adam {
        (Optimiser::ADAM_W, 0.05, 1e-3)
    } else {
        (Optimiser::Sgd { momentum: 0.9, nesterov: false }, 5e-4, 0.05)
    };
    let trained = architecture.parameters().iter().filter(|p| !p.kind.is_buffer());
    let trainable = trained.map(|p| Trainable {
        name: p.name.clone(),
        decay: if p.kind == ParameterKind::Weight { decay } else { 0.0 },
        rate: 1.0,
    });
    let training = Training { lowering, ..Training::new(batch, trainable.collect(), optimiser) };
    let step = training_step(&model, "loss", &training)?;

    let mut values = Vec::new();
    let mut slots = Vec::new();
    for slot in &step.slots {
        let start = slot.start.to_f32().ok_or("a slot without values")?;
        slots.push(json!({
            "input": slot.input, "output": slot.output, "dims": slot.start.dims,
            "offset": values.len() / 4,
        }));
        values.extend(start.iter().flat_map(|value| value.to_le_bytes()));
    }
    let decays = training.trainable.iter().map(|p| (p.name.clone(), json!(p.decay)));
    let about = json!({
        "net": net, "batch": batch, "image": [3, image, image], "classes": classes,
        "lowering": format!("{lowering:?}"),
        "optimiser": if adam { "adamw" } else { "sgd" },
        "learning_rate": rate, "momentum": 0.9, "betas": [0.9, 0.999], "eps": 1e-8,
        "decay": decays.collect::<serde_json::Map<_, _>>(),
        "scalars": step.scalars.iter().map(|scalar| scalar.input()).collect::<Vec<_>>(),
        "images": INPUT, "labels": "labels", "loss": "loss",
        "slots": slots,
    });
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(format!("{net}.onnx")), step.model.to_bytes()?)?;
    std::fs::write(folder.join(format!("{net}.bin")), values)?;
    std::fs::write(folder.join(format!("{net}.json")), serde_json::to_vec_pretty(&about)?)?;
    Ok(())
}

/// Adds `loss`, the mean cross-entropy of the logits and an input `labels [N]`; it alone is given.
fn append_loss(model: &mut Model, batch: usize, classes: usize) -> Result<(), Box<dyn Error>> {
    let graph = std::mem::take(&mut model.graph);
    let logits = Value::of(graph.find(LOGITS).ok_or("no logits")?);
    let s = Scope::over(graph);
    let dims = s.dims(logits);
    let Some(Dim::Symbol { .. }) = dims.first() else { return Err("a batch that is fixed".into()) };
    let shape = Some(Shape(dims[..1].to_vec()));
    let labels = s.input("labels", TensorType { element: ElementType::Int64, shape });
    let chosen = s.mul(s.one_hot(labels, classes), s.log_softmax(logits));
    let loss = s.rename(s.scale(s.sum_all(chosen), -(batch as f32).recip()), "loss");
    let id = loss.id();
    model.graph = s.finish()?;
    model.graph.set_outputs(vec![id.ok_or("no loss")?]);
    Ok(())
}
