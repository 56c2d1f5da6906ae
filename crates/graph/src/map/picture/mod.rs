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

/// The kinds of files a scatter can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// [`svg`].
    Svg,
    /// [`png`].
    Png,
    /// [`html`], which has no style.
    Html,
}

impl Format {
    /// The format of a file name's extension, in small or capital letters.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "svg" => Some(Self::Svg),
            "png" => Some(Self::Png),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

/// The scatter as the content of a file.
///
/// # Errors
/// [`PictureError`]: positions, labels or names that do not fit, a style out of its range.
///
/// # Examples
/// ```
/// use nearkin_graph::map::{Format, Scatter, Style, draw};
/// let positions = ndarray::arr2(&[[0.0, 0.0], [1.0, 2.0]]);
/// let classes = ["cat".to_owned(), "dog".to_owned()];
/// let scatter =
///     Scatter { positions: positions.view(), labels: &[0, 1], classes: &classes, names: &[], title: "" };
/// let bytes = draw(&scatter, &Style::default(), Format::Svg)?;
/// assert_eq!(bytes[..4], *b"<svg");
/// # Ok::<(), nearkin_graph::map::PictureError>(())
/// ```
pub fn draw(scatter: &Scatter<'_>, style: &Style, format: Format) -> Result<Vec<u8>, PictureError> {
    match format {
        Format::Svg => Ok(svg(scatter, style)?.into_bytes()),
        Format::Png => png(scatter, style),
        Format::Html => Ok(html(scatter)?.into_bytes()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};

    fn classes() -> Vec<String> {
        ["a&b", "<c>"].map(String::from).to_vec()
    }

    fn check(
        positions: &Array2<f32>,
        labels: &[usize],
        names: &[String],
        style: Style,
        error: &str,
    ) {
        let classes = classes();
        let positions = positions.view();
        let scatter = Scatter { positions, labels, classes: &classes, names, title: "" };
        assert_eq!(svg(&scatter, &style).unwrap_err().to_string(), error);
        assert_eq!(png(&scatter, &style).unwrap_err().to_string(), error);
        if style == Style::default() {
            assert_eq!(html(&scatter).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let good = arr2(&[[0.0, 1.0], [2.0, 3.0]]);
        let style = Style::default();
        let flat = arr2(&[[0.0], [1.0]]);
        check(&flat, &[0, 1], &[], style, "positions: expected 2 or 3 columns, found 1");
        let bad = arr2(&[[0.0, 1.0], [f32::NAN, 3.0]]);
        let error = "position 1, column 0: expected a finite value, found NaN";
        check(&bad, &[0, 1], &[], style, error);
        check(&good, &[0], &[], style, "labels: expected 2, one per point, found 1");
        let one = ["x".to_owned()];
        check(&good, &[0, 1], &one, style, "names: expected 2, one per point, found 1");
        check(&good, &[0, 2], &[], style, "label 1: expected a class below 2, found 2");
        let error = "size: expected 64 to 16384 pixels each way, found 10 by 100";
        check(&good, &[0, 1], &[], Style { size: (10, 100), ..style }, error);
        let error = "opacity: expected a number above 0 and at most 1, found 0";
        check(&good, &[0, 1], &[], Style { opacity: 0.0, ..style }, error);
        let error = "radius: expected a number above 0 and at most 64, found NaN";
        check(&good, &[0, 1], &[], Style { radius: Some(f32::NAN), ..style }, error);
    }

    #[test]
    fn every_shape_of_map_is_drawn_in_every_format() {
        let classes = classes();
        let extremes = [0.0, 1.0, -1.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE];
        for columns in [2, 3] {
            for n in [0, 1, 2, 6] {
                let positions = Array2::from_shape_fn((n, columns), |(i, j)| extremes[(i + j) % 6]);
                let labels: Vec<usize> = (0..n).map(|i| i % 2).collect();
                let scatter = Scatter {
                    positions: positions.view(),
                    labels: &labels,
                    classes: &classes,
                    names: &[],
                    title: "\"quoted\" & <tagged>\u{0}",
                };
                for format in ["svg", "PNG", "html"].map(Format::from_extension) {
                    let bytes = draw(&scatter, &Style::default(), format.unwrap()).unwrap();
                    assert!(!bytes.is_empty());
                }
                let text = svg(&scatter, &Style::default()).unwrap();
                assert_eq!(text.matches("<use ").count(), n);
                assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
                assert!(text.contains("&quot;quoted&quot; &amp; &lt;tagged&gt; <"), "{text}");
            }
        }
        assert_eq!(Format::from_extension("pdf"), None);
    }

    #[test]
    fn a_png_decodes_to_its_paper_and_its_points() {
        let positions = arr2(&[[0.0, 0.0], [1.0, 1.0]]);
        let classes = classes();
        let scatter = Scatter {
            positions: positions.view(),
            labels: &[0, 1],
            classes: &classes,
            names: &[],
            title: "",
        };
        let style = Style { size: (100, 80), radius: Some(4.0), opacity: 1.0, paper: Paper::Dark };
        let bytes = png(&scatter, &style).unwrap();
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let shape = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((shape.width, shape.height), (100, 80));
        let (pixels, _) = pixels.as_chunks::<3>();
        assert_eq!(pixels[0], [0x14, 0x16, 0x1a]);
        // The second point, on the upper right: both sides have the same scale.
        let found: Vec<usize> = (0..pixels.len()).filter(|&at| pixels[at] == PALETTE[1]).collect();
        assert!(found.len() > 30, "{}", found.len());
        assert!(found.iter().all(|at| at / 100 < 40 && at % 100 > 50), "{found:?}");
    }
}
