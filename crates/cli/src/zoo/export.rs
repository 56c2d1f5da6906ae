//! `nearkin zoo export`.

use super::references;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::map_file::map;
use crate::{Ended, output};
use anyhow::{Context as _, anyhow, bail};
use nearkin_bench::files::write_whole;
use nearkin_nn::{Architecture, Options, Weights};
use nearkin_onnx::{MAX_MESSAGE_BYTES, Model};
use nearkin_zoo::Registry;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Write a variant as an ONNX file.
///
/// The file has one input, `input` [N, C, H, W], and the outputs `embedding` [N, D] and `logits`
/// [N, classes]; its initialisers carry timm's names. Weights over 2 GB go to a second file beside
/// it, FILE.onnx.data.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    nearkin zoo export resnet18 -o resnet18.onnx\n  \
    nearkin zoo export vit_tiny_patch16_224 --weights model.safetensors -o vit.onnx\n  \
    nearkin zoo export convnext_atto --weights model.safetensors --num-classes 10 -o ten.onnx\n  \
    nearkin zoo export resnet18 --weights formula --in-chans 1 --img-size 64 -o grey.onnx")]
pub(crate) struct Arguments {
    /// The variant, as `nearkin zoo list` names it.
    variant: String,

    /// Where weights come from: `formula` (the reference formula), `init:SEED` (random), or a file
    /// of timm's names: FILE.safetensors or FILE.onnx.
    #[arg(long, value_name = "formula|init:SEED|FILE", default_value = "init:0")]
    weights: Source,

    /// Width of the logits; 0 leaves the head out [default: the variant's own].
    #[arg(long, value_name = "N")]
    num_classes: Option<usize>,

    /// Channels of the images; weights of RGB are adapted as timm does.
    #[arg(long, value_name = "N", default_value_t = 3)]
    in_chans: usize,

    /// Side of the images, or height × width as in 224x160 [default: the variant's own].
    #[arg(long, value_name = "PIXELS", value_parser = image_size)]
    img_size: Option<(usize, usize)>,

    /// Seed of a head that is made anew for another number of classes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Folder of reference files, from which the formula takes batch-norm statistics.
    #[arg(long, value_name = "DIR")]
    references: Option<PathBuf>,

    /// The file to write.
    #[arg(long, short, value_name = "FILE.onnx")]
    output: PathBuf,
}

#[derive(Debug, Clone)]
enum Source {
    Formula,
    Init(u64),
    Safetensors(PathBuf),
    Onnx(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "formula" {
            return Ok(Self::Formula);
        }
        if let Some(seed) = text.strip_prefix("init:") {
            let wrong = || format!("init:SEED needs a number from 0 on, found {seed:?}");
            return seed.parse().map(Self::Init).map_err(|_| wrong());
        }
        let path = PathBuf::from(text);
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors(path)),
            Some("onnx") => Ok(Self::Onnx(path)),
            _ => Err("expected formula, init:SEED, FILE.safetensors or FILE.onnx".to_owned()),
        }
    }
}

fn image_size(text: &str) -> Result<(usize, usize), String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    match (height.parse(), width.parse()) {
        (Ok(height @ 1..), Ok(width @ 1..)) => Ok((height, width)),
        _ => Err("expected a side such as 224, or height x width such as 224x160".to_owned()),
    }
}

impl Arguments {
    pub(crate) fn run(&self, quiet: bool) -> Ended {
        let entry = Registry::standard().variant(&self.variant).or_exit(Exit::Usage)?;
        let options = Options {
            num_classes: self.num_classes,
            in_chans: self.in_chans,
            img_size: self.img_size,
        };
        let built = entry.build(&options).or_exit(Exit::Usage)?;
        let (weights, notes) = self.load(&built).or_exit(Exit::BadInput)?;
        let model = built.to_model(&weights).or_exit(Exit::BadInput)?;
        let files = write(&model, built.weight_bytes(), &self.output)?;
        if !quiet {
            let mut text = format!(
                "{}: {} with {:.3} M parameters, input [N, {}], embedding [N, {}]{}\n",
                files,
                built.name,
                built.parameter_count() as f64 / 1e6,
                built.input().map(|d| d.to_string()).join(", "),
                built.embedding_width,
                match built.num_classes {
                    0 => ", no head".to_owned(),
                    classes => format!(", logits [N, {classes}]"),
                }
            );
            notes.iter().for_each(|note| text += &format!("  {note}\n"));
            output::print(&text)?;
        }
        Ok(Exit::Done)
    }

    fn load(&self, built: &Architecture) -> anyhow::Result<(Weights, Vec<String>)> {
        match &self.weights {
            Source::Init(seed) => {
                let note = format!("weights are random (seed {seed}): the network is untrained");
                Ok((Weights::init(built, *seed), vec![note]))
            }
            Source::Formula => {
                let folder = self.references.clone().unwrap_or_else(references::default_folder);
                let reference = references::find(&folder, built.group, &built.name);
                let note = match &reference {
                    Some(_) => "weights are the formula's, ranges from the reference file",
                    None => {
                        "weights are the formula's; no reference file, so batch-norm statistics \
                         are not calibrated"
                    }
                };
                Ok((Weights::formula(built, reference.as_ref()), vec![note.to_owned()]))
            }
            Source::Safetensors(path) => {
                let bytes = map(path)?;
                let loaded = Weights::from_safetensors(built, &bytes, self.seed)
                    .with_context(|| format!("{}: weights refused", path.display()))?;
                Ok((loaded.weights, loaded.adapted))
            }
            Source::Onnx(path) => {
                let model = read_onnx(path)?;
                let loaded = Weights::from_onnx(built, &model, self.seed)
                    .with_context(|| format!("{}: weights refused", path.display()))?;
                Ok((loaded.weights, loaded.adapted))
            }
        }
    }
}

/// Reads an ONNX file with its external data, which must lie beside it.
pub(crate) fn read_onnx(path: &Path) -> anyhow::Result<Model> {
    let bytes =
        std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut model =
        Model::from_bytes(bytes).with_context(|| format!("{}: not usable", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    model.load_external(|location, offset, length| -> anyhow::Result<nearkin_onnx::Bytes> {
        let file = folder.join(location);
        let bytes = map(&file)?;
        let start = usize::try_from(offset)?;
        let end = match length {
            Some(length) => start.checked_add(usize::try_from(length)?),
            None => Some(bytes.len()),
        };
        match end.and_then(|end| bytes.get(start..end)) {
            Some(part) => Ok(part.to_vec().into()),
            None => bail!(
                "{}: expected {length:?} bytes from {offset} on, the file has {}",
                file.display(),
                bytes.len()
            ),
        }
    })?;
    Ok(model)
}

/// Writes beside and renames; returns the names of the files.
fn write(model: &Model, weight_bytes: u64, path: &Path) -> Result<String, Failure> {
    let failed = |what: &Path| format!("{}: cannot be written", what.display());
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(anyhow!("{}: not a file name", path.display())).or_exit(Exit::Usage);
    };
    let beside = |suffix: &str| path.with_file_name(format!("{name}{suffix}"));
    // The graph around the weights takes a few hundred kilobytes at most.
    let inside = weight_bytes + (64 << 20) < MAX_MESSAGE_BYTES as u64;
    let (bytes, data) = if inside {
        (model.to_bytes().with_context(|| failed(path)).or_exit(Exit::NotWritable)?, None)
    } else {
        let part = beside(".data.part");
        let file = File::create(&part).with_context(|| failed(&part)).or_exit(Exit::NotWritable)?;
        let bytes = model
            .to_bytes_with_external(&format!("{name}.data"), 1024, BufWriter::new(file))
            .with_context(|| failed(&part))
            .or_exit(Exit::NotWritable)?;
        (bytes, Some(part))
    };
    let data_file = beside(".data");
    if let Some(part) = &data {
        std::fs::rename(part, &data_file)
            .with_context(|| failed(&data_file))
            .or_exit(Exit::NotWritable)?;
    }
    write_whole(path, &bytes).with_context(|| failed(path)).or_exit(Exit::NotWritable)?;
    Ok(match data {
        Some(_) => format!("{} and {}", path.display(), data_file.display()),
        None => path.display().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_side_or_height_and_width() {
        assert_eq!(image_size("224"), Ok((224, 224)));
        assert_eq!(image_size("224x160"), Ok((224, 160)));
        for text in ["0", "x", "12x", "-3", "1x2x3"] {
            assert!(image_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn weights_come_from_a_formula_a_seed_or_a_file() {
        assert!(matches!("formula".parse(), Ok(Source::Formula)));
        assert!(matches!("init:7".parse(), Ok(Source::Init(7))));
        assert!(matches!("a/b.safetensors".parse(), Ok(Source::Safetensors(_))));
        for text in ["init:", "init:-1", "weights.bin", ""] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
