//! Matrix products.

use super::{Call, Grads};
use crate::emit::{Emit, attr};
use crate::error::Problem;

/// y = a·b over the last two dimensions: ∂a = g·bᵀ, ∂b = aᵀ·g, summed over what was broadcast.
///
/// Where b is one matrix shared by all of a's, ∂b is one product of all rows.
pub(super) fn matmul(e: &mut Emit, call: &Call) -> Grads {
    let (g, a, b) = (call.grad()?, call.input(0)?, call.input(1)?);
    let (a_dims, b_dims) = (e.dims(a)?, e.dims(b)?);
    if a_dims.len() < 2 || b_dims.len() < 2 {
        return Err(Problem::NoRuleFor(format!("vectors: {a_dims:?} × {b_dims:?}")));
    }
    let mut grads = call.none();
    if call.needs(0) {
        let turned = e.swap(b)?;
        let grad = e.matmul(g, turned)?;
        grads[0] = Some(e.sum_to(grad, &a_dims)?);
    }
    if call.needs(1) {
        let grad = if b_dims.len() == 2 && a_dims.len() > 2 {
            let rows: usize = a_dims[..a_dims.len() - 1].iter().product();
            let a = e.reshape(a, &[rows, b_dims[0]])?;
            let g = e.reshape(g, &[rows, b_dims[1]])?;
            e.op("Gemm", &[a, g], vec![attr("transA", 1i64)])?
        } else {
            let turned = e.swap(a)?;
            e.matmul(turned, g)?
        };
        grads[1] = Some(e.sum_to(grad, &b_dims)?);
    }
    Ok(grads)
}

/// y = α·A'B' + β·C: ∂A' = α·g·B'ᵀ, ∂B' = α·A'ᵀ·g, ∂C = β·g summed.
pub(super) fn gemm(e: &mut Emit, call: &Call) -> Grads {
    let (g, a, b) = (call.grad()?, call.input(0)?, call.input(1)?);
    let alpha = call.node.float("alpha").unwrap_or(1.0);
    let (turned_a, turned_b) =
        (call.node.int("transA") == Some(1), call.node.int("transB") == Some(1));
    let product = |e: &mut Emit, x, turn_x: bool, y, turn_y: bool| {
        let attributes = vec![
            attr("alpha", alpha),
            attr("transA", i64::from(turn_x)),
            attr("transB", i64::from(turn_y)),
        ];
        e.op("Gemm", &[x, y], attributes)
    };
    let mut grads = call.none();
    if call.needs(0) {
        grads[0] = Some(if turned_a {
            product(e, b, turned_b, g, true)?
        } else {
            product(e, g, false, b, !turned_b)?
        });
    }
    if call.needs(1) {
        grads[1] = Some(if turned_b {
            product(e, g, true, a, turned_a)?
        } else {
            product(e, a, !turned_a, g, false)?
        });
    }
    if call.needs(2) {
        let dims = e.dims(call.input(2)?)?;
        let grad = e.sum_to(g, &dims)?;
        grads[2] = Some(e.scale_unless_one(grad, call.node.float("beta").unwrap_or(1.0))?);
    }
    Ok(grads)
}
