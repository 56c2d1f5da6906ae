//! Arithmetic on shapes: whole numbers that are known once the batch is fixed become constants.
//!
//! Exporters write the targets of `Reshape`, `Expand` and `Pad` as chains of `Shape`, `Gather`,
//! `ConstantOfShape`, `Where` and the like, with f32 in between where something is divided and rounded
//! up. With every dimension a number, such a chain has one value. Only small tensors are followed, and
//! only whole numbers replace the nodes that gave them: this does not fold weights.

use std::collections::BTreeMap;

use nearkin_onnx::{AttributeValue, ElementType, Graph, Node, Tensor, TensorData, ValueId};

/// Most elements that are taken for a shape or what leads to one.
const LARGEST: usize = 256;

/// A small tensor; booleans are 0 and 1.
///
/// f64 holds every whole number that a dimension can be, and the bounds of i64 well enough for the end of
/// a slice; what is f32 is rounded to it after each step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Small {
    dims: Vec<usize>,
    values: Vec<f64>,
    is_float: bool,
}

impl Small {
    /// The i64 tensor of these numbers.
    pub(crate) fn to_tensor(&self) -> Option<Tensor> {
        Tensor::from_i64(self.dims.clone(), &self.to_ints())
    }

    fn to_ints(&self) -> Vec<i64> {
        self.values.iter().map(|&value| value as i64).collect()
    }

    fn to_sizes(&self) -> Option<Vec<usize>> {
        self.to_ints().into_iter().map(|n| usize::try_from(n).ok()).collect()
    }

    fn whole(dims: Vec<usize>, values: Vec<i64>) -> Self {
        let values = values.into_iter().map(|value| value as f64).collect();
        Self { dims, values, is_float: false }
    }

    fn vector(values: Vec<i64>) -> Self {
        Self::whole(vec![values.len()], values)
    }

    /// The tensor of these dimensions whose element at an index is `at(index)`.
    fn filled(
        dims: Vec<usize>,
        is_float: bool,
        mut at: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Self> {
        let count: usize = dims.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))?;
        if count > LARGEST {
            return None;
        }
        let mut index = vec![0; dims.len()];
        let mut values = Vec::with_capacity(count);
        for flat in 0..count {
            let mut rest = flat;
            for (place, &dim) in index.iter_mut().zip(&dims).rev() {
                *place = rest % dim;
                rest /= dim;
            }
            let value = at(&index)?;
            values.push(if is_float { f64::from(value as f32) } else { value });
        }
        Some(Self { dims, values, is_float })
    }

    /// Each element by itself.
    fn map(&self, is_float: bool, f: impl Fn(f64) -> f64) -> Option<Self> {
        Self::filled(self.dims.clone(), is_float, |index| self.at(index).map(&f))
    }

    /// The element at an index of a shape that this tensor broadcasts to.
    fn at(&self, index: &[usize]) -> Option<f64> {
        let skipped = index.len().checked_sub(self.dims.len())?;
        let place =
            |flat: usize, (&i, &dim): (&usize, &usize)| flat * dim + if dim == 1 { 0 } else { i };
        let flat = index[skipped..].iter().zip(&self.dims).fold(0, place);
        self.values.get(flat).copied()
    }

    fn axis(&self, axis: i64) -> Option<usize> {
        place(axis, self.dims.len()).filter(|&axis| axis < self.dims.len())
    }
}

/// A possibly negative position among `count`.
fn place(at: i64, count: usize) -> Option<usize> {
    usize::try_from(if at < 0 { at.checked_add(count as i64)? } else { at }).ok()
}

/// The values known so far.
#[derive(Default)]
pub(crate) struct Known(BTreeMap<ValueId, Small>);

impl Known {
    /// Takes note of a constant, if it is a small one.
    pub(crate) fn note(&mut self, id: ValueId, tensor: &Tensor) {
        if let Some(small) = small(tensor) {
            self.0.insert(id, small);
        }
    }

    /// Takes note of what a node was found to give.
    pub(crate) fn keep(&mut self, id: ValueId, value: Small) {
        self.0.insert(id, value);
    }

    /// The one output of `node`, whose inputs are values of `graph`, if it is known.
    pub(crate) fn value(&self, graph: &Graph, node: &Node) -> Option<Small> {
        if !node.is_standard() || node.outputs.len() != 1 {
            return None;
        }
        self.run(graph, node).filter(|found| found.values.len() <= LARGEST)
    }

    fn get(&self, node: &Node, index: usize) -> Option<&Small> {
        self.0.get(&node.inputs.get(index).copied().flatten()?)
    }

    /// Integers that are an input since some opset and an attribute before it.
    fn ints(&self, node: &Node, index: usize, attribute: &str) -> Option<Vec<i64>> {
        match node.inputs.get(index).copied().flatten() {
            Some(id) => self.0.get(&id).map(Small::to_ints),
            None => node.ints(attribute).map(<[i64]>::to_vec),
        }
    }

    fn run(&self, graph: &Graph, node: &Node) -> Option<Small> {
        match node.op.as_str() {
            "Constant" => constant(node),
            "Shape" | "Size" => shape(graph, node),
            "Identity" => self.get(node, 0).cloned(),
            "Cast" => self.cast(node),
            "Gather" => self.gather(node),
            "Concat" => self.concat(node),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(graph, node),
            "Transpose" => self.transpose(node),
            "Slice" => self.slice(node),
            "Expand" => {
                let x = self.get(node, 0)?;
                let dims = broadcast(&x.dims, &self.get(node, 1)?.to_sizes()?)?;
                Small::filled(dims, x.is_float, |index| x.at(index))
            }
            "Tile" => {
                let (x, repeats) = (self.get(node, 0)?, self.get(node, 1)?.to_sizes()?);
                let dims: Vec<usize> =
                    x.dims.iter().zip(&repeats).map(|(n, r)| n.saturating_mul(*r)).collect();
                Small::filled(dims, x.is_float, |index| {
                    let at: Vec<usize> = index.iter().zip(&x.dims).map(|(i, n)| i % n).collect();
                    x.at(&at)
                })
            }
            "ConstantOfShape" => self.constant_of_shape(node),
            "OneHot" => self.one_hot(node),
            "Range" => self.range(node),
            "Where" => self.choose(node),
            "ReduceProd" => self.all(node, |values| values.iter().product()),
            "ReduceSum" => self.all(node, |values| values.iter().sum()),
            "ReduceMax" => {
                self.all(node, |values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            }
            "ReduceMin" => {
                self.all(node, |values| values.iter().copied().fold(f64::INFINITY, f64::min))
            }
            _ => self.elementwise(node),
        }
    }

    fn elementwise(&self, node: &Node) -> Option<Small> {
        let truth = |holds: bool| f64::from(u8::from(holds));
        let is_float = self.get(node, 0)?.is_float;
        match node.op.as_str() {
            "Add" => self.both(node, is_float, |a, b| a + b),
            "Sub" => self.both(node, is_float, |a, b| a - b),
            "Mul" => self.both(node, is_float, |a, b| a * b),
            "Div" if is_float => self.both(node, true, |a, b| a / b),
            "Div" if self.is_nonzero(node) => self.both(node, false, |a, b| (a / b).trunc()),
            // The sign of the divisor, as in Python.
            "Mod" if node.int("fmod") != Some(1) && self.is_nonzero(node) => {
                self.both(node, is_float, |a, b| a - b * (a / b).floor())
            }
            "Min" => self.both(node, is_float, f64::min),
            "Max" => self.both(node, is_float, f64::max),
            "Equal" => self.both(node, false, |a, b| truth(a.total_cmp(&b).is_eq())),
            "Less" => self.both(node, false, |a, b| truth(a < b)),
            "LessOrEqual" => self.both(node, false, |a, b| truth(a <= b)),
            "Greater" => self.both(node, false, |a, b| truth(a > b)),
            "GreaterOrEqual" => self.both(node, false, |a, b| truth(a >= b)),
            "And" => self.both(node, false, |a, b| a * b),
            "Or" => self.both(node, false, f64::max),
            "Not" => self.get(node, 0)?.map(false, |a| 1.0 - a),
            "Neg" => self.get(node, 0)?.map(is_float, |a| -a),
            "Abs" => self.get(node, 0)?.map(is_float, f64::abs),
            "Ceil" => self.get(node, 0)?.map(is_float, f64::ceil),
            "Floor" => self.get(node, 0)?.map(is_float, f64::floor),
            "Round" => self.get(node, 0)?.map(is_float, f64::round_ties_even),
            "Relu" => self.get(node, 0)?.map(is_float, |a| a.max(0.0)),
            "Sqrt" => self.get(node, 0)?.map(is_float, f64::sqrt),
            "Clip" => {
                let bound = |index: usize, open: f64| match node.inputs.get(index).copied() {
                    Some(Some(_)) => self.get(node, index)?.values.first().copied(),
                    _ => Some(open),
                };
                let (low, high) = (bound(1, f64::NEG_INFINITY)?, bound(2, f64::INFINITY)?);
                self.get(node, 0)?.map(is_float, |a| a.max(low).min(high))
            }
            _ => None,
        }
    }

    fn is_nonzero(&self, node: &Node) -> bool {
        self.get(node, 1).is_some_and(|small| small.values.iter().all(|&value| value != 0.0))
    }

    fn cast(&self, node: &Node) -> Option<Small> {
        let x = self.get(node, 0)?;
        match ElementType::from_code(i32::try_from(node.int("to")?).ok()?)? {
            ElementType::Int64 | ElementType::Int32 => x.map(false, f64::trunc),
            ElementType::Bool => x.map(false, |a| f64::from(u8::from(a != 0.0))),
            ElementType::Float => x.map(true, |a| a),
            _ => None,
        }
    }

    fn gather(&self, node: &Node) -> Option<Small> {
        let (x, chosen) = (self.get(node, 0)?, self.get(node, 1)?);
        let axis = x.axis(node.int("axis").unwrap_or(0))?;
        let dims = [&x.dims[..axis], &chosen.dims, &x.dims[axis + 1..]].concat();
        let count = chosen.dims.len();
        Small::filled(dims, x.is_float, |index| {
            let at = place(chosen.at(&index[axis..axis + count])? as i64, x.dims[axis])?;
            let from = [&index[..axis], &[at], &index[axis + count..]].concat();
            if at < x.dims[axis] { x.at(&from) } else { None }
        })
    }

    fn concat(&self, node: &Node) -> Option<Small> {
        let parts: Vec<&Small> =
            (0..node.inputs.len()).map(|i| self.get(node, i)).collect::<Option<_>>()?;
        let first = *parts.first()?;
        let axis = first.axis(node.int("axis")?)?;
        let mut dims = first.dims.clone();
        dims[axis] = parts.iter().map(|part| part.dims.get(axis)).sum::<Option<usize>>()?;
        Small::filled(dims, first.is_float, |index| {
            let mut index = index.to_vec();
            for part in &parts {
                match index[axis].checked_sub(part.dims[axis]) {
                    Some(rest) => index[axis] = rest,
                    None => return part.at(&index),
                }
            }
            None
        })
    }

    /// The same elements in the shape that the operator gives them.
    fn reshape(&self, graph: &Graph, node: &Node) -> Option<Small> {
        let x = self.get(node, 0)?;
        let ty = nearkin_onnx::infer(graph, node).ok()?.into_iter().next()?;
        let dims = ty.shape?.to_known()?;
        (dims.iter().product::<usize>() == x.values.len()).then(|| Small { dims, ..x.clone() })
    }

    fn transpose(&self, node: &Node) -> Option<Small> {
        let x = self.get(node, 0)?;
        let order: Vec<usize> = match node.ints("perm") {
            Some(perm) => perm.iter().map(|&p| x.axis(p)).collect::<Option<_>>()?,
            None => (0..x.dims.len()).rev().collect(),
        };
        let dims = order.iter().map(|&axis| x.dims[axis]).collect();
        Small::filled(dims, x.is_float, |index| {
            let mut from = vec![0; index.len()];
            order.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
            x.at(&from)
        })
    }

    fn slice(&self, node: &Node) -> Option<Small> {
        let mut x = self.get(node, 0)?.clone();
        let starts = self.ints(node, 1, "starts")?;
        let ends = self.ints(node, 2, "ends")?;
        let axes = match node.inputs.get(3).copied().flatten() {
            None if node.ints("axes").is_none() => (0..starts.len() as i64).collect(),
            _ => self.ints(node, 3, "axes")?,
        };
        let steps = match node.inputs.get(4).copied().flatten() {
            None => vec![1; starts.len()],
            Some(_) => self.ints(node, 4, "steps")?,
        };
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = x.axis(axis)?;
            let size = x.dims[axis] as i64;
            let bound = |at: i64, low: i64, high: i64| {
                (if at < 0 { at.saturating_add(size) } else { at }).max(low).min(high)
            };
            let (mut at, end) = match step {
                1.. => (bound(start, 0, size), bound(end, 0, size)),
                0 => return None,
                _ => (bound(start, 0, size - 1), bound(end, -1, size - 1)),
            };
            let mut chosen = Vec::new();
            while if step > 0 { at < end } else { at > end } {
                chosen.push(usize::try_from(at).ok()?);
                at = at.saturating_add(step);
            }
            let mut dims = x.dims.clone();
            dims[axis] = chosen.len();
            x = Small::filled(dims, x.is_float, |index| {
                let mut from = index.to_vec();
                from[axis] = chosen[index[axis]];
                x.at(&from)
            })?;
        }
        Some(x)
    }

    fn constant_of_shape(&self, node: &Node) -> Option<Small> {
        let dims = self.get(node, 0)?.to_sizes()?;
        let (value, is_float) = match node.attribute("value") {
            Some(AttributeValue::Tensor(tensor)) => {
                let value = small(tensor)?;
                (*value.values.first()?, value.is_float)
            }
            _ => (0.0, true),
        };
        Small::filled(dims, is_float, |_| Some(value))
    }

    fn one_hot(&self, node: &Node) -> Option<Small> {
        let (x, values) = (self.get(node, 0)?, self.get(node, 2)?);
        let depth = *self.get(node, 1)?.to_sizes()?.first()?;
        let rank = x.dims.len() + 1;
        let axis = place(node.int("axis").unwrap_or(-1), rank).filter(|&axis| axis < rank)?;
        let mut dims = x.dims.clone();
        dims.insert(axis, depth);
        Small::filled(dims, values.is_float, |index| {
            let mut from = index.to_vec();
            let class = from.remove(axis);
            let hot = place(x.at(&from)? as i64, depth) == Some(class);
            values.values.get(usize::from(hot)).copied()
        })
    }

    fn range(&self, node: &Node) -> Option<Small> {
        let one = |index| self.get(node, index)?.values.first().copied();
        let (start, limit, step) = (one(0)?, one(1)?, one(2)?);
        let count = ((limit - start) / step).ceil().max(0.0);
        // No count for a step of 0.
        if count.is_nan() || count > LARGEST as f64 {
            return None;
        }
        let is_float = self.get(node, 0)?.is_float;
        Small::filled(vec![count as usize], is_float, |index| Some(start + index[0] as f64 * step))
    }

    fn choose(&self, node: &Node) -> Option<Small> {
        let (condition, x, y) = (self.get(node, 0)?, self.get(node, 1)?, self.get(node, 2)?);
        let dims = broadcast(&condition.dims, &broadcast(&x.dims, &y.dims)?)?;
        Small::filled(dims, x.is_float, |index| {
            if condition.at(index)? != 0.0 { x.at(index) } else { y.at(index) }
        })
    }

    fn both(&self, node: &Node, is_float: bool, f: impl Fn(f64, f64) -> f64) -> Option<Small> {
        let [_, _] = node.inputs[..] else { return None };
        let (a, b) = (self.get(node, 0)?, self.get(node, 1)?);
        let dims = broadcast(&a.dims, &b.dims)?;
        Small::filled(dims, is_float, |index| Some(f(a.at(index)?, b.at(index)?)))
    }

    /// Reduces all elements to one.
    fn all(&self, node: &Node, f: impl Fn(&[f64]) -> f64) -> Option<Small> {
        let x = self.get(node, 0)?;
        let axes = self.ints(node, 1, "axes").filter(|axes| !axes.is_empty());
        if axes.is_some_and(|axes| axes.len() != x.dims.len()) {
            return None;
        }
        let keep = node.int("keepdims") != Some(0);
        let dims = if keep { vec![1; x.dims.len()] } else { vec![] };
        Some(Small { dims, values: vec![f(&x.values)], is_float: x.is_float })
    }
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |j| dims[j]);
    let dim = |i: usize| match (at(a, i), at(b, i)) {
        (1, n) | (n, 1) => Some(n),
        (m, n) => (m == n).then_some(m),
    };
    (0..rank).map(dim).collect()
}

/// The elements of a small tensor.
fn small(tensor: &Tensor) -> Option<Small> {
    if tensor.count()? > LARGEST {
        return None;
    }
    let dims = tensor.dims.clone();
    let TensorData::Inline(bytes) = &tensor.data else { return None };
    Some(match tensor.element {
        ElementType::Int64 => Small::whole(dims, tensor.to_i64()?),
        ElementType::Int32 => {
            let values = bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b)));
            Small::whole(dims, values.collect())
        }
        ElementType::Bool => Small::whole(dims, bytes.iter().map(|&b| i64::from(b != 0)).collect()),
        ElementType::Float => {
            let values = tensor.to_f32()?.into_iter().map(f64::from).collect();
            Small { dims, values, is_float: true }
        }
        _ => return None,
    })
}

fn constant(node: &Node) -> Option<Small> {
    node.attributes.iter().find_map(|attribute| match (&attribute.name[..], &attribute.value) {
        ("value", AttributeValue::Tensor(tensor)) => small(tensor),
        ("value_int", AttributeValue::Int(value)) => Some(Small::whole(vec![], vec![*value])),
        ("value_ints", AttributeValue::Ints(values)) => Some(Small::vector(values.clone())),
        ("value_float", AttributeValue::Float(value)) => {
            Some(Small { dims: vec![], values: vec![f64::from(*value)], is_float: true })
        }
        _ => None,
    })
}

/// The dimensions of an input, or their product.
fn shape(graph: &Graph, node: &Node) -> Option<Small> {
    let dims = graph.shape(node.inputs.first().copied().flatten()?)?.to_known()?;
    if node.op == "Size" {
        let count = i64::try_from(dims.iter().product::<usize>()).ok()?;
        return Some(Small::whole(vec![], vec![count]));
    }
    let rank = dims.len() as i64;
    let place = |at: i64| (if at < 0 { at + rank } else { at }).max(0).min(rank) as usize;
    let start = place(node.int("start").unwrap_or(0));
    let end = place(node.int("end").unwrap_or(rank)).max(start);
    Some(Small::vector(dims[start..end].iter().map(|&n| n as i64).collect()))
}
