//! A map as a scatter coloured by label: SVG, PNG, or one HTML file to explore.
//!
//! Functions return what belongs into a file and write none. Positions in three dimensions are
//! shown from the front in SVG and PNG, along the third axis and without perspective; in HTML they
//! can be turned.

mod frame;
mod glyphs;
mod html;
mod palette;
mod png;
mod svg;

use ndarray::ArrayView2;
use thiserror::Error;

pub use html::html;
pub use palette::{PALETTE, Rgb, colour};
pub use png::png;
pub use svg::svg;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Scatter<'a> {
    /// `[n, 2]` or `[n, 3]`, finite.
    pub positions: ArrayView2<'a, f32>,
    /// The class of every point, `[n]`, each an index into `classes`.
    pub labels: &'a [usize],
    /// Names of the classes; colours repeat after [`PALETTE`] ends.
    pub classes: &'a [String],
    /// Names of the points, `[n]`, shown by HTML; empty for their indices.
    pub names: &'a [String],
    /// Written above the picture, if not empty.
    pub title: &'a str,
}

/// Light or dark paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paper {
    /// Dark marks on white.
    #[default]
    Light,
    /// Light marks on near black.
    Dark,
}

/// How a still picture looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Width and height of the picture, 64 to 16,384 pixels; the legend stands beside the scatter.
    pub size: (u32, u32),
    /// Radius of a point in pixels, above 0 and at most 64; `None` chooses it by the number of points.
    pub radius: Option<f32>,
    /// How much of what is below a point it hides, above 0 and at most 1.
    pub opacity: f32,
    /// The background.
    pub paper: Paper,
}

impl Default for Style {
    fn default() -> Self {
        Self { size: (1000, 900), radius: None, opacity: 0.7, paper: Paper::Light }
    }
}

impl Style {
    /// The radius for `n` points.
    fn radius_for(&self, n: usize) -> f32 {
        let side = self.size.0.min(self.size.1) as f32;
        let share = side / (n.max(1) as f32).sqrt();
        self.radius.unwrap_or_else(|| (0.25 * share).clamp(0.8, 6.0))
    }
}

/// Why a map cannot be drawn.
#[non_exhaustive]
#[derive(Debug, Error)]
pub enum PictureError {
    /// Positions are drawn in 2 or 3 dimensions.
    #[error("positions: expected 2 or 3 columns, found {found}")]
    Dimensions {
        /// Columns.
        found: usize,
    },
    /// A position is infinite or not a number.
    #[error("position {row}, column {column}: expected a finite value, found {found}")]
    NotFinite {
        /// The first such row.
        row: usize,
        /// Its first such column.
        column: usize,
        /// The value.
        found: f32,
    },
    /// There are not as many labels or names as points.
    #[error("{what}: expected {expected}, one per point, found {found}")]
    Count {
        /// `labels` or `names`.
        what: &'static str,
        /// Points.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A label names no class.
    #[error("label {row}: expected a class below {classes}, found {found}")]
    Label {
        /// The first such row.
        row: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        found: usize,
    },
    /// The picture is too small or too large.
    #[error("size: expected 64 to 16384 pixels each way, found {} by {}", found.0, found.1)]
    Size {
        /// Width and height.
        found: (u32, u32),
    },
    /// A point would be invisible.
    #[error("{what}: expected a number above 0 and at most {most}, found {found}")]
    Mark {
        /// `radius` or `opacity`.
        what: &'static str,
        /// The largest allowed.
        most: f32,
        /// The value given.
        found: f32,
    },
    /// The PNG encoder refuses the picture.
    #[error(transparent)]
    Png(#[from] ::png::EncodingError),
}

impl Scatter<'_> {
    fn check(&self) -> Result<(), PictureError> {
        let (n, columns) = self.positions.dim();
        if !(2..=3).contains(&columns) {
            return Err(PictureError::Dimensions { found: columns });
        }
        let bad = self.positions.indexed_iter().find(|(_, value)| !value.is_finite());
        if let Some(((row, column), &found)) = bad {
            return Err(PictureError::NotFinite { row, column, found });
        }
        let count = |what, found| PictureError::Count { what, expected: n, found };
        if self.labels.len() != n {
            return Err(count("labels", self.labels.len()));
        }
        if !self.names.is_empty() && self.names.len() != n {
            return Err(count("names", self.names.len()));
        }
        let classes = self.classes.len();
        match self.labels.iter().enumerate().find(|&(_, &label)| label >= classes) {
            Some((row, &found)) => Err(PictureError::Label { row, classes, found }),
            None => Ok(()),
        }
    }
}

impl Style {
    fn check(&self) -> Result<(), PictureError> {
        let (width, height) = self.size;
        if !(64..=16_384).contains(&width) || !(64..=16_384).contains(&height) {
            return Err(PictureError::Size { found: self.size });
        }
        let marks = [("radius", 64.0, self.radius.unwrap_or(1.0)), ("opacity", 1.0, self.opacity)];
        for (what, most, found) in marks {
            if !(found > 0.0 && found <= most) {
                return Err(PictureError::Mark { what, most, found });
            }
        }
        Ok(())
    }
}

/// Characters with a meaning in XML and HTML, replaced; control characters become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML 1.0 has no place for these, not even escaped.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
