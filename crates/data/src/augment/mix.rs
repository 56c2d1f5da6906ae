//! Mixup and CutMix: batches in which each image is blended with another, and its target too.
//!
//! mixup: Zhang et al., 2017, <https://arxiv.org/abs/1710.09412>: x = λ xᵢ + (1 − λ) xⱼ, and y likewise, λ
//! from Beta(α, α). CutMix: Yun et al., 2019, <https://arxiv.org/abs/1905.04899>: a box of xᵢ, 1 − λ of the
//! area, is replaced by xⱼ's. As in timm's `Mixup`, the partner of image i among N is N − 1 − i, λ is
//! corrected to the box's true area, and labels are smoothed before they are mixed. The images come
//! normalised; nothing here looks at their content.

use ndarray::{Array2, ArrayView2, ArrayViewMut4, Axis};

use super::draw::{Draw, Purpose, Stream};
use super::error::{AugmentError, check_number, check_probability};

/// timm's mixup and CutMix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Mixup's α, up to 1000; 0 turns it off. timm's recipes have 0.8 or 0.2.
    pub mixup_alpha: f64,
    /// CutMix's α, up to 1000; 0 turns it off. timm's recipes have 1.
    pub cutmix_alpha: f64,
    /// Probability of mixing at all, per batch or per image.
    pub probability: f64,
    /// Probability of CutMix where both are on; 0.5 in timm.
    pub switch_probability: f64,
    /// Whether λ is drawn once or for each image.
    pub mode: MixMode,
    /// ε: single labels become 1 − ε + ε / classes and ε / classes; each of several labels moves to
    /// ½ by ε. 0 to 1; 0.1 in timm.
    pub label_smoothing: f64,
    /// Number of classes, at least 1.
    pub classes: usize,
}

/// For whom λ is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixMode {
    /// `batch`: once for all.
    Batch,
    /// `pair`: for each image and its partner.
    Pair,
    /// `elem`: for each image.
    Elem,
}

/// What the images of a batch are.
#[derive(Clone, Copy, Debug)]
pub enum MixTargets<'a> {
    /// One class for each image, `[N]`.
    Single(&'a [usize]),
    /// Any number of classes for each image, `[N, classes]`, 0 or 1.
    Multi(ArrayView2<'a, f32>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Plan {
    /// The image's own share.
    own: f64,
    /// Rows and columns that come from the partner; `None` for a blend.
    cut: Option<[(usize, usize); 2]>,
}

/// An empty box: every level stays, to the last bit.
const UNMIXED: Plan = Plan { own: 1.0, cut: Some([(0, 0); 2]) };

impl Mix {
    /// Mixes a batch in place and returns its soft targets `[N, classes]`, whose rows sum to 1 for
    /// single labels.
    ///
    /// - `images`: `[N, C, H, W]`. The middle one of an odd number has no partner and stays.
    /// - `draw`: its `index` counts batches here.
    ///
    /// # Errors
    /// [`AugmentError`] names the field that is out of range, the label that is no class, or the
    /// targets' shape.
    ///
    /// # Examples
    /// ```
    /// use nearkin_data::{Draw, Mix, MixMode, MixTargets};
    /// let mix = Mix {
    ///     mixup_alpha: 0.8,
    ///     cutmix_alpha: 0.0,
    ///     probability: 1.0,
    ///     switch_probability: 0.5,
    ///     mode: MixMode::Batch,
    ///     label_smoothing: 0.0,
    ///     classes: 2,
    /// };
    /// let mut images = ndarray::Array4::from_shape_fn((2, 1, 1, 1), |(n, ..)| n as f32);
    /// let draw = Draw { seed: 0, epoch: 0, index: 0 };
    /// let targets = mix.run(images.view_mut(), MixTargets::Single(&[0, 1]), draw)?;
    /// assert!((targets[[0, 1]] - images[[0, 0, 0, 0]]).abs() < 1e-6);
    /// # Ok::<(), nearkin_data::AugmentError>(())
    /// ```
    pub fn run(
        &self,
        mut images: ArrayViewMut4<'_, f32>,
        targets: MixTargets<'_>,
        draw: Draw,
    ) -> Result<Array2<f32>, AugmentError> {
        self.check()?;
        let (n, _, height, width) = images.dim();
        let plain = self.smooth(targets, n)?;
        let mut mixed = plain.clone();
        if n < 2 || height == 0 || width == 0 {
            return Ok(mixed);
        }
        let mut stream = draw.stream(Purpose::Mix);
        let mut plan = || self.plan(&mut stream, (height, width));
        let for_all = plan();
        for i in 0..n / 2 {
            let j = n - 1 - i;
            let plans = match self.mode {
                MixMode::Batch => [for_all; 2],
                MixMode::Pair => [plan(); 2],
                MixMode::Elem => [plan(), plan()],
            };
            let (mut first, mut last) = images.view_mut().split_at(Axis(0), j);
            let (mut image, mut partner) =
                (first.index_axis_mut(Axis(0), i), last.index_axis_mut(Axis(0), 0));
            for (a, b) in image.outer_iter_mut().zip(partner.outer_iter_mut()) {
                ndarray::Zip::indexed(a).and(b).for_each(|at, a, b| {
                    let (own_a, own_b) = (*a, *b);
                    *a = plans[0].mix(at, own_a, own_b);
                    *b = plans[1].mix(at, own_b, own_a);
                });
            }
            for (row, plan) in [(i, plans[0]), (j, plans[1])] {
                let (own, other) = (plan.own as f32, (1.0 - plan.own) as f32);
                let pair = plain.row(row).into_iter().zip(plain.row(n - 1 - row));
                let values = mixed.row_mut(row).into_iter().zip(pair);
                values.for_each(|(value, (&a, &b))| *value = a * own + b * other);
            }
        }
        Ok(mixed)
    }

    fn check(&self) -> Result<(), AugmentError> {
        for (field, alpha) in
            [("mixup_alpha", self.mixup_alpha), ("cutmix_alpha", self.cutmix_alpha)]
        {
            check_number(field, alpha, "0 to 1000", |a| (0.0..=1000.0).contains(&a))?;
        }
        check_probability("mix probability", self.probability)?;
        check_probability("mix switch_probability", self.switch_probability)?;
        check_probability("label_smoothing", self.label_smoothing)?;
        check_number("classes", self.classes as f64, "at least 1", |n| n >= 1.0)
    }

    /// Smoothed targets `[N, classes]` of the images as they are.
    fn smooth(&self, targets: MixTargets<'_>, n: usize) -> Result<Array2<f32>, AugmentError> {
        let (classes, smoothing) = (self.classes, self.label_smoothing);
        match targets {
            MixTargets::Single(labels) => {
                if labels.len() != n {
                    let (expected, found) = ((n, classes), (labels.len(), classes));
                    return Err(AugmentError::Targets { expected, found });
                }
                let off = smoothing / classes as f64;
                let on = 1.0 - smoothing + off;
                let mut soft = Array2::from_elem((n, classes), off as f32);
                for (image, &label) in labels.iter().enumerate() {
                    let Some(value) = soft.get_mut((image, label)) else {
                        return Err(AugmentError::Label { image, classes, found: label });
                    };
                    *value = on as f32;
                }
                Ok(soft)
            }
            MixTargets::Multi(dense) if dense.dim() == (n, classes) => {
                let (keep, half) = ((1.0 - smoothing) as f32, (0.5 * smoothing) as f32);
                Ok(dense.mapv(|target| target * keep + half))
            }
            MixTargets::Multi(dense) => {
                Err(AugmentError::Targets { expected: (n, classes), found: dense.dim() })
            }
        }
    }

    fn plan(&self, stream: &mut Stream, (height, width): (usize, usize)) -> Plan {
        let applied = stream.chance(self.probability);
        let (mixup, cutmix) = (self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0);
        let cut = cutmix && (stream.chance(self.switch_probability) || !mixup);
        if !applied || !(mixup || cutmix) {
            return UNMIXED;
        }
        if !cut {
            return Plan { own: stream.beta(self.mixup_alpha), cut: None };
        }
        let ratio = (1.0 - stream.beta(self.cutmix_alpha)).max(0.0).sqrt();
        // The centre is anywhere; what reaches outside is cut off.
        let mut span = |side: usize| {
            let length = (side as f64 * ratio) as usize;
            let centre = stream.below(side);
            (centre.saturating_sub(length / 2), (centre + length.div_ceil(2)).min(side))
        };
        let cut = [span(height), span(width)];
        let area: usize = cut.iter().map(|(start, end)| end - start).product();
        Plan { own: 1.0 - area as f64 / (height * width) as f64, cut: Some(cut) }
    }
}

impl Plan {
    fn mix(&self, (y, x): (usize, usize), own: f32, other: f32) -> f32 {
        match self.cut {
            Some([rows, columns]) => {
                let inside = (rows.0..rows.1).contains(&y) && (columns.0..columns.1).contains(&x);
                if inside { other } else { own }
            }
            None => own * self.own as f32 + other * (1.0 - self.own) as f32,
        }
    }
}
