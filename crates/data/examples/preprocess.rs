//! Prepares photographs as timm's evaluation does, again and again, for `cargo xtask peers preprocess`.
//!
//! Arguments: threads, then a file with one path a line. Says `{"images": n}` once the files are in
//! memory. Then each line on standard input is a command: `go` prepares every image once and answers
//! with the seconds of processor time and of the wall; `write PATH` writes the levels,
//! `[n, 3, 224, 224]`.

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use nearkin_data::{
    CropMode, DecodeOptions, Eval, EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Interpolation,
};

type Fault = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [threads, list] = &arguments[..] else {
        return Err("expected the number of threads and a file of paths".into());
    };
    let threads: usize = threads.parse()?;
    let files: Vec<Vec<u8>> =
        fs::read_to_string(list)?.lines().map(fs::read).collect::<Result<_, _>>()?;
    let transform = EvalTransform::new(&Eval {
        size: (224, 224),
        channels: 3,
        mean: IMAGENET_MEAN.to_vec(),
        std: IMAGENET_STD.to_vec(),
        interpolation: Interpolation::Bicubic,
        crop_pct: 0.875,
        crop_mode: CropMode::Center,
    })?;
    answer(&format!("{{\"images\": {}}}", files.len()))?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        if let Some(path) = line.strip_prefix("write ") {
            fs::write(path, levels(&files, &transform)?)?;
            answer("{}")?;
        } else {
            let (cpu_s, wall_s) = round(&files, &transform, threads)?;
            answer(&format!("{{\"cpu_s\": {cpu_s}, \"wall_s\": {wall_s}}}"))?;
        }
    }
    Ok(())
}

fn answer(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Seconds of processor time and of the wall for every image once.
fn round(
    files: &[Vec<u8>],
    transform: &EvalTransform,
    threads: usize,
) -> Result<(f64, f64), Fault> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), Fault> {
        let mut transform = transform.clone();
        let mut values = vec![0.0; transform.output_len()];
        while let Some(bytes) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            transform.run_file(bytes, &DecodeOptions::default(), &mut values)?;
        }
        Ok(())
    };
    let (cpu, wall) = (cpu_time(), Instant::now());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(((cpu_time() - cpu).as_secs_f64(), wall.elapsed().as_secs_f64()))
}

fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

fn levels(files: &[Vec<u8>], transform: &EvalTransform) -> Result<Vec<u8>, Fault> {
    let mut transform = transform.clone();
    let len = transform.output_len();
    let mut levels = vec![0; files.len() * len];
    for (bytes, levels) in files.iter().zip(levels.chunks_exact_mut(len)) {
        transform.levels_of_file(bytes, &DecodeOptions::default(), levels)?;
    }
    Ok(levels)
}
