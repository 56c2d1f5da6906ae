//! Random rotations and affine maps.
//!
//! Turns, shifts, scales and shears are drawn as torchvision's `RandomRotation` and `RandomAffine` do, and
//! applied as Pillow does ([`Operation::Rotate`], [`Operation::Affine`]). Distorted digits are as old as
//! Simard et al., 2003, <https://doi.org/10.1109/ICDAR.2003.1227801>.

use super::draw::Stream;
use super::error::{AugmentError, check_number, check_probability, check_range};
use super::{Operation, Warp};

/// A random turn about the centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomRotation {
    /// Probability of a turn.
    pub probability: f64,
    /// The angle is uniform in this range, counter-clockwise, −360 to 360.
    pub degrees: (f64, f64),
    /// Sampling and fill.
    pub warp: Warp,
}

/// A random turn, shift, scale and shear about the centre, in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomAffine {
    /// Probability of a map.
    pub probability: f64,
    /// The angle is uniform in this range, clockwise, −360 to 360.
    pub degrees: (f64, f64),
    /// Shifts along (x, y) are whole pixels, uniform within ± this share of the (width, height), 0 to 1.
    pub translate: (f64, f64),
    /// The scale is uniform in this range, above 0.
    pub scale: (f64, f64),
    /// The shear along x is uniform in this range of degrees, within −89 to 89.
    pub shear_x: (f64, f64),
    /// The shear along y, likewise.
    pub shear_y: (f64, f64),
    /// Sampling and fill.
    pub warp: Warp,
}

const TURN: &str = "low ≤ high, both from -360 to 360 degrees";

impl RandomRotation {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        check_probability("rotation probability", self.probability)?;
        check_range("rotation degrees", self.degrees, TURN, |d| d.abs() <= 360.0)
    }

    pub(super) fn draw(&self, stream: &mut Stream) -> Option<Operation> {
        let applied = stream.chance(self.probability);
        let degrees = stream.between(self.degrees);
        applied.then_some(Operation::Rotate { degrees, warp: self.warp })
    }
}

impl RandomAffine {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        check_probability("affine probability", self.probability)?;
        check_range("affine degrees", self.degrees, TURN, |d| d.abs() <= 360.0)?;
        for share in [self.translate.0, self.translate.1] {
            check_number("affine translate", share, "0 to 1", |t| (0.0..=1.0).contains(&t))?;
        }
        check_range("affine scale", self.scale, "low ≤ high, both above 0", |s| s > 0.0)?;
        for (field, shear) in [("affine shear_x", self.shear_x), ("affine shear_y", self.shear_y)] {
            check_range(field, shear, "low ≤ high, both from -89 to 89 degrees", |s| {
                s.abs() <= 89.0
            })?;
        }
        Ok(())
    }

    /// For an image of (H, W) pixels.
    pub(super) fn draw(&self, stream: &mut Stream, size: (usize, usize)) -> Option<Operation> {
        let applied = stream.chance(self.probability);
        let degrees = stream.between(self.degrees);
        let mut shift = |share: f64, side: usize| {
            let most = share * side as f64;
            stream.between((-most, most)).round_ties_even()
        };
        let shifts = (shift(self.translate.0, size.1), shift(self.translate.1, size.0));
        let scale = stream.between(self.scale);
        let shears = (stream.between(self.shear_x), stream.between(self.shear_y));
        let matrix = inverse_matrix(size, degrees, shifts, scale, shears);
        applied.then_some(Operation::Affine { matrix, warp: self.warp })
    }
}

/// torchvision's `_get_inverse_affine_matrix`: (T C R S Hy Hx C⁻¹)⁻¹, C the image's centre.
fn inverse_matrix(
    (height, width): (usize, usize),
    degrees: f64,
    shifts: (f64, f64),
    scale: f64,
    shears: (f64, f64),
) -> [f64; 6] {
    let [turn, sx, sy] = [degrees, shears.0, shears.1].map(f64::to_radians);
    let (cx, cy) = (width as f64 * 0.5, height as f64 * 0.5);
    let a = (turn - sy).cos() / sy.cos();
    let b = -(turn - sy).cos() * sx.tan() / sy.cos() - turn.sin();
    let c = (turn - sy).sin() / sy.cos();
    let d = -(turn - sy).sin() * sx.tan() / sy.cos() + turn.cos();
    let [m0, m1, m3, m4] = [d, -b, -c, a].map(|v| v / scale);
    let shift = |x: f64, y: f64| x * (-cx - shifts.0) + y * (-cy - shifts.1);
    [m0, m1, shift(m0, m1) + cx, m3, m4, shift(m3, m4) + cy]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_torchvisions() {
        // torchvision 0.29: _get_inverse_affine_matrix([10.0, 7.5], 30, [2, -1], 1.25, [10, -5]).
        let found = inverse_matrix((15, 20), 30.0, (2.0, -1.0), 1.25, (10.0, -5.0));
        let expected = TORCHVISION;
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    const TORCHVISION: [f64; 6] = [
        0.6116016605142625,
        0.5159922709786133,
        -0.6931696875321371,
        -0.46061392412527935,
        0.6578248576171812,
        8.751505514991674,
    ];
}
