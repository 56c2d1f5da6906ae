//! Colour jitter: brightness, contrast, saturation and hue by random factors in random order.
//!
//! Howard, 2013, <https://arxiv.org/abs/1312.5402>; the distributions and the order are torchvision's
//! `ColorJitter`, applied as [`Operation`]s, so with PIL's roundings.

use super::Operation;
use super::draw::Stream;
use super::error::{AugmentError, check_number, check_probability};

/// How far colours are jittered; 0 leaves a property alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorJitter {
    /// Probability of jittering at all.
    pub probability: f64,
    /// The factor is uniform in [max(0, 1 − brightness), 1 + brightness]; at least 0.
    pub brightness: f64,
    /// As `brightness`, for the contrast.
    pub contrast: f64,
    /// As `brightness`, for the saturation.
    pub saturation: f64,
    /// The turn is uniform in [−hue, hue], 0 to 0.5 turns.
    pub hue: f64,
}

impl ColorJitter {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        check_probability("color_jitter probability", self.probability)?;
        for (field, value) in [
            ("color_jitter brightness", self.brightness),
            ("color_jitter contrast", self.contrast),
            ("color_jitter saturation", self.saturation),
        ] {
            check_number(field, value, "at least 0", |v| v >= 0.0)?;
        }
        check_number("color_jitter hue", self.hue, "0 to 0.5", |v| (0.0..=0.5).contains(&v))
    }

    /// The operations of one image, in their order.
    pub(super) fn draw(&self, stream: &mut Stream) -> impl Iterator<Item = Operation> + use<> {
        let applied = stream.chance(self.probability);
        let mut factor = |by: f64, operation: fn(f64) -> Operation| {
            let factor = stream.between(((1.0 - by).max(0.0), 1.0 + by));
            (by > 0.0).then(|| operation(factor))
        };
        let mut operations = [
            factor(self.brightness, Operation::Brightness),
            factor(self.contrast, Operation::Contrast),
            factor(self.saturation, Operation::Color),
            None,
        ];
        let turn = stream.between((-self.hue, self.hue));
        operations[3] = (self.hue > 0.0).then_some(Operation::Hue(turn));
        stream.shuffle(&mut operations);
        operations.into_iter().flatten().filter(move |_| applied)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Draw, Purpose};
    use super::*;

    #[test]
    fn factors_stay_in_range_and_each_order_is_equally_likely() {
        let jitter = ColorJitter {
            probability: 1.0,
            brightness: 0.4,
            contrast: 1.5,
            saturation: 0.4,
            hue: 0.0,
        };
        let mut first = [0_i32; 3];
        for index in 0..3000 {
            let mut stream = Draw { seed: 9, epoch: 0, index }.stream(Purpose::ColorJitter);
            let drawn: Vec<Operation> = jitter.draw(&mut stream).collect();
            assert_eq!(drawn.len(), 3);
            for operation in &drawn {
                match *operation {
                    Operation::Contrast(f) => assert!((0.0..2.5).contains(&f)),
                    Operation::Brightness(f) | Operation::Color(f) => {
                        assert!((0.6..1.4).contains(&f));
                    }
                    _ => panic!("{operation:?} was not asked for"),
                }
            }
            first[match drawn[0] {
                Operation::Brightness(_) => 0,
                Operation::Contrast(_) => 1,
                _ => 2,
            }] += 1;
        }
        // Four standard deviations of a binomial.
        assert!(first.iter().all(|&n| (n - 1000).abs() < 104), "{first:?}");
    }
}
