//! Tokens: learned vectors beside those of the image.

use crate::init::Init;
use crate::parameter::{ParameterKind, Role};
use crate::scope::{Scope, Value};

impl Scope {
    /// A learned token `[1, 1, D]`.
    pub fn token(&self, name: &str, width: usize) -> Value {
        self.parameter(name, &[1, 1, width], ParameterKind::Table, Init::Normal(1e-6))
    }

    /// Learned position embeddings `[1, prefix + H·W, D]`, resampled when weights of another
    /// image size are loaded.
    pub fn position_embedding(
        &self,
        name: &str,
        prefix: usize,
        grid: (usize, usize),
        width: usize,
    ) -> Value {
        let dims = [1, prefix + grid.0 * grid.1, width];
        let role = Role::PositionEmbedding { prefix, grid };
        self.parameter_in_role(name, &dims, ParameterKind::Table, Init::TruncNormal(0.02), role)
    }

    /// Puts `token [1, P, D]` before the tokens `x [N, L, D]` and adds `position [1, P + L, D]`.
    ///
    /// Written with padding instead of a concatenation, so that no shape depends on the batch and
    /// what is constant folds when a session is made.
    pub fn prepend(&self, x: Value, token: Value, position: Value) -> Value {
        let (before, after) = (self.size(token, 1), self.size(x, 1));
        let token = self.add(self.pad_axis(token, 1, 0, after), position);
        self.add(self.pad_axis(x, 1, before, 0), token)
    }
}
