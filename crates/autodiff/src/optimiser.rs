//! Optimisers, as PyTorch defines them, in standard operators.

use nearkin_onnx::ValueId;

use crate::emit::Emit;
use crate::error::Problem;

/// How a parameter follows its gradient g. The learning rate η is an input of every step; t counts
/// steps from 1; λ is the weight decay of the parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// g ← g + λθ, v ← μv + g, θ ← θ − η·v, or θ − η·(g + μv) with Nesterov.
    Sgd {
        /// μ, in [0, 1); 0 keeps no state.
        momentum: f32,
        /// Nesterov's form.
        nesterov: bool,
    },
    /// g ← g + λθ, then Adam: m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g²,
    /// θ ← θ − η·m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε). Kingma and Ba, 2015.
    Adam {
        /// β₁ and β₂, in [0, 1).
        betas: (f32, f32),
        /// ε, above 0.
        eps: f32,
    },
    /// θ ← θ − ηλθ, then Adam without decay. Loshchilov and Hutter, 2019.
    AdamW {
        /// β₁ and β₂, in [0, 1).
        betas: (f32, f32),
        /// ε, above 0.
        eps: f32,
    },
    /// g ← g + λθ, v ← αv + (1 − α)g², θ ← θ − η·g/(√v + ε); with momentum μ > 0 the quotient is
    /// accumulated: b ← μb + g/(√v + ε), θ ← θ − η·b.
    RmsProp {
        /// α, in [0, 1).
        alpha: f32,
        /// ε, above 0.
        eps: f32,
        /// μ, in [0, 1).
        momentum: f32,
    },
    /// θ ← θ − ηλθ − η·sign(β₁m + (1 − β₁)g), m ← β₂m + (1 − β₂)g. Chen et al., 2023.
    Lion {
        /// β₁ and β₂, in [0, 1).
        betas: (f32, f32),
    },
}

/// Inputs of a step that change from step to step.
pub(crate) struct Rates {
    pub(crate) learning_rate: ValueId,
    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    pub(crate) corrections: Option<(ValueId, ValueId)>,
}

impl Optimiser {
    /// PyTorch's defaults of Adam with decoupled weight decay.
    pub const ADAM_W: Self = Self::AdamW { betas: (0.9, 0.999), eps: 1e-8 };

    /// Names of the tensors kept for each parameter, all of its shape and zero at the start.
    pub fn state(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum, .. } if *momentum > 0.0 => &["momentum"],
            Self::Sgd { .. } => &[],
            Self::Adam { .. } | Self::AdamW { .. } => &["mean", "variance"],
            Self::RmsProp { momentum, .. } if *momentum > 0.0 => &["variance", "momentum"],
            Self::RmsProp { .. } => &["variance"],
            Self::Lion { .. } => &["momentum"],
        }
    }

    /// β₁ and β₂, where 1 − βᵗ corrects the moments' start at zero.
    pub fn corrected_betas(&self) -> Option<(f32, f32)> {
        match self {
            Self::Adam { betas, .. } | Self::AdamW { betas, .. } => Some(*betas),
            _ => None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        let share = |field, value: f32| {
            if (0.0..1.0).contains(&value) {
                return Ok(());
            }
            let found = value.to_string();
            Err(Problem::Setting { field, expected: "at least 0 and below 1", found })
        };
        let above_zero = |field, value: f32| {
            if value > 0.0 && value.is_finite() {
                return Ok(());
            }
            Err(Problem::Setting { field, expected: "above 0", found: value.to_string() })
        };
        match *self {
            Self::Sgd { momentum, nesterov } => {
                share("momentum", momentum)?;
                if nesterov {
                    above_zero("momentum of Nesterov's form", momentum)?;
                }
                Ok(())
            }
            Self::Adam { betas, eps } | Self::AdamW { betas, eps } => {
                share("beta1", betas.0)?;
                share("beta2", betas.1)?;
                above_zero("eps", eps)
            }
            Self::RmsProp { alpha, eps, momentum } => {
                share("alpha", alpha)?;
                share("momentum", momentum)?;
                above_zero("eps", eps)
            }
            Self::Lion { betas } => {
                share("beta1", betas.0)?;
                share("beta2", betas.1)
            }
        }
    }

    /// The parameter and its state after the step.
    ///
    /// - `decay`: λ, 0 for none; `factor`: on the learning rate.
    pub(crate) fn update(
        &self,
        e: &mut Emit,
        parameter: ValueId,
        grad: ValueId,
        state: &[ValueId],
        rates: &Rates,
        (decay, factor): (f32, f32),
    ) -> Result<(ValueId, Vec<ValueId>), Problem> {
        let eta = e.scale_unless_one(rates.learning_rate, factor)?;
        let coupled = !matches!(self, Self::AdamW { .. } | Self::Lion { .. });
        let mut g = grad;
        let mut p = parameter;
        if decay > 0.0 {
            if coupled {
                let shrink = e.scale(parameter, decay)?;
                g = e.add(g, shrink)?;
            } else {
                // θ·(1 − ηλ), as PyTorch: the factor is one number.
                let share = e.scale(eta, decay)?;
                let one = e.scalar(1.0)?;
                let left = e.sub(one, share)?;
                p = e.mul(p, left)?;
            }
        }
        let blend = |e: &mut Emit, old: ValueId, new: ValueId, keep: f32| {
            let old = e.scale(old, keep)?;
            let new = e.scale(new, 1.0 - keep)?;
            e.add(old, new)
        };
        // What the direction is multiplied by.
        let mut rate = eta;
        let (direction, state) = match (*self, state) {
            (Self::Sgd { .. }, []) => (g, vec![]),
            (Self::Sgd { momentum, nesterov }, &[v]) => {
                let kept = e.scale(v, momentum)?;
                let v = e.add(kept, g)?;
                let ahead = if nesterov {
                    let kept = e.scale(v, momentum)?;
                    e.add(g, kept)?
                } else {
                    v
                };
                (ahead, vec![v])
            }
            (Self::Adam { betas, eps } | Self::AdamW { betas, eps }, &[m, v]) => {
                let Some((first, second)) = rates.corrections else {
                    return Err(Problem::NoOutput);
                };
                let m = blend(e, m, g, betas.0)?;
                let square = e.mul(g, g)?;
                let v = blend(e, v, square, betas.1)?;
                // η·(m/c₁)/(√(v/c₂) + ε) = (η·√c₂/c₁)·m/(√v + ε·√c₂), with both corrections c on
                // numbers instead of tensors.
                let unbias = e.op("Sqrt", &[second], vec![])?;
                let scaled = e.mul(eta, unbias)?;
                rate = e.div(scaled, first)?;
                let eps = e.scale(unbias, eps)?;
                let root = e.op("Sqrt", &[v], vec![])?;
                let root = e.add(root, eps)?;
                (e.div(m, root)?, vec![m, v])
            }
            (Self::RmsProp { alpha, eps, momentum }, &[v, ref rest @ ..]) => {
                let square = e.mul(g, g)?;
                let v = blend(e, v, square, alpha)?;
                let root = e.op("Sqrt", &[v], vec![])?;
                let eps = e.scalar(eps)?;
                let root = e.add(root, eps)?;
                let quotient = e.div(g, root)?;
                match rest {
                    &[b] => {
                        let kept = e.scale(b, momentum)?;
                        let b = e.add(kept, quotient)?;
                        (b, vec![v, b])
                    }
                    _ => (quotient, vec![v]),
                }
            }
            (Self::Lion { betas }, &[m]) => {
                let ahead = blend(e, m, g, betas.0)?;
                let sign = e.op("Sign", &[ahead], vec![])?;
                let m = blend(e, m, g, betas.1)?;
                (sign, vec![m])
            }
            _ => return Err(Problem::NoOutput),
        };
        let step = e.mul(direction, rate)?;
        Ok((e.sub(p, step)?, state))
    }
}
