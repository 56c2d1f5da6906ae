//! Does training steps of a step graph and answers for their time, line by line.
//!
//! `step --net NET --folder FOLDER --threads N` reads what `step_graph` of nearkin-autodiff and
//! `benchmarks/peers/train_step.py` have written to the folder: the step, its slots, a batch. First it
//! prints one JSON object that says what is ready; then it reads `go N` on standard input, does N
//! steps, and answers with milliseconds of wall and of processor time of each, and their losses. `peak`
//! is answered with the most memory the process has held, in bytes. The processor time and the
//! memory are read from Linux's `/proc`.

#![expect(clippy::print_stdout, reason = "a program that answers on its standard output")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use ndarray::{ArrayD, IxDyn};
use nearkin_runtime::{
    Carried, Device, EngineChoice, Input, Options, Session, State, Tensor, TensorView,
};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let pairs = words.chunks(2).filter_map(|pair| Some((pair[0].as_str(), pair.get(1)?.as_str())));
    let given: BTreeMap<&str, &str> = pairs.collect();
    let wanted = |name: &str| given.get(name).copied().ok_or(format!("{name} is missing"));
    let (net, folder) = (wanted("--net")?, Path::new(wanted("--folder")?));
    let mut step = Step::load(net, folder, wanted("--threads")?.parse()?)?;
    println!("{}", json!({ "ready": true, "engine": "nearkin", "version": step.version }));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("go", count)) => println!("{}", step.go(count.parse()?)?),
            _ => println!("{}", json!({ "bytes": peak_bytes()? })),
        }
    }
    Ok(())
}

/// A step graph with its state and one batch.
struct Step {
    session: Session,
    version: String,
    state: State,
    carried: Vec<Carried>,
    images: (String, ArrayD<f32>),
    labels: (String, ArrayD<i64>),
    /// Inputs that change from step to step, and the β of those that correct a moment.
    scalars: Vec<(String, Option<f64>)>,
    learning_rate: f64,
    loss: String,
    done: i32,
}

impl Step {
    fn load(net: &str, folder: &Path, threads: usize) -> Outcome<Self> {
        let file = |ending: &str| folder.join(format!("{net}.{ending}"));
        let about: Value = serde_json::from_slice(&std::fs::read(file("json"))?)?;
        let text = |name: &str| about[name].as_str().map(str::to_owned).ok_or(name.to_owned());
        let sizes = |value: &Value| -> Option<Vec<usize>> {
            value.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect()
        };
        let mut state = State::new();
        let mut carried = Vec::new();
        let values = std::fs::File::open(file("bin"))?;
        for slot in about["slots"].as_array().ok_or("no slots")? {
            let name = slot["input"].as_str().ok_or("a slot without an input")?.to_owned();
            let dims = sizes(&slot["dims"]).ok_or("a slot without dims")?;
            let mut bytes = vec![0; 4 * dims.iter().product::<usize>()];
            std::io::Read::read_exact(&mut &values, &mut bytes)?;
            state.set(name.clone(), ArrayD::from_shape_vec(IxDyn(&dims), floats(&bytes))?);
            carried
                .push(Carried { input: name, output: slot["output"].as_str().map(str::to_owned) });
        }
        let options = Options {
            engine: EngineChoice::Ort,
            device: Device::Cpu,
            threads: std::num::NonZeroUsize::new(threads),
            frugal_memory: true,
            ..Options::default()
        };
        let session = Session::load(file("onnx"), &options)?;
        let version = session.report().engine_version.clone();
        let batch = about["batch"].as_u64().ok_or("no batch")? as usize;
        let dims = [&[batch], &sizes(&about["image"]).ok_or("no image")?[..]].concat();
        let images = ArrayD::from_shape_vec(IxDyn(&dims), floats(&std::fs::read(file("images"))?))?;
        let labels = std::fs::read(file("labels"))?;
        let labels = labels.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        let labels = ArrayD::from_shape_vec(IxDyn(&[batch]), labels)?;
        let scalars = about["scalars"].as_array().ok_or("no scalars")?.iter().filter_map(|name| {
            let name = name.as_str()?.to_owned();
            let moment = ["step/first_", "step/second_"].iter().position(|m| name.starts_with(m));
            Some((name, moment.and_then(|index| about["betas"][index].as_f64())))
        });
        Ok(Self {
            session,
            version,
            state,
            carried,
            images: (text("images")?, images),
            labels: (text("labels")?, labels),
            scalars: scalars.collect(),
            learning_rate: about["learning_rate"].as_f64().ok_or("no learning rate")?,
            loss: text("loss")?,
            done: 0,
        })
    }

    fn go(&mut self, count: usize) -> Outcome<Value> {
        let (mut wall_ms, mut cpu_ms, mut losses) = (vec![], vec![], vec![]);
        for _ in 0..count {
            let (started, cpu) = (Instant::now(), processor_ns()?);
            losses.push(self.once()?);
            wall_ms.push(started.elapsed().as_secs_f64() * 1e3);
            cpu_ms.push((processor_ns()? - cpu) as f64 / 1e6);
        }
        Ok(json!({ "wall_ms": wall_ms, "cpu_ms": cpu_ms, "losses": losses }))
    }

    fn once(&mut self) -> Outcome<f32> {
        self.done += 1;
        let scalars: Vec<ArrayD<f32>> = self
            .scalars
            .iter()
            .map(|(_, beta)| beta.map_or(self.learning_rate, |beta| 1.0 - beta.powi(self.done)))
            .map(|value| ndarray::arr0(value as f32).into_dyn())
            .collect();
        let mut inputs = vec![
            Input::new(&self.images.0, TensorView::from(self.images.1.view())),
            Input::new(&self.labels.0, TensorView::from(self.labels.1.view())),
        ];
        for ((name, _), value) in self.scalars.iter().zip(&scalars) {
            inputs.push(Input::new(name, TensorView::from(value.view())));
        }
        let (out, next) =
            self.session.advance(&self.state, &self.carried, &inputs, &[self.loss.as_str()])?;
        self.state.accept(next);
        match &out[..] {
            [Tensor::F32(loss)] => Ok(loss.sum()),
            _ => Err("the loss is no f32".into()),
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Processor time of all threads so far.
fn processor_ns() -> Outcome<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split(' ').next().ok_or("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// `VmHWM`, the most resident memory so far.
fn peak_bytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(1024 * kilobytes.parse::<u64>()?)
}
