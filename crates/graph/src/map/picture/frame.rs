//! Where on a picture a position, the title and the legend go.

use super::{Paper, Rgb, Scatter, Style};

/// Space around everything, and above the scatter where there is a title.
const MARGIN: f32 = 16.0;
const TITLE: f32 = 28.0;
/// Legends take this much of the width, and a line for each class.
pub(super) const LEGEND_WIDTH: f32 = 110.0;
pub(super) const LINE: f32 = 22.0;

/// A picture's geometry in pixels, y downwards.
pub(super) struct Frame {
    /// In f64, since the extent of finite positions may exceed f32.
    scale: f64,
    middle: (f32, f32),
    centre: [f64; 2],
    pub(super) legend: (f32, f32),
    /// Legend lines that fit.
    pub(super) lines: usize,
}

impl Frame {
    pub(super) fn new(scatter: &Scatter<'_>, style: &Style) -> Self {
        let (width, height) = (style.size.0 as f32, style.size.1 as f32);
        let top = MARGIN + if scatter.title.is_empty() { 0.0 } else { TITLE };
        let right = width - MARGIN - if width > 3.0 * LEGEND_WIDTH { LEGEND_WIDTH } else { 0.0 };
        let radius = style.radius_for(scatter.labels.len());
        let room = |from: f32, to: f32| f64::from((to - from - 2.0 * radius).max(1.0));
        let (low, high) = extent(scatter);
        let scale = (0..2)
            .map(|axis| {
                let pixels =
                    if axis == 0 { room(MARGIN, right) } else { room(top, height - MARGIN) };
                pixels / (high[axis] - low[axis])
            })
            .fold(f64::INFINITY, f64::min);
        Self {
            // All points in one place, or none.
            scale: if scale.is_finite() { scale } else { 1.0 },
            middle: ((MARGIN + right) / 2.0, (top + height - MARGIN) / 2.0),
            centre: [0, 1].map(|axis| (low[axis] + high[axis]) / 2.0),
            legend: (right + MARGIN, top + LINE / 2.0),
            lines: if width > 3.0 * LEGEND_WIDTH {
                ((height - top - MARGIN) / LINE) as usize
            } else {
                0
            },
        }
    }

    /// The place of a position's first two coordinates.
    pub(super) fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let from_centre = |v: f32, axis: usize| (f64::from(v) - self.centre[axis]) * self.scale;
        let (right, up) = (from_centre(x, 0) as f32, from_centre(y, 1) as f32);
        (self.middle.0 + right, self.middle.1 - up)
    }
}

/// Lowest and highest of the first two coordinates.
fn extent(scatter: &Scatter<'_>) -> ([f64; 2], [f64; 2]) {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for row in scatter.positions.rows() {
        for axis in 0..2 {
            low[axis] = low[axis].min(row[axis].into());
            high[axis] = high[axis].max(row[axis].into());
        }
    }
    if low[0] > high[0] { ([0.0; 2], [0.0; 2]) } else { (low, high) }
}

/// The order in which points are drawn: mixed, so that no class lies on top of all others.
pub(super) fn drawing_order(n: usize) -> impl Iterator<Item = usize> {
    // Steps of an odd number that shares no factor with a power of two visit each place once.
    let places = n.next_power_of_two().max(1);
    let step = (places as f64 * 0.618_033_988) as usize | 1;
    (0..places).map(move |k| k.wrapping_mul(step) % places).filter(move |&place| place < n)
}

/// Background and text.
pub(super) fn inks(paper: Paper) -> (Rgb, Rgb) {
    match paper {
        Paper::Light => ([255; 3], [0x22; 3]),
        Paper::Dark => ([0x14, 0x16, 0x1a], [0xdd; 3]),
    }
}

#[cfg(test)]
mod tests {
    use super::drawing_order;

    #[test]
    fn every_point_is_drawn_once() {
        for n in [0, 1, 2, 3, 7, 8, 1000] {
            let mut order: Vec<usize> = drawing_order(n).collect();
            order.sort_unstable();
            assert!(order.into_iter().eq(0..n), "{n}");
        }
    }
}
