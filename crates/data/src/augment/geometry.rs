//! Flips, rotations and affine maps, pixel for pixel as Pillow's `transpose`, `rotate` and `transform`.
//!
//! Output pixel (x, y) takes the input at (a₀(x+½) + a₁(y+½) + a₂, a₃(x+½) + a₄(y+½) + a₅), in f64 as
//! in Pillow's `Geometry.c` (<https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Geometry.c>),
//! and `fill` where that lies outside. No antialias: it is for turns and shifts, not for shrinking.

use std::io::Write;

use super::canvas::Canvas;

/// How a turned or shifted image is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// The pixel that holds the point.
    Nearest,
    /// Between 2 × 2 pixels, cut off below.
    Bilinear,
    /// Between 4 × 4 pixels, Keys' kernel with a = −1, cut off below.
    Bicubic,
}

/// How a geometric operation samples, and what it puts where the image has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Warp {
    /// The kernel.
    pub sampling: Sampling,
    /// Level per channel; a grey image takes the first.
    pub fill: [u8; 3],
}

pub(super) fn flip_horizontal(canvas: &mut Canvas) {
    let width = canvas.width;
    canvas.levels.chunks_exact_mut(width).for_each(<[u8]>::reverse);
}

pub(super) fn flip_vertical(canvas: &mut Canvas) {
    let (height, width) = (canvas.height, canvas.width);
    for plane in canvas.planes_mut() {
        for y in 0..height / 2 {
            let (above, below) = plane.split_at_mut((height - 1 - y) * width);
            above[y * width..][..width].swap_with_slice(&mut below[..width]);
        }
    }
}

/// Turns about the centre, counter-clockwise, and keeps the size.
pub(super) fn rotate(canvas: &mut Canvas, degrees: f64, warp: Warp) {
    let degrees = degrees.rem_euclid(360.0);
    let (height, width) = (canvas.height, canvas.width);
    // Quarter turns are copies, whatever the kernel.
    let quarters =
        [0.0, 90.0, 180.0, 270.0].iter().position(|&turn: &f64| turn.total_cmp(&degrees).is_eq());
    match quarters {
        Some(0) => {}
        Some(2) => canvas.planes_mut().for_each(<[u8]>::reverse),
        Some(quarter) if height == width => {
            let (levels, out) = canvas.spare();
            let planes =
                levels.chunks_exact(width * width).zip(out.chunks_exact_mut(width * width));
            for (plane, out) in planes {
                for (y, row) in plane.chunks_exact(width).enumerate() {
                    for (x, &level) in row.iter().enumerate() {
                        let to = if quarter == 1 {
                            (width - 1 - x) * width + y
                        } else {
                            x * width + width - 1 - y
                        };
                        out[to] = level;
                    }
                }
            }
            canvas.swap();
        }
        _ => affine(canvas, rotation_matrix(degrees, (height, width)), warp),
    }
}

/// Pillow's matrix from output to input, its sines and cosines rounded to 15 decimals.
fn rotation_matrix(degrees: f64, (height, width): (usize, usize)) -> [f64; 6] {
    let angle = -degrees.to_radians();
    let (centre_x, centre_y) = (width as f64 / 2.0, height as f64 / 2.0);
    let (cos, sin, minus_sin) =
        (to_15_decimals(angle.cos()), to_15_decimals(angle.sin()), to_15_decimals(-angle.sin()));
    let shift = |a: f64, b: f64| a * -centre_x + b * -centre_y;
    [cos, sin, shift(cos, sin) + centre_x, minus_sin, cos, shift(minus_sin, cos) + centre_y]
}

/// Python's `round(x, 15)`: by way of the decimal text, which is rounded correctly.
fn to_15_decimals(x: f64) -> f64 {
    let mut text = [0_u8; 32];
    let mut rest = &mut text[..];
    if write!(rest, "{x:.15}").is_err() {
        return x;
    }
    let unused = rest.len();
    let written = &text[..text.len() - unused];
    std::str::from_utf8(written).ok().and_then(|text| text.parse().ok()).unwrap_or(x)
}

/// `matrix` leads from output to input, `[a₀, …, a₅]` as in Pillow's `Image.transform`.
pub(super) fn affine(canvas: &mut Canvas, matrix: [f64; 6], warp: Warp) {
    let (height, width, plane_len) = (canvas.height, canvas.width, canvas.plane_len());
    let (levels, out) = canvas.spare();
    for (plane, fill) in out.chunks_exact_mut(plane_len).zip(warp.fill) {
        plane.fill(fill);
    }
    let source = Source { levels, height, width };
    match warp.sampling {
        Sampling::Nearest => nearest(&source, out, matrix),
        Sampling::Bilinear => interpolate(&source, out, matrix, bilinear),
        Sampling::Bicubic => interpolate(&source, out, matrix, bicubic),
    }
    canvas.swap();
}

struct Source<'a> {
    levels: &'a [u8],
    height: usize,
    width: usize,
}

/// Where a sample lies: the pixel at or before it, which may be −1, and the way to the next.
#[derive(Clone, Copy)]
struct Point {
    x: isize,
    y: isize,
    dx: f64,
    dy: f64,
}

fn interpolate(
    source: &Source<'_>,
    out: &mut [u8],
    [a0, a1, a2, a3, a4, a5]: [f64; 6],
    sample: impl Fn(&[u8], (usize, usize), Point) -> u8,
) {
    let Source { levels, height, width } = *source;
    let plane_len = height * width;
    for y in 0..height {
        let y_out = y as f64 + 0.5;
        for x in 0..width {
            let x_out = x as f64 + 0.5;
            let x_in = a0 * x_out + a1 * y_out + a2;
            let y_in = a3 * x_out + a4 * y_out + a5;
            let inside = |at: f64, side: usize| (0.0..side as f64).contains(&at);
            if !inside(x_in, width) || !inside(y_in, height) {
                continue;
            }
            let (x_in, y_in) = (x_in - 0.5, y_in - 0.5);
            // At least −½: the cast of the number raised by 1 is its floor, without a call.
            let (left, top) = ((x_in + 1.0) as isize - 1, (y_in + 1.0) as isize - 1);
            let (left, top) = (floor(x_in, left), floor(y_in, top));
            let point = Point { x: left, y: top, dx: x_in - left as f64, dy: y_in - top as f64 };
            let planes = levels.chunks_exact(plane_len).zip(out.chunks_exact_mut(plane_len));
            for (plane, out) in planes {
                out[y * width + x] = sample(plane, (height, width), point);
            }
        }
    }
}

/// Raising by 1 may round a number just below an integer up to it: step back then.
fn floor(x: f64, guess: isize) -> isize {
    if guess as f64 > x { guess - 1 } else { guess }
}

fn bilinear(plane: &[u8], (height, width): (usize, usize), point: Point) -> u8 {
    let Point { x, y, dx, dy } = point;
    let columns = [x.max(0) as usize, ((x + 1) as usize).min(width - 1)];
    let between = |a: f64, b: f64, way: f64| a + (b - a) * way;
    let along = |row: usize| {
        let [a, b] = columns.map(|x| f64::from(plane[row * width + x]));
        between(a, b, dx)
    };
    let above = along(y.max(0) as usize);
    let next = (y + 1) as usize;
    let below = if next < height { along(next) } else { above };
    between(above, below, dy) as u8
}

fn bicubic(plane: &[u8], (height, width): (usize, usize), point: Point) -> u8 {
    let Point { x, y, dx, dy } = point;
    let (last_x, last_y) = (width as isize - 1, height as isize - 1);
    let columns = [x - 1, x, x + 1, x + 2].map(|x| x.clamp(0, last_x) as usize);
    let along = |row: usize| {
        let row = &plane[row * width..][..width];
        cubic(columns.map(|x| f64::from(row[x])), dx)
    };
    let mut rows = [along((y - 1).clamp(0, last_y) as usize); 4];
    for i in 1..4 {
        let row = y - 1 + i as isize;
        // A row outside repeats what came before it, as in Pillow.
        rows[i] = if (0..=last_y).contains(&row) { along(row as usize) } else { rows[i - 1] };
    }
    cubic(rows, dy) as u8
}

fn cubic([v1, v2, v3, v4]: [f64; 4], d: f64) -> f64 {
    let p2 = -v1 + v3;
    let p3 = 2.0 * (v1 - v2) + v3 - v4;
    let p4 = -v1 + v2 - v3 + v4;
    v2 + d * (p2 + d * (p3 + d * p4))
}

/// Pillow's three ways to the nearest pixel, which differ where a point lies between two.
fn nearest(source: &Source<'_>, out: &mut [u8], a: [f64; 6]) {
    let (height, width) = (source.height, source.width);
    let first = (a[2] + a[0] * 0.5 + a[1] * 0.5, a[5] + a[3] * 0.5 + a[4] * 0.5);
    if a[1] == 0.0 && a[3] == 0.0 {
        // Running sums are part of the definition.
        let (mut y_in, first_x) = (a[5] + a[4] * 0.5, a[2] + a[0] * 0.5);
        for y in 0..height {
            let mut x_in = first_x;
            for x in 0..width {
                source.copy(out, (y, x), (pixel(y_in), pixel(x_in)));
                x_in += a[0];
            }
            y_in += a[4];
        }
    } else if is_small(a, (height, width)) {
        let fixed = |v: f64| (v * 65536.0 + 0.5).floor() as i32;
        let [a0, a1, a3, a4] = [a[0], a[1], a[3], a[4]].map(fixed);
        let (mut row_x, mut row_y) = (fixed(a[2] + a[0] * 0.5 + a[1] * 0.5), fixed(first.1));
        for y in 0..height {
            let (mut x_in, mut y_in) = (row_x, row_y);
            for x in 0..width {
                source.copy(out, (y, x), ((y_in >> 16) as isize, (x_in >> 16) as isize));
                (x_in, y_in) = (x_in.wrapping_add(a0), y_in.wrapping_add(a3));
            }
            (row_x, row_y) = (row_x.wrapping_add(a1), row_y.wrapping_add(a4));
        }
    } else {
        let (mut row_x, mut row_y) =
            (a[2] + a[1] * 0.5 + a[0] * 0.5, a[5] + a[4] * 0.5 + a[3] * 0.5);
        for y in 0..height {
            let (mut x_in, mut y_in) = (row_x, row_y);
            for x in 0..width {
                source.copy(out, (y, x), (pixel(y_in), pixel(x_in)));
                (x_in, y_in) = (x_in + a[0], y_in + a[3]);
            }
            (row_x, row_y) = (row_x + a[1], row_y + a[4]);
        }
    }
}

fn pixel(at: f64) -> isize {
    if at < 0.0 { -1 } else { at as isize }
}

/// Whether all corners are reached in 16.16 fixed point.
fn is_small(a: [f64; 6], (height, width): (usize, usize)) -> bool {
    let (w, h) = (width as f64, height as f64);
    [(0.0, 0.0), (w, h), (0.0, h), (w, 0.0)].into_iter().all(|(x, y)| {
        (x * a[0] + y * a[1] + a[2]).abs() < 32768.0 && (x * a[3] + y * a[4] + a[5]).abs() < 32768.0
    })
}

impl Source<'_> {
    /// Copies all channels of one input pixel, if there is one at (row, column).
    fn copy(&self, out: &mut [u8], to: (usize, usize), (row, column): (isize, isize)) {
        let plane_len = self.height * self.width;
        let (Ok(row), Ok(column)) = (usize::try_from(row), usize::try_from(column)) else {
            return;
        };
        if row < self.height && column < self.width {
            let (from, to) = (row * self.width + column, to.0 * self.width + to.1);
            let planes = self.levels.chunks_exact(plane_len).zip(out.chunks_exact_mut(plane_len));
            planes.for_each(|(plane, out)| out[to] = plane[from]);
        }
    }
}
