//! A suite: which cases are compared, on which images, under which protocol.
//!
//! Suites are TOML files. Every case of a suite shares the data set, the probe and the timing rules,
//! so that rows of one table can be compared; only the variant, its weights, its image size and
//! its batch candidates belong to a case. Unknown keys are refused: a misspelt setting must not
//! silently measure something else.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::transform::Preparation;

/// The suites inside the library, as (name, TOML text).
pub const BUILT_IN: &[(&str, &str)] = &[
    ("quick", include_str!("../suites/quick.toml")),
    ("photos", include_str!("../suites/photos.toml")),
];

/// A checked suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Short name, letters, digits, `-` and `_`; names the result folder.
    pub name: String,
    /// What it compares, in a phrase.
    pub about: String,
    /// Seed of the weights and of every split, where the command line names none.
    pub seed: u64,
    /// Which images; `None` where the command line has to say.
    pub data: Option<DataSource>,
    /// What models are given, where a case has nothing of its own.
    pub input: Input,
    /// How embeddings are judged.
    pub probe: Probe,
    /// How often a model is run for its timings.
    pub timing: Timing,
    /// What is compared, in the table's order; never empty.
    pub cases: Vec<SuiteCase>,
    /// SHA-256 of the TOML text, 64 hexadecimal digits.
    pub sha256: String,
}

/// Where a suite's images come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSource {
    /// A data set that is part of the program, by name.
    BuiltIn(String),
    /// A data set of any format that [`nearkin_data::Listing::open`] knows: a folder, or a file that
    /// lists images.
    Folder(PathBuf),
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(f, "{name} (built in)"),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
        }
    }
}

/// What models are given, where a case has nothing of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// How images are brought to the input.
    #[serde(default)]
    pub transform: Preparation,
    /// Height and width of the image, in pixels; `None` is each variant's own.
    pub img_size: Option<usize>,
    /// Channels: 1 or 3.
    #[serde(default = "rgb")]
    pub channels: usize,
    /// Subtracted from every pixel, which lies in [0, 1]; only for [`Preparation::Squash`].
    #[serde(default = "half")]
    pub mean: f32,
    /// Divides what is left; above 0; only for [`Preparation::Squash`].
    #[serde(default = "half")]
    pub std: f32,
    /// Batch sizes to try for throughput, ascending, each at least 1, never empty.
    pub batch: Vec<usize>,
}

/// How frozen embeddings are judged, the same for every case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Neighbours of the weighted kNN vote, at least 1.
    pub neighbours: usize,
    /// Temperature of its weights exp(similarity / temperature), above 0.
    pub temperature: f32,
    /// Part of the training images on which the linear probe's regularisation is chosen, in (0, 1).
    pub validation: f64,
}

/// How often a model is run for its timings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Runs that are not counted, at least 1.
    pub warm_up: usize,
    /// Counted runs after which to stop, at least 10.
    pub runs: usize,
    /// Seconds after which to stop, once 10 runs are counted; above 0.
    pub seconds: f64,
}

/// One line of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteCase {
    /// Name of a variant of the zoo.
    pub variant: String,
    /// Where its weights come from.
    pub weights: WeightsChoice,
    /// Height and width of the image given to the model, in pixels; `None` is the variant's own.
    pub img_size: Option<usize>,
    /// Batch sizes to try for throughput, ascending, each at least 1, never empty.
    pub batch: Vec<usize>,
}

/// Where a case's weights come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsChoice {
    /// Random initialisation with the suite's seed: an untrained network.
    #[default]
    Init,
}

/// Why a suite cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// No built-in suite of that name, and no such file.
    #[error("suite {asked:?}: neither a built-in suite ({}) nor a readable file", known.join(", "))]
    Unknown {
        /// What was asked for.
        asked: String,
        /// Names of the built-in suites.
        known: Vec<&'static str>,
        /// What the system said when it was opened as a file.
        #[source]
        source: std::io::Error,
    },
    /// The TOML text is not a suite.
    #[error("suite {place}: {source}")]
    Syntax {
        /// File or built-in name.
        place: String,
        /// Line, column and expectation.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is outside its range.
    #[error("suite {place}: {field} must be {expected}, found {found}")]
    Value {
        /// File or built-in name.
        place: String,
        /// The setting.
        field: String,
        /// Its range.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuiteFile {
    name: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    data: DataFile,
    input: Input,
    probe: Probe,
    timing: Timing,
    case: Vec<CaseFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataFile {
    set: Option<String>,
    folder: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    variant: String,
    #[serde(default)]
    weights: WeightsChoice,
    img_size: Option<usize>,
    batch: Option<Vec<usize>>,
}

impl Suite {
    /// The suite `asked` for: a built-in name, or the path of a TOML file.
    ///
    /// A relative data folder in a file is taken from the file's own folder.
    ///
    /// # Errors
    /// [`SuiteError`]: no such suite, not a suite's TOML, or a value outside its range.
    pub fn load(asked: &str) -> Result<Self, SuiteError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == asked) {
            return Self::parse(text, name, Path::new(""));
        }
        let text = std::fs::read_to_string(asked).map_err(|source| SuiteError::Unknown {
            asked: asked.to_owned(),
            known: BUILT_IN.iter().map(|(name, _)| *name).collect(),
            source,
        })?;
        Self::parse(&text, asked, Path::new(asked).parent().unwrap_or(Path::new("")))
    }

    /// The suite that `text` holds; `place` names it in errors, `base` is where relative data
    /// folders begin.
    ///
    /// # Errors
    /// [`SuiteError::Syntax`] or [`SuiteError::Value`].
    ///
    /// # Examples
    /// ```
    /// use nearkin_bench::suite::{BUILT_IN, Suite};
    /// let suite = Suite::parse(BUILT_IN[0].1, "quick", std::path::Path::new(""))?;
    /// assert_eq!(suite.cases.len(), 5);
    /// # Ok::<(), nearkin_bench::suite::SuiteError>(())
    /// ```
    pub fn parse(text: &str, place: &str, base: &Path) -> Result<Self, SuiteError> {
        let file: SuiteFile = toml::from_str(text).map_err(|source| SuiteError::Syntax {
            place: place.to_owned(),
            source: Box::new(source),
        })?;
        let check = Check { place };
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        check.that(
            !file.name.is_empty() && file.name.chars().all(legal),
            "name",
            "letters, digits, `-` and `_`",
            &file.name,
        )?;
        let data = match (file.data.set, file.data.folder) {
            (Some(set), None) => Some(DataSource::BuiltIn(set)),
            (None, Some(folder)) => Some(DataSource::Folder(base.join(folder))),
            (None, None) => None,
            _ => return Err(check.wrong("data", "either `set` or `folder`", "both")),
        };
        let input = file.input;
        check.that(
            input.channels == 1 || input.channels == 3,
            "input.channels",
            "1 or 3",
            &input.channels,
        )?;
        check.that(
            input.channels == 3 || input.transform == Preparation::Squash,
            "input.channels",
            "3 for timm's transform",
            &input.channels,
        )?;
        let own_size = input.img_size.is_some() || input.transform == Preparation::Timm;
        check.that(own_size, "input.img_size", "a number of pixels", "none")?;
        check.that(input.mean.is_finite(), "input.mean", "finite", &input.mean)?;
        check.that(input.std > 0.0 && input.std.is_finite(), "input.std", "above 0", &input.std)?;
        let probe = file.probe;
        check.that(probe.neighbours >= 1, "probe.neighbours", "at least 1", &probe.neighbours)?;
        check.that(
            probe.temperature > 0.0 && probe.temperature.is_finite(),
            "probe.temperature",
            "above 0",
            &probe.temperature,
        )?;
        check.that(
            probe.validation > 0.0 && probe.validation < 1.0,
            "probe.validation",
            "between 0 and 1",
            &probe.validation,
        )?;
        let timing = file.timing;
        check.that(timing.warm_up >= 1, "timing.warm_up", "at least 1", &timing.warm_up)?;
        check.that(timing.runs >= 10, "timing.runs", "at least 10", &timing.runs)?;
        check.that(
            timing.seconds > 0.0 && timing.seconds.is_finite(),
            "timing.seconds",
            "above 0",
            &timing.seconds,
        )?;
        check.that(!file.case.is_empty(), "case", "at least one table", "none")?;
        let cases = file
            .case
            .into_iter()
            .map(|case| {
                let img_size = case.img_size.or(input.img_size);
                let field = |name| format!("{name} of {}", case.variant);
                check.that(img_size != Some(0), &field("img_size"), "at least 1", "0")?;
                let batch = case.batch.unwrap_or_else(|| input.batch.clone());
                check.that(
                    is_ascending(&batch),
                    &field("batch"),
                    "ascending sizes from 1, at least one",
                    &format!("{batch:?}"),
                )?;
                Ok(SuiteCase { variant: case.variant, weights: case.weights, img_size, batch })
            })
            .collect::<Result<_, SuiteError>>()?;
        let sha256 = hex(&Sha256::digest(text.as_bytes()));
        let (name, about, seed) = (file.name, file.about, file.seed);
        Ok(Self { name, about, seed, data, input, probe, timing, cases, sha256 })
    }
}

fn rgb() -> usize {
    3
}

fn half() -> f32 {
    0.5
}

/// Whether `batch` holds ascending sizes, each at least 1, and at least one.
#[must_use]
pub fn is_ascending(batch: &[usize]) -> bool {
    batch.first().is_some_and(|&first| first >= 1) && batch.windows(2).all(|w| w[0] < w[1])
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Check<'a> {
    place: &'a str,
}

impl Check<'_> {
    fn that(
        &self,
        holds: bool,
        field: &str,
        expected: &'static str,
        found: &(impl fmt::Display + ?Sized),
    ) -> Result<(), SuiteError> {
        if holds { Ok(()) } else { Err(self.wrong(field, expected, &found.to_string())) }
    }

    fn wrong(&self, field: &str, expected: &'static str, found: &str) -> SuiteError {
        SuiteError::Value {
            place: self.place.to_owned(),
            field: field.to_owned(),
            expected,
            found: found.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick_with(change: impl Fn(&str) -> String) -> Result<Suite, SuiteError> {
        Suite::parse(&change(BUILT_IN[0].1), "changed", Path::new("base"))
    }

    #[test]
    fn every_built_in_suite_parses_and_bears_its_own_name() {
        for (name, _) in BUILT_IN {
            assert_eq!(Suite::load(name).unwrap().name, *name);
        }
    }

    #[test]
    fn a_case_takes_the_common_size_and_batches_unless_it_names_its_own() {
        let suite = quick_with(|t| format!("{t}\n[[case]]\nvariant = \"x\"\nimg_size = 40\n"));
        let cases = suite.unwrap().cases;
        assert_eq!((cases[0].img_size, cases[0].batch.as_slice()), (Some(64), &[1, 8, 32][..]));
        assert_eq!((cases[5].img_size, cases[5].batch.as_slice()), (Some(40), &[1, 8, 32][..]));
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_its_line() {
        let error = quick_with(|t| t.replace("warm_up", "warmup")).unwrap_err().to_string();
        assert!(error.contains("warmup") && error.contains("line"), "{error}");
    }

    #[test]
    fn values_outside_their_range_name_the_setting() {
        for (from, to, field) in [
            ("channels = 3", "channels = 2", "input.channels"),
            ("std = 0.5", "std = 0.0", "input.std"),
            ("neighbours = 20", "neighbours = 0", "probe.neighbours"),
            ("temperature = 0.07", "temperature = 0.0", "probe.temperature"),
            ("validation = 0.2", "validation = 1.0", "probe.validation"),
            ("runs = 50", "runs = 9", "timing.runs"),
            ("seconds = 2.0", "seconds = inf", "timing.seconds"),
            ("[1, 8, 32]", "[8, 1]", "batch of"),
            ("[1, 8, 32]", "[]", "batch of"),
            ("name = \"quick\"", "name = \"a/b\"", "name"),
            ("set = \"digits\"", "set = \"digits\"\nfolder = \"x\"", "data"),
            ("img_size = 64\n", "", "input.img_size"),
        ] {
            let error = quick_with(|t| t.replacen(from, to, 1)).unwrap_err();
            let SuiteError::Value { field: found, .. } = &error else { panic!("{error}") };
            assert!(found.starts_with(field), "{error}");
        }
    }

    #[test]
    fn a_relative_folder_begins_at_the_suite_file() {
        let suite = quick_with(|t| t.replace("set = \"digits\"", "folder = \"images\"")).unwrap();
        assert_eq!(suite.data, Some(DataSource::Folder(Path::new("base").join("images"))));
    }

    #[test]
    fn the_hash_follows_the_text() {
        let (a, b) = (quick_with(str::to_owned).unwrap(), quick_with(|t| format!("{t}\n")));
        assert_eq!(a.sha256.len(), 64);
        assert_ne!(a.sha256, b.unwrap().sha256);
    }

    #[test]
    fn an_unknown_suite_lists_the_built_in_ones() {
        let error = Suite::load("qiuck").unwrap_err().to_string();
        assert!(error.contains("quick"), "{error}");
    }
}
