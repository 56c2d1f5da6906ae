//! The scatter as PNG, drawn disc by disc.

use super::frame::{Frame, LINE, drawing_order, inks};
use super::glyphs;
use super::palette::{Rgb, colour};
use super::{PictureError, Scatter, Style};

/// A scatter coloured by label, with title and legend, as a PNG file of 8-bit RGB.
///
/// Discs are anti-aliased. Letters are drawn from a small font of capitals and digits; a character
/// that is not in it becomes a box.
///
/// # Errors
/// [`PictureError`]: positions, labels or names that do not fit, a style out of its range.
///
/// # Examples
/// ```
/// use nearkin_graph::map::{Scatter, Style, png};
/// let positions = ndarray::arr2(&[[0.0, 0.0], [1.0, 2.0]]);
/// let scatter = Scatter {
///     positions: positions.view(),
///     labels: &[0, 1],
///     classes: &["cat".to_owned(), "dog".to_owned()],
///     names: &[],
///     title: "",
/// };
/// let bytes = png(&scatter, &Style::default())?;
/// assert_eq!(bytes[1..4], *b"PNG");
/// # Ok::<(), nearkin_graph::map::PictureError>(())
/// ```
pub fn png(scatter: &Scatter<'_>, style: &Style) -> Result<Vec<u8>, PictureError> {
    scatter.check()?;
    style.check()?;
    let canvas = draw(scatter, style);
    let mut out = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut out, style.size.0, style.size.1);
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    encoder.set_compression(::png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(canvas.pixels.as_flattened())?;
    writer.finish()?;
    Ok(out)
}

fn draw(scatter: &Scatter<'_>, style: &Style) -> Canvas {
    let frame = Frame::new(scatter, style);
    let (paper, ink) = inks(style.paper);
    let (width, height) = (style.size.0 as usize, style.size.1 as usize);
    let mut canvas = Canvas { width, height, pixels: vec![paper; width * height] };
    let radius = style.radius_for(scatter.labels.len());
    for i in drawing_order(scatter.labels.len()) {
        let place = frame.place(scatter.positions[[i, 0]], scatter.positions[[i, 1]]);
        canvas.disc(place, radius, colour(scatter.labels[i]), style.opacity);
    }
    canvas.text((16, 16), scatter.title, ink);
    let (x, top) = frame.legend;
    for (class, name) in scatter.classes.iter().enumerate().take(frame.lines) {
        let y = top + class as f32 * LINE;
        canvas.disc((x, y), 6.0, colour(class), 1.0);
        canvas.text((x as usize + 14, y as usize - 6), name, ink);
    }
    canvas
}

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

impl Canvas {
    /// A disc whose edge fades over one pixel; what lies beyond the picture is cut off.
    fn disc(&mut self, (x, y): (f32, f32), radius: f32, colour: Rgb, opacity: f32) {
        let span = |middle: f32, limit: usize| {
            let low = (middle - radius - 1.0).floor().max(0.0) as usize;
            low..((middle + radius + 2.0).max(0.0) as usize).min(limit)
        };
        for row in span(y, self.height) {
            for column in span(x, self.width) {
                // A pixel's centre is half a pixel from its corner.
                let (dx, dy) = (column as f32 + 0.5 - x, row as f32 + 0.5 - y);
                let cover = (radius + 0.5 - dx.hypot(dy)).clamp(0.0, 1.0);
                self.blend(column, row, colour, opacity * cover);
            }
        }
    }

    fn blend(&mut self, column: usize, row: usize, colour: Rgb, share: f32) {
        let pixel = &mut self.pixels[row * self.width + column];
        for (old, new) in pixel.iter_mut().zip(colour) {
            let mixed = f32::from(*old) + share * (f32::from(new) - f32::from(*old));
            *old = mixed.round() as u8;
        }
    }

    /// Text from its upper left corner, each dot of the font two pixels wide.
    fn text(&mut self, (left, top): (usize, usize), text: &str, colour: Rgb) {
        const DOT: usize = 2;
        for (index, character) in text.chars().enumerate() {
            let left = left + index * (glyphs::WIDTH + 1) * DOT;
            for (y, line) in glyphs::glyph(character).into_iter().enumerate() {
                for x in (0..glyphs::WIDTH).filter(|x| line >> (glyphs::WIDTH - 1 - x) & 1 == 1) {
                    for dot in 0..DOT * DOT {
                        let (column, row) = (left + x * DOT + dot % DOT, top + y * DOT + dot / DOT);
                        if column < self.width && row < self.height {
                            self.blend(column, row, colour, 1.0);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_disc(place: (f32, f32), radius: f32) -> Canvas {
        let mut canvas = Canvas { width: 64, height: 64, pixels: vec![[0; 3]; 64 * 64] };
        canvas.disc(place, radius, [255; 3], 1.0);
        canvas
    }

    #[test]
    fn a_disc_covers_its_area_wherever_it_lies() {
        for place in [(30.0, 30.0), (30.5, 31.25), (20.1, 40.9)] {
            let canvas = one_disc(place, 6.0);
            let area: f32 = canvas.pixels.iter().map(|p| f32::from(p[0]) / 255.0).sum();
            assert!((area / (std::f32::consts::PI * 36.0) - 1.0).abs() < 0.02, "{area}");
        }
    }

    #[test]
    fn a_disc_beyond_the_edge_is_cut_off() {
        assert!(one_disc((-20.0, 300.0), 6.0).pixels.iter().all(|p| *p == [0; 3]));
        assert!(one_disc((0.0, 63.9), 6.0).pixels.iter().any(|p| *p != [0; 3]));
    }
}
