//! The scatter as SVG.

use std::fmt::Write as _;

use super::frame::{Frame, LINE, drawing_order, inks};
use super::palette::{colour, hex};
use super::{PictureError, Scatter, Style, escape};

/// A scatter coloured by label, with title and legend, as an SVG document.
///
/// Coordinates have a tenth of a pixel. Meant for up to some ten thousand points: each is an element
/// of about 30 bytes.
///
/// # Errors
/// [`PictureError`]: positions, labels or names that do not fit, a style out of its range.
///
/// # Examples
/// ```
/// use nearkin_graph::map::{Scatter, Style, svg};
/// let positions = ndarray::arr2(&[[0.0, 0.0], [1.0, 2.0]]);
/// let scatter = Scatter {
///     positions: positions.view(),
///     labels: &[0, 1],
///     classes: &["cat".to_owned(), "<dog>".to_owned()],
///     names: &[],
///     title: "",
/// };
/// let text = svg(&scatter, &Style::default())?;
/// assert_eq!(text.matches("<use ").count(), 2);
/// assert!(text.contains("&lt;dog&gt;"));
/// # Ok::<(), nearkin_graph::map::PictureError>(())
/// ```
pub fn svg(scatter: &Scatter<'_>, style: &Style) -> Result<String, PictureError> {
    scatter.check()?;
    style.check()?;
    let frame = Frame::new(scatter, style);
    let (paper, ink) = inks(style.paper);
    let (width, height) = style.size;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n\
         <defs><circle id=\"p\" r=\"{}\"/></defs>\n",
        hex(paper),
        style.radius_for(scatter.labels.len())
    );
    // Writing to a string cannot fail.
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{text}");
    };
    line(format_args!("<g fill-opacity=\"{}\">", style.opacity));
    for i in drawing_order(scatter.labels.len()) {
        let (x, y) = frame.place(scatter.positions[[i, 0]], scatter.positions[[i, 1]]);
        let fill = hex(colour(scatter.labels[i]));
        line(format_args!("<use href=\"#p\" x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\"/>"));
    }
    line(format_args!("</g>\n<g fill=\"{}\">", hex(ink)));
    if !scatter.title.is_empty() {
        let title = escape(scatter.title);
        line(format_args!("<text x=\"16\" y=\"30\" font-size=\"18\">{title}</text>"));
    }
    let (x, top) = frame.legend;
    for (class, name) in scatter.classes.iter().enumerate().take(frame.lines) {
        let (y, fill) = (top + class as f32 * LINE, hex(colour(class)));
        let (text_x, base, name) = (x + 14.0, y + 5.0, escape(name));
        line(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"{fill}\"/>\
             <text x=\"{text_x:.1}\" y=\"{base:.1}\">{name}</text>"
        ));
    }
    line(format_args!("</g>\n</svg>"));
    Ok(out)
}
