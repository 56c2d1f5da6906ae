//! Metric learning: masks over `[n, n]` stand for pairs and triplets.

use nearkin_nn::{Scope, Value};

use super::classification::cross_entropy;
use super::parts::{classes_of, complement, normalise, refuse, share, square};
use crate::metric::{Bend, SMALLEST_SINE_SQUARE};
use crate::{
    ArcFace, Contrastive, CosFace, CrossEntropy, Direction, InfoNce, LossError, Margin, Mining,
    MultiSimilarity, NPairs, NtXent, PairReduction, Power, ProxyAnchor, ProxyNca, ROOT_EPS, SupCon,
    Triplet,
};

/// Stands for −∞ where a mask leaves something out; finite, so that 0 times it is 0.
const FAR_BELOW: f32 = -1e30;

/// Which rows belong together, `[n, n]` booleans.
struct Pairs {
    positive: Value,
    negative: Value,
    /// All but a row with itself.
    other: Value,
}

impl Pairs {
    fn new(s: &Scope, labels: Value) -> Self {
        let same = s.equal(column(s, labels), labels);
        // Positions 1 to n, whatever n is.
        let places = s.running_sum(s.to_f32(s.equal(labels, labels)), 0);
        let other = s.not(s.equal(column(s, places), places));
        Self { positive: s.and(same, other), negative: s.not(same), other }
    }
}

fn column(s: &Scope, x: Value) -> Value {
    s.reshape(x, &[-1, 1])
}

fn row(s: &Scope, x: Value) -> Value {
    s.reshape(x, &[1, -1])
}

fn insert_axis(s: &Scope, x: Value, axis: i64) -> Value {
    s.onnx("Unsqueeze", &[x, s.ints(&[axis])], &[])
}

fn rows(s: &Scope, x: Value, normalised: bool) -> Value {
    if normalised { normalise(s, x) } else { x }
}

/// Dot products of all rows of `x` with all of `y`.
fn products(s: &Scope, x: Value, y: Value) -> Value {
    s.matmul(x, s.transpose(y))
}

/// √(‖xᵢ − xⱼ‖² + 1e-12) by the Gram matrix: in f32, distances of normalised rows below about 1e-3
/// are rounding.
fn distances(s: &Scope, x: Value) -> Value {
    let squares = s.sum(s.mul(x, x), &[1]);
    let both = s.add(column(s, squares), row(s, squares));
    let apart = s.sub(both, s.scale(products(s, x, x), 2.0));
    s.sqrt(s.add(s.relu(apart), s.scalar(ROOT_EPS)))
}

fn reduced(s: &Scope, terms: Value, mask: Value, reduction: PairReduction) -> Value {
    let total = s.sum_all(terms);
    match reduction {
        PairReduction::Sum => total,
        PairReduction::Mean => share(s, total, s.sum_all(mask)),
        PairReduction::MeanOfPositive => {
            let active = s.to_f32(s.less(s.scalar(0.0), terms));
            share(s, total, s.sum_all(active))
        }
    }
}

/// `x` where the mask holds, else far below.
fn only(s: &Scope, mask: Value, x: Value) -> Value {
    s.where_(mask, x, s.scalar(FAR_BELOW))
}

/// ln Σ eˣ over `axis`, which stays; far below where all is.
fn log_sum_exp(s: &Scope, x: Value, axis: i64) -> Value {
    let largest = s.stop_gradient(s.max_keep(x, &[axis]));
    s.add(largest, s.log(s.sum_keep(s.exp(s.sub(x, largest)), &[axis])))
}

/// ln(eᵃ + eᵇ).
fn log_add_exp(s: &Scope, a: Value, b: Value) -> Value {
    s.add(s.max(a, b), s.softplus(s.neg(s.abs(s.sub(a, b)))))
}

/// [`crate::contrastive`] of `points [n, d]` and `labels [n]`, i64.
pub fn contrastive(s: &Scope, points: Value, labels: Value, config: &Contrastive) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let pairs = Pairs::new(s, labels);
    let d = distances(s, rows(s, points, config.normalised));
    let side = |over, mask| {
        let mask = s.to_f32(mask);
        let hinge = s.mul(s.relu(over), mask);
        let terms = match config.power {
            Power::Linear => hinge,
            Power::Squared => square(s, hinge),
        };
        reduced(s, terms, mask, config.reduction)
    };
    let together = side(s.sub(d, s.scalar(config.positive_margin)), pairs.positive);
    let apart = side(s.sub(s.scalar(config.negative_margin), d), pairs.negative);
    s.add(together, apart)
}

/// [`crate::triplet`] of `points [n, d]` and `labels [n]`, i64. Unless mining is hard, it makes
/// tensors `[n, n, n]`.
pub fn triplet(s: &Scope, points: Value, labels: Value, config: &Triplet) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let pairs = Pairs::new(s, labels);
    let d = distances(s, rows(s, points, config.normalised));
    let (x, mask) = if config.mining == Mining::Hard {
        let furthest = s.max_keep(only(s, pairs.positive, d), &[1]);
        let nearest = s.neg(s.max_keep(only(s, pairs.negative, s.neg(d)), &[1]));
        let any = |mask| s.max_keep(s.to_f32(mask), &[1]);
        let mask = s.mul(any(pairs.positive), any(pairs.negative));
        // An anchor without a triplet is masked before its distances are used.
        (s.where_(s.less(s.scalar(0.0), mask), s.sub(furthest, nearest), s.scalar(0.0)), mask)
    } else {
        let x = s.sub(insert_axis(s, d, 2), insert_axis(s, d, 1));
        let near = insert_axis(s, pairs.positive, 2);
        let mut mask = s.and(near, insert_axis(s, pairs.negative, 1));
        if let Mining::SemiHard { within } = config.mining {
            let further = s.neg(x);
            let by_enough = s.less(s.scalar(within), further);
            mask = s.and(mask, s.and(s.less(s.scalar(0.0), further), s.not(by_enough)));
        }
        (x, s.to_f32(mask))
    };
    let terms = match config.margin {
        Margin::Hinge(margin) => s.relu(s.add(x, s.scalar(margin))),
        Margin::Soft => s.softplus(x),
    };
    reduced(s, s.mul(terms, mask), mask, config.reduction)
}

/// [`crate::info_nce`] of `queries [n, d]` and `keys [n, d]`.
pub fn info_nce(s: &Scope, queries: Value, keys: Value, config: &InfoNce) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let (q, k) = (rows(s, queries, config.normalised), rows(s, keys, config.normalised));
    diagonal(s, q, k, config.temperature, config.direction)
}

fn diagonal(s: &Scope, q: Value, k: Value, temperature: f32, direction: Direction) -> Value {
    let logits = s.div(products(s, q, k), s.scalar(temperature));
    let own = s.div(s.sum_keep(s.mul(q, k), &[1]), s.scalar(temperature));
    let mut whole = s.mean_all(log_sum_exp(s, logits, 1));
    if direction == Direction::Both {
        whole = s.scale(s.add(whole, s.mean_all(log_sum_exp(s, logits, 0))), 0.5);
    }
    s.sub(whole, s.mean_all(own))
}

/// [`crate::n_pairs`] of `anchors [n, d]` and `positives [n, d]`.
pub fn n_pairs(s: &Scope, anchors: Value, positives: Value, config: &NPairs) -> Value {
    if let Err(error) = crate::graded::not_negative("norm_penalty", config.norm_penalty) {
        return refuse(s, &error);
    }
    let loss = diagonal(s, anchors, positives, 1.0, Direction::QueriesToKeys);
    if config.norm_penalty <= 0.0 {
        return loss;
    }
    let squares = |x| s.mean_all(s.sum(s.mul(x, x), &[1]));
    let penalty = s.scale(s.add(squares(anchors), squares(positives)), config.norm_penalty / 2.0);
    s.add(loss, penalty)
}

fn similarities(s: &Scope, points: Value, temperature: f32) -> Result<Value, LossError> {
    crate::graded::positive("temperature", temperature)?;
    let x = normalise(s, points);
    Ok(s.div(products(s, x, x), s.scalar(temperature)))
}

/// [`crate::nt_xent`] of `points [n, d]` and `labels [n]`, i64.
pub fn nt_xent(s: &Scope, points: Value, labels: Value, config: &NtXent) -> Value {
    let z = match similarities(s, points, config.temperature) {
        Ok(z) => z,
        Err(error) => return refuse(s, &error),
    };
    let pairs = Pairs::new(s, labels);
    let rest = log_sum_exp(s, only(s, pairs.negative, z), 1);
    let mask = s.to_f32(pairs.positive);
    let terms = s.mul(s.sub(log_add_exp(s, z, rest), z), mask);
    reduced(s, terms, mask, PairReduction::Mean)
}

/// [`crate::sup_con`] of `points [n, d]` and `labels [n]`, i64.
pub fn sup_con(s: &Scope, points: Value, labels: Value, config: &SupCon) -> Value {
    let z = match similarities(s, points, config.temperature) {
        Ok(z) => z,
        Err(error) => return refuse(s, &error),
    };
    let pairs = Pairs::new(s, labels);
    let whole = log_sum_exp(s, only(s, pairs.other, z), 1);
    let mask = s.to_f32(pairs.positive);
    let count = s.sum(mask, &[1]);
    let of_anchor = share(s, s.sum(s.mul(s.sub(whole, z), mask), &[1]), count);
    let anchors = s.to_f32(s.less(s.scalar(0.0), count));
    reduced(s, of_anchor, anchors, PairReduction::Mean)
}

/// [`crate::multi_similarity`] of `points [n, d]` and `labels [n]`, i64.
pub fn multi_similarity(
    s: &Scope,
    points: Value,
    labels: Value,
    config: &MultiSimilarity,
) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let Pairs { mut positive, mut negative, .. } = Pairs::new(s, labels);
    let x = normalise(s, points);
    let z = products(s, x, x);
    if let Some(epsilon) = config.mining {
        let least = s.neg(s.max_keep(only(s, positive, s.neg(z)), &[1]));
        let most = s.max_keep(only(s, negative, z), &[1]);
        let epsilon = s.scalar(epsilon);
        positive = s.and(positive, s.less(s.sub(z, epsilon), most));
        negative = s.and(negative, s.less(least, s.add(z, epsilon)));
    }
    let above = s.sub(z, s.scalar(config.base));
    let side = |mask, sharpness: f32| {
        let whole = log_sum_exp(s, only(s, mask, s.scale(above, sharpness)), 1);
        s.div(s.mean_all(s.softplus(whole)), s.scalar(sharpness.abs()))
    };
    s.add(side(positive, -config.alpha), side(negative, config.beta))
}

/// [`crate::centre`] of `points [n, d]`, `labels [n]`, i64, and `centres [C, d]`.
pub fn centre(s: &Scope, points: Value, labels: Value, centres: Value) -> Value {
    let apart = s.sub(points, s.gather(centres, labels, 0));
    s.scale(s.mean_all(s.sum(square(s, apart), &[1])), 0.5)
}

/// [`crate::arc_face`] of `points [n, d]`, `labels [n]`, i64, and `centres [C, d]`.
pub fn arc_face(
    s: &Scope,
    points: Value,
    labels: Value,
    centres: Value,
    config: &ArcFace,
) -> Value {
    match config.check() {
        Ok(()) => {
            let bend = Bend::Angle(f64::from(config.margin));
            bent_softmax(s, points, labels, centres, bend, config.scale)
        }
        Err(error) => refuse(s, &error),
    }
}

/// [`crate::cos_face`] of `points [n, d]`, `labels [n]`, i64, and `centres [C, d]`.
pub fn cos_face(
    s: &Scope,
    points: Value,
    labels: Value,
    centres: Value,
    config: &CosFace,
) -> Value {
    match config.check() {
        Ok(()) => {
            let bend = Bend::Cosine(f64::from(config.margin));
            bent_softmax(s, points, labels, centres, bend, config.scale)
        }
        Err(error) => refuse(s, &error),
    }
}

/// [`crate::proxy_nca`] of `points [n, d]`, `labels [n]`, i64, and `proxies [C, d]`.
pub fn proxy_nca(
    s: &Scope,
    points: Value,
    labels: Value,
    proxies: Value,
    config: &ProxyNca,
) -> Value {
    match crate::graded::positive("scale", config.scale) {
        Ok(()) => bent_softmax(s, points, labels, proxies, Bend::Straight, 2.0 * config.scale),
        Err(error) => refuse(s, &error),
    }
}

fn bent_softmax(
    s: &Scope,
    points: Value,
    labels: Value,
    centres: Value,
    bend: Bend,
    scale: f32,
) -> Value {
    let classes = classes_of(s, centres, 0);
    let mut logits = products(s, normalise(s, points), normalise(s, centres));
    if !matches!(bend, Bend::Straight) {
        let hot = s.one_hot(labels, classes);
        let own = s.sum_keep(s.mul(hot, logits), &[1]);
        let shift = s.sub(bent(s, own, bend), own);
        logits = s.add(logits, s.mul(hot, shift));
    }
    cross_entropy(s, s.scale(logits, scale), labels, &CrossEntropy::default())
}

fn bent(s: &Scope, c: Value, bend: Bend) -> Value {
    match bend {
        Bend::Straight => c,
        Bend::Cosine(m) => s.sub(c, s.scalar(m as f32)),
        Bend::Angle(m) => {
            let square = complement(s, square(s, c));
            let sine = s.sqrt(s.max(square, s.scalar(SMALLEST_SINE_SQUARE as f32)));
            let turned = s.sub(s.scale(c, m.cos() as f32), s.scale(sine, m.sin() as f32));
            let beyond = s.less(c, s.scalar(-m.cos() as f32));
            s.where_(beyond, s.sub(c, s.scalar((m * m.sin()) as f32)), turned)
        }
    }
}

/// [`crate::proxy_anchor`] of `points [n, d]`, `labels [n]`, i64, and `proxies [C, d]`.
pub fn proxy_anchor(
    s: &Scope,
    points: Value,
    labels: Value,
    proxies: Value,
    config: &ProxyAnchor,
) -> Value {
    if let Err(error) = config.check() {
        return refuse(s, &error);
    }
    let classes = classes_of(s, proxies, 0);
    let z = products(s, normalise(s, points), normalise(s, proxies));
    let hot = s.one_hot(labels, classes);
    let own = s.less(s.scalar(0.0), hot);
    // [1, C]: of no row at all it is far below, and its softplus 0.
    let side = |mask, sign: f32| {
        let near = s.add(z, s.scalar(sign * config.margin));
        let exponents = only(s, mask, s.scale(near, sign * config.alpha));
        s.sum_all(s.softplus(log_sum_exp(s, exponents, 0)))
    };
    let present = s.sum_all(s.max_keep(hot, &[0]));
    let positive = share(s, side(own, -1.0), present);
    let negative = s.div(side(s.not(own), 1.0), s.scalar(classes as f32));
    s.add(positive, negative)
}
