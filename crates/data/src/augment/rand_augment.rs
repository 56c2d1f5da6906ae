//! RandAugment: a few operations of one magnitude, chosen at random for each image.
//!
//! Cubuk et al., 2019, <https://arxiv.org/abs/1909.13719>; the list of operations, their probability, and
//! what a magnitude means are timm's (`timm/data/auto_augment.py`), with its text form
//! `rand-m9-n2-mstd0.5-inc1`. AutoAugment's learnt policies and AugMix are not here.

use super::draw::Stream;
use super::error::{AugmentError, check_number, check_probability};
use super::{Operation, Sampling, Warp};

/// timm's RandAugment.
#[derive(Clone, Debug, PartialEq)]
pub struct RandAugment {
    /// `m`: strength, 0 to `magnitude_max`; 10 in the text form if not given.
    pub magnitude: f64,
    /// `mstd`: the magnitude of each operation is normal about `magnitude`, clipped to
    /// 0..=`magnitude_max`; infinite: uniform in [0, `magnitude`). 0 if not given.
    pub magnitude_std: f64,
    /// `mmax`: the greatest magnitude, above 0; 10 if not given.
    pub magnitude_max: f64,
    /// `n`: operations drawn for each image, at least 1; 2 if not given.
    pub layers: usize,
    /// `p`: probability that a drawn operation is applied; 0.5 if not given.
    pub probability: f64,
    /// `inc1`: every operation grows with the magnitude (timm's "Increasing" variants).
    pub increasing: bool,
    /// Which operations, and how they are chosen.
    pub choice: RandChoice,
    /// Largest shift of an image, as a share of its side, 0 to 1; 0.45 in timm.
    pub translate: f64,
    /// One is drawn uniformly for each geometric operation; bilinear and bicubic in timm.
    pub sampling: Vec<Sampling>,
    /// What lies outside the image, level per channel: 255 · mean in timm.
    pub fill: [u8; 3],
}

/// How RandAugment chooses among its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandChoice {
    /// All 15, equally likely, with replacement.
    Uniform,
    /// `tweights`: timm's weights, mostly geometric, without replacement, always increasing.
    Weighted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

/// timm's order, and its weights in hundredths.
const KINDS: [(Kind, u32); 15] = [
    (Kind::AutoContrast, 25),
    (Kind::Equalize, 5),
    (Kind::Invert, 5),
    (Kind::Rotate, 300),
    (Kind::Posterize, 5),
    (Kind::Solarize, 5),
    (Kind::SolarizeAdd, 5),
    (Kind::Color, 25),
    (Kind::Contrast, 5),
    (Kind::Brightness, 5),
    (Kind::Sharpness, 25),
    (Kind::ShearX, 200),
    (Kind::ShearY, 200),
    (Kind::TranslateX, 100),
    (Kind::TranslateY, 100),
];

/// timm's `_LEVEL_DENOM`: the magnitude at which the ranges end.
const FULL: f64 = 10.0;

impl RandAugment {
    /// Reads timm's text form, as in `rand-m9-n2-mstd0.5-inc1`.
    ///
    /// Sections: `m` magnitude, `n` layers, `mstd` (above 100: uniform), `mmax`, `p`, `inc` 0 or 1,
    /// `tweights`. Each may be left out. The fill is timm's default, 128, until set.
    ///
    /// # Errors
    /// [`AugmentError::Text`] names the section that cannot be read (timm skips those without a
    /// number); otherwise as for a configuration by fields.
    ///
    /// # Examples
    /// ```
    /// let rand = nearkin_data::RandAugment::from_text("rand-m9-n3-mstd0.5")?;
    /// assert_eq!((rand.magnitude, rand.layers, rand.probability), (9.0, 3, 0.5));
    /// # Ok::<(), nearkin_data::AugmentError>(())
    /// ```
    pub fn from_text(text: &str) -> Result<Self, AugmentError> {
        let mut rand = Self {
            magnitude: FULL,
            magnitude_std: 0.0,
            magnitude_max: FULL,
            layers: 2,
            probability: 0.5,
            increasing: false,
            choice: RandChoice::Uniform,
            translate: 0.45,
            sampling: vec![Sampling::Bilinear, Sampling::Bicubic],
            fill: [128; 3],
        };
        let mut sections = text.split('-');
        let name = sections.next().unwrap_or_default();
        if name != "rand" {
            return Err(refusal(text, "the name rand first", name));
        }
        for section in sections {
            rand.read_section(section).map_err(|expected| refusal(text, expected, section))?;
        }
        rand.check()?;
        Ok(rand)
    }

    fn read_section(&mut self, section: &str) -> Result<(), &'static str> {
        if section == "tweights" {
            self.choice = RandChoice::Weighted;
            return Ok(());
        }
        let digits = section.find(|c: char| c.is_ascii_digit()).unwrap_or(section.len());
        let (key, value) = section.split_at(digits);
        let number = || value.parse::<f64>().map_err(|_| "a number after the section's name");
        match key {
            "m" => self.magnitude = number()?,
            "mstd" => {
                let std = number()?;
                self.magnitude_std = if std > 100.0 { f64::INFINITY } else { std };
            }
            "mmax" => self.magnitude_max = number()?,
            "p" => self.probability = number()?,
            "n" => self.layers = value.parse().map_err(|_| "a whole number after n")?,
            "inc" => {
                self.increasing = match value {
                    "0" => false,
                    "1" => true,
                    _ => return Err("inc0 or inc1"),
                }
            }
            _ => return Err("m, n, mstd, mmax, p or inc with a number, or tweights"),
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), AugmentError> {
        check_probability("rand_augment probability", self.probability)?;
        let max = self.magnitude_max;
        check_number("rand_augment magnitude_max", max, "above 0", |m| m > 0.0)?;
        check_number("rand_augment magnitude", self.magnitude, "0 to magnitude_max", |m| {
            (0.0..=max).contains(&m)
        })?;
        if self.magnitude_std.is_nan() || self.magnitude_std < 0.0 {
            return Err(AugmentError::Number {
                field: "rand_augment magnitude_std",
                expected: "at least 0",
                found: self.magnitude_std,
            });
        }
        check_number("rand_augment translate", self.translate, "0 to 1", |t| {
            (0.0..=1.0).contains(&t)
        })?;
        let count = |field, expected, found| Err(AugmentError::Count { field, expected, found });
        if !(1..=KINDS.len()).contains(&self.layers) {
            return count("rand_augment layers", "1 to 15", self.layers);
        }
        if self.sampling.is_empty() {
            return count("rand_augment sampling", "at least one", 0);
        }
        Ok(())
    }

    /// Hands the operations of an image of (H, W) pixels to `apply`, in their order.
    pub(super) fn draw(
        &self,
        stream: &mut Stream,
        size: (usize, usize),
        mut apply: impl FnMut(Operation),
    ) {
        let mut taken = [false; KINDS.len()];
        for _ in 0..self.layers {
            let chosen = match self.choice {
                RandChoice::Uniform => stream.below(KINDS.len()),
                RandChoice::Weighted => choose_weighted(stream, &taken),
            };
            taken[chosen] = true;
            if !stream.chance(self.probability) {
                continue;
            }
            let magnitude = if self.magnitude_std.is_infinite() {
                stream.between((0.0, self.magnitude))
            } else if self.magnitude_std > 0.0 {
                self.magnitude + self.magnitude_std * stream.normal()
            } else {
                self.magnitude
            };
            let magnitude = magnitude.clamp(0.0, self.magnitude_max);
            apply(self.operation(KINDS[chosen].0, magnitude, stream, size));
        }
    }

    /// timm's `LEVEL_TO_ARG`.
    fn operation(
        &self,
        kind: Kind,
        magnitude: f64,
        stream: &mut Stream,
        (height, width): (usize, usize),
    ) -> Operation {
        let share = magnitude / FULL;
        let increasing = self.increasing || self.choice == RandChoice::Weighted;
        match kind {
            Kind::AutoContrast => return Operation::AutoContrast,
            Kind::Equalize => return Operation::Equalize,
            Kind::Invert => return Operation::Invert,
            Kind::Posterize => {
                let bits = (share * 4.0) as u8;
                let bits = if increasing { 4_u8.saturating_sub(bits) } else { bits.min(8) };
                return Operation::Posterize { bits };
            }
            Kind::Solarize => {
                let threshold = (share * 256.0) as u16;
                let threshold =
                    if increasing { 256_u16.saturating_sub(threshold) } else { threshold };
                return Operation::Solarize { threshold };
            }
            Kind::SolarizeAdd => {
                return Operation::SolarizeAdd { add: (share * 110.0) as u8, threshold: 128 };
            }
            Kind::Color | Kind::Contrast | Kind::Brightness | Kind::Sharpness => {
                let factor = if increasing {
                    (1.0 + stream.randomly_negate(share * 0.9)).max(0.1)
                } else {
                    share * 1.8 + 0.1
                };
                return match kind {
                    Kind::Color => Operation::Color(factor),
                    Kind::Contrast => Operation::Contrast(factor),
                    Kind::Brightness => Operation::Brightness(factor),
                    _ => Operation::Sharpness(factor),
                };
            }
            Kind::Rotate | Kind::ShearX | Kind::ShearY | Kind::TranslateX | Kind::TranslateY => {}
        }
        let warp = Warp { sampling: stream.choose(&self.sampling), fill: self.fill };
        let mut signed = |most: f64| stream.randomly_negate(share * most);
        let matrix = match kind {
            Kind::ShearX => [1.0, signed(0.3), 0.0, 0.0, 1.0, 0.0],
            Kind::ShearY => [1.0, 0.0, 0.0, signed(0.3), 1.0, 0.0],
            Kind::TranslateX => [1.0, 0.0, signed(self.translate) * width as f64, 0.0, 1.0, 0.0],
            Kind::TranslateY => [1.0, 0.0, 0.0, 0.0, 1.0, signed(self.translate) * height as f64],
            _ => return Operation::Rotate { degrees: signed(30.0), warp },
        };
        Operation::Affine { matrix, warp }
    }
}

fn refusal(text: &str, expected: &'static str, section: &str) -> AugmentError {
    AugmentError::Text { text: text.into(), expected, section: section.into() }
}

/// One of those not taken, by weight; at most 15 are ever taken.
fn choose_weighted(stream: &mut Stream, taken: &[bool; KINDS.len()]) -> usize {
    let left = || KINDS.iter().enumerate().filter(|&(i, _)| !taken[i]);
    let total: u32 = left().map(|(_, &(_, weight))| weight).sum();
    let mut at = stream.below(total as usize) as u32;
    for (i, &(_, weight)) in left() {
        if at < weight {
            return i;
        }
        at -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Draw, Purpose};
    use super::*;

    fn drawn(text: &str, index: u64) -> Vec<Operation> {
        let mut stream = Draw { seed: 2, epoch: 0, index }.stream(Purpose::RandAugment);
        let mut operations = Vec::new();
        let rand = RandAugment::from_text(text).unwrap();
        rand.draw(&mut stream, (40, 20), |operation| operations.push(operation));
        operations
    }

    fn kind(operation: &Operation) -> String {
        let name = format!("{operation:?}");
        let matrix = match *operation {
            Operation::Affine { matrix: [_, shear_x, x, shear_y, _, y], .. } => {
                [shear_x, x, shear_y, y].iter().position(|&v| v != 0.0)
            }
            _ => None,
        };
        format!("{} {matrix:?}", name.split([' ', '(']).next().unwrap())
    }

    #[test]
    fn all_fifteen_operations_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::<String, i32>::new();
        for index in 0..6000 {
            for operation in drawn("rand-m9-n1-p1", index) {
                *counts.entry(kind(&operation)).or_default() += 1;
            }
        }
        assert_eq!((counts.len(), counts.values().sum()), (15, 6000));
        let chi2: f64 = counts.values().map(|&n| f64::from((n - 400).pow(2)) / 400.0).sum();
        assert!(chi2 < 36.1, "{counts:?}: χ² {chi2}, 99.9 % lie below 36.1");
    }

    #[test]
    fn a_magnitude_means_what_timm_says() {
        let mut seen = std::collections::BTreeMap::new();
        for index in 0..400 {
            for operation in drawn("rand-m9-n1-p1", index) {
                seen.insert(kind(&operation), operation);
            }
        }
        assert_eq!(seen["Posterize None"], Operation::Posterize { bits: 3 });
        assert_eq!(seen["Solarize None"], Operation::Solarize { threshold: 230 });
        assert_eq!(seen["SolarizeAdd None"], Operation::SolarizeAdd { add: 99, threshold: 128 });
        let Operation::Color(factor) = seen["Color None"] else { panic!() };
        assert!((factor - 1.72).abs() < 1e-12);
        let Operation::Rotate { degrees, .. } = seen["Rotate None"] else { panic!() };
        assert!((degrees.abs() - 27.0).abs() < 1e-12);
        let Operation::Affine { matrix, .. } = seen["Affine Some(3)"] else { panic!() };
        assert!((matrix[5].abs() - 0.9 * 0.45 * 40.0).abs() < 1e-12);
    }

    #[test]
    fn increasing_operations_grow_with_the_magnitude() {
        for index in 0..200 {
            for operation in drawn("rand-m10-n1-p1-inc1", index) {
                match operation {
                    Operation::Posterize { bits } => assert_eq!(bits, 0),
                    Operation::Solarize { threshold } => assert_eq!(threshold, 0),
                    Operation::Color(f) | Operation::Brightness(f) => {
                        assert!((f - 1.9).abs() < 1e-12 || (f - 0.1).abs() < 1e-12);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn weighted_operations_never_repeat() {
        for index in 0..200 {
            let mut kinds: Vec<String> =
                drawn("rand-n15-p1-m5-tweights", index).iter().map(kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert_eq!(kinds.len(), 15);
        }
        let rotations = (0..2000)
            .flat_map(|index| drawn("rand-n1-p1-m5-tweights", index))
            .filter(|operation| matches!(operation, Operation::Rotate { .. }))
            .count();
        // 300 of 1010 hundredths; four standard deviations.
        assert!(rotations.abs_diff(594) < 82, "{rotations}");
    }

    #[test]
    fn a_text_is_read_or_refused_by_section() {
        let rand = RandAugment::from_text("rand-m7-mstd101-n4-p0.25-mmax20-inc1").unwrap();
        assert_eq!((rand.magnitude, rand.layers, rand.magnitude_max), (7.0, 4, 20.0));
        assert!(rand.magnitude_std.is_infinite() && rand.increasing);
        for (text, expected) in [
            ("augmix-m3", r#""augmix-m3": expected the name rand first, found "augmix""#),
            (
                "rand-m9-q3",
                r#""rand-m9-q3": expected m, n, mstd, mmax, p or inc with a number, or tweights, found "q3""#,
            ),
            ("rand-m", r#""rand-m": expected a number after the section's name, found "m""#),
            ("rand-n1.5", r#""rand-n1.5": expected a whole number after n, found "n1.5""#),
            ("rand-m11", "rand_augment magnitude: expected 0 to magnitude_max, found 11"),
            ("rand-p2", "rand_augment probability: expected a probability from 0 to 1, found 2"),
            ("rand-n0", "rand_augment layers: expected 1 to 15, found 0"),
        ] {
            assert_eq!(RandAugment::from_text(text).unwrap_err().to_string(), expected);
        }
    }
}
