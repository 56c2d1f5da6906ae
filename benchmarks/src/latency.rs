//! Times one model on request, line by line, so that a script can interleave it with peers.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use ndarray::Array4;
use nearkin_onnx::Dim;
use nearkin_runtime::{Input, LoadError, Options, RunError, Session};
use serde_json::json;

/// Most runs of one request: its times are kept in memory.
const MOST_RUNS: usize = 10_000_000;

/// Why a model cannot be timed.
#[derive(Debug, thiserror::Error)]
pub enum LatencyError {
    /// The model or the engine cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model's input is not images of a known size.
    #[error("{model}: expected one input [N, C, H, W] with C, H and W known, found {found}")]
    Input {
        /// The file.
        model: String,
        /// Its inputs.
        found: String,
    },
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A line that is no request.
    #[error("expected a line `go N` with N from 1 to {MOST_RUNS}, found {found:?}")]
    Request {
        /// The line.
        found: String,
    },
    /// Requests cannot be read, or answers not be written.
    #[error("standard input or output: {0}")]
    Pipe(#[from] io::Error),
}

/// Loads `model` and answers the requests of `requests` on `answers` until they end.
///
/// First writes `{"ready": true, "engine": …, "input": [N, C, H, W], …}`. Every line `go N` then
/// runs the model N times on one pseudo-random batch and is answered with a list of N times in
/// milliseconds. Every output of the model is asked for, as by a caller who wants all of them.
///
/// # Errors
/// [`LatencyError`]; a wrong request ends the service.
pub fn serve(
    model: &Path,
    engine: &Options,
    batch: usize,
    requests: impl BufRead,
    mut answers: impl Write,
) -> Result<(), LatencyError> {
    let mut session = Session::load(model, engine)?;
    let [channels, height, width] = image_shape(&session).ok_or_else(|| LatencyError::Input {
        model: model.display().to_string(),
        found: format!("{:?}", session.inputs()),
    })?;
    let input = session.inputs()[0].name.clone();
    let outputs: Vec<String> = session.outputs().iter().map(|port| port.name.clone()).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let images = noise([batch, channels, height, width]);
    let report = session.report();
    let ready = json!({
        "ready": true,
        "engine": report.engine,
        "version": report.engine_version,
        "provider": report.provider,
        "threads": report.threads,
        "load_s": report.load_s,
        "input": images.shape(),
    });
    writeln!(answers, "{ready}")?;
    answers.flush()?;
    for line in requests.lines() {
        let line = line?;
        let runs = parse(&line).ok_or_else(|| LatencyError::Request { found: line.clone() })?;
        let mut times = Vec::with_capacity(runs);
        for _ in 0..runs {
            let start = Instant::now();
            session.run(&[Input::new(&input, images.view())], &outputs)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        writeln!(answers, "{}", json!(times))?;
        answers.flush()?;
    }
    Ok(())
}

fn parse(line: &str) -> Option<usize> {
    let runs = line.trim().strip_prefix("go ")?.trim().parse().ok()?;
    (1..=MOST_RUNS).contains(&runs).then_some(runs)
}

/// Channels, height and width of a session's images; `None` if it takes anything else.
fn image_shape(session: &Session) -> Option<[usize; 3]> {
    let [port] = session.inputs() else { return None };
    let [_, c, h, w] = &port.shape.as_ref()?.0[..] else { return None };
    Some([Dim::known(c)?, h.known()?, w.known()?])
}

/// Pseudo-random values, uniform in [-1, 1), the same in every run (SplitMix64 from seed 0).
pub(crate) fn noise(shape: [usize; 4]) -> Array4<f32> {
    let mut state = 0_u64;
    Array4::from_shape_simple_fn(shape, || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 24 bits fill a f32's mantissa exactly.
        (z >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_go_and_a_count() {
        assert_eq!(parse("go 3"), Some(3));
        for line in ["", "go", "go 0", "go -1", "stop 3", "go 99999999999"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn noise_has_zero_mean_and_stays_in_its_range() {
        let values = noise([4, 3, 32, 32]);
        assert!(values.iter().all(|v| (-1.0..1.0).contains(v)));
        assert!(values.mean().unwrap().abs() < 0.02);
        assert_eq!(values, noise([4, 3, 32, 32]));
    }
}
