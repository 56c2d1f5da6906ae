//! Arithmetic on shapes: whole numbers that are known once the batch is fixed become constants.
//!
//! Exporters write the targets of `Reshape`, `Expand` and `Pad` as chains of `Shape`, `Gather`,
//! `ConstantOfShape`, `Where` and the like. With every dimension a number, such a chain has one value.
//! Integers and booleans only, and few of them: it does not fold weights.

use std::collections::BTreeMap;

use nearkin_onnx::{AttributeValue, ElementType, Graph, Node, Tensor, TensorData, ValueId};

/// Most elements that are taken for a shape or what leads to one.
const LARGEST: usize = 256;

/// A small tensor of whole numbers; booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Small {
    dims: Vec<usize>,
    values: Vec<i64>,
}

impl Small {
    /// The i64 tensor of these numbers.
    pub(crate) fn to_tensor(&self) -> Option<Tensor> {
        Tensor::from_i64(self.dims.clone(), &self.values)
    }

    fn vector(values: Vec<i64>) -> Self {
        Self { dims: vec![values.len()], values }
    }

    /// The tensor of these dimensions whose element at an index is `at(index)`.
    fn filled(dims: Vec<usize>, mut at: impl FnMut(&[usize]) -> Option<i64>) -> Option<Self> {
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
            values.push(at(&index)?);
        }
        Some(Self { dims, values })
    }

    /// The element at an index of a shape that this tensor broadcasts to.
    fn at(&self, index: &[usize]) -> Option<i64> {
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
    /// Takes note of a constant, if it is a small one of whole numbers.
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
            Some(id) => self.0.get(&id).map(|small| small.values.clone()),
            None => node.ints(attribute).map(<[i64]>::to_vec),
        }
    }

    fn run(&self, graph: &Graph, node: &Node) -> Option<Small> {
        let whole = |a: i64, b: i64| b != 0 && !(a == i64::MIN && b == -1);
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
                let (x, target) = (self.get(node, 0)?, &self.get(node, 1)?.values);
                let target = target.iter().map(|&n| usize::try_from(n).ok());
                let dims = broadcast(&x.dims, &target.collect::<Option<Vec<_>>>()?)?;
                Small::filled(dims, |index| x.at(index))
            }
            "ConstantOfShape" => self.constant_of_shape(node),
            "Range" => self.range(node),
            "Add" => self.both(node, i64::checked_add),
            "Sub" => self.both(node, i64::checked_sub),
            "Mul" => self.both(node, i64::checked_mul),
            "Div" => self.both(node, i64::checked_div),
            // The sign of the divisor, as in Python.
            "Mod" if node.int("fmod").unwrap_or(0) == 0 => {
                self.both(node, |a, b| whole(a, b).then(|| (a % b + b) % b))
            }
            "Min" => self.both(node, |a, b| Some(a.min(b))),
            "Max" => self.both(node, |a, b| Some(a.max(b))),
            "Equal" => self.both(node, |a, b| Some(i64::from(a == b))),
            "Less" => self.both(node, |a, b| Some(i64::from(a < b))),
            "LessOrEqual" => self.both(node, |a, b| Some(i64::from(a <= b))),
            "Greater" => self.both(node, |a, b| Some(i64::from(a > b))),
            "GreaterOrEqual" => self.both(node, |a, b| Some(i64::from(a >= b))),
            "And" => self.both(node, |a, b| Some(a & b)),
            "Or" => self.both(node, |a, b| Some(a | b)),
            "Not" => self.one(node, |a| Some(1 - a)),
            "Neg" => self.one(node, i64::checked_neg),
            "Abs" => self.one(node, i64::checked_abs),
            "Where" => {
                let parts = [self.get(node, 0)?, self.get(node, 1)?, self.get(node, 2)?];
                let dims = broadcast(&parts[1].dims, &parts[2].dims)?;
                let dims = broadcast(&parts[0].dims, &dims)?;
                Small::filled(dims, |index| {
                    parts[if parts[0].at(index)? != 0 { 1 } else { 2 }].at(index)
                })
            }
            "ReduceProd" => self.all(node, |values| {
                values.iter().try_fold(1, |product: i64, &n| product.checked_mul(n))
            }),
            "ReduceSum" => self
                .all(node, |values| values.iter().try_fold(0, |sum: i64, &n| sum.checked_add(n))),
            "ReduceMax" => self.all(node, |values| values.iter().copied().max()),
            "ReduceMin" => self.all(node, |values| values.iter().copied().min()),
            _ => None,
        }
    }

    /// To whole numbers or booleans; whole numbers stay as they are.
    fn cast(&self, node: &Node) -> Option<Small> {
        let to = ElementType::from_code(i32::try_from(node.int("to")?).ok()?)?;
        match to {
            ElementType::Int64 | ElementType::Int32 => self.get(node, 0).cloned(),
            ElementType::Bool => self.one(node, |a| Some(i64::from(a != 0))),
            _ => None,
        }
    }

    fn gather(&self, node: &Node) -> Option<Small> {
        let (x, chosen) = (self.get(node, 0)?, self.get(node, 1)?);
        let axis = x.axis(node.int("axis").unwrap_or(0))?;
        let dims = [&x.dims[..axis], &chosen.dims, &x.dims[axis + 1..]].concat();
        let count = chosen.dims.len();
        Small::filled(dims, |index| {
            let at = place(chosen.at(&index[axis..axis + count])?, x.dims[axis])?;
            x.at(&[&index[..axis], &[at], &index[axis + count..]].concat())
        })
    }

    fn concat(&self, node: &Node) -> Option<Small> {
        let parts: Vec<&Small> =
            (0..node.inputs.len()).map(|i| self.get(node, i)).collect::<Option<_>>()?;
        let first = *parts.first()?;
        let axis = first.axis(node.int("axis")?)?;
        let mut dims = first.dims.clone();
        dims[axis] = parts.iter().map(|part| part.dims.get(axis)).sum::<Option<usize>>()?;
        Small::filled(dims, |index| {
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
        (dims.iter().product::<usize>() == x.values.len())
            .then(|| Small { dims, values: x.values.clone() })
    }

    fn transpose(&self, node: &Node) -> Option<Small> {
        let x = self.get(node, 0)?;
        let order: Vec<usize> = match node.ints("perm") {
            Some(perm) => perm.iter().map(|&p| x.axis(p)).collect::<Option<_>>()?,
            None => (0..x.dims.len()).rev().collect(),
        };
        let dims = order.iter().map(|&axis| x.dims[axis]).collect();
        Small::filled(dims, |index| {
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
                (if at < 0 { at.saturating_add(size) } else { at }).clamp(low, high)
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
            x = Small::filled(dims, |index| {
                let mut from = index.to_vec();
                from[axis] = chosen[index[axis]];
                x.at(&from)
            })?;
        }
        Some(x)
    }

    fn constant_of_shape(&self, node: &Node) -> Option<Small> {
        let dims = self.get(node, 0)?.values.iter().map(|&n| usize::try_from(n).ok());
        let value = match node.attribute("value")? {
            AttributeValue::Tensor(tensor) => *small(tensor)?.values.first()?,
            _ => return None,
        };
        Small::filled(dims.collect::<Option<_>>()?, |_| Some(value))
    }

    fn range(&self, node: &Node) -> Option<Small> {
        let one = |index| self.get(node, index)?.values.first().copied();
        let (start, limit, step) = (one(0)?, one(1)?, one(2)?);
        if step == 0 {
            return None;
        }
        let reached = |at: i64| if step > 0 { at < limit } else { at > limit };
        let all = std::iter::successors(Some(start), |at| at.checked_add(step));
        let values: Vec<i64> = all.take_while(|&at| reached(at)).take(LARGEST + 1).collect();
        (values.len() <= LARGEST).then(|| Small::vector(values))
    }

    fn one(&self, node: &Node, f: impl Fn(i64) -> Option<i64>) -> Option<Small> {
        let x = self.get(node, 0)?;
        let values = x.values.iter().map(|&v| f(v)).collect::<Option<_>>()?;
        Some(Small { dims: x.dims.clone(), values })
    }

    fn both(&self, node: &Node, f: impl Fn(i64, i64) -> Option<i64>) -> Option<Small> {
        let [_, _] = node.inputs[..] else { return None };
        let (a, b) = (self.get(node, 0)?, self.get(node, 1)?);
        Small::filled(broadcast(&a.dims, &b.dims)?, |index| f(a.at(index)?, b.at(index)?))
    }

    /// Reduces all elements to one.
    fn all(&self, node: &Node, f: impl Fn(&[i64]) -> Option<i64>) -> Option<Small> {
        let x = self.get(node, 0)?;
        let axes = self.ints(node, 1, "axes").filter(|axes| !axes.is_empty());
        if axes.is_some_and(|axes| axes.len() != x.dims.len()) {
            return None;
        }
        let keep = node.int("keepdims") != Some(0);
        let dims = if keep { vec![1; x.dims.len()] } else { vec![] };
        Some(Small { dims, values: vec![f(&x.values)?] })
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

/// The elements of a small tensor of whole numbers or booleans.
fn small(tensor: &Tensor) -> Option<Small> {
    if tensor.count()? > LARGEST {
        return None;
    }
    let TensorData::Inline(bytes) = &tensor.data else { return None };
    let values = match tensor.element {
        ElementType::Int64 => tensor.to_i64()?,
        ElementType::Int32 => {
            bytes.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()
        }
        ElementType::Bool => bytes.iter().map(|&b| i64::from(b != 0)).collect(),
        _ => return None,
    };
    Some(Small { dims: tensor.dims.clone(), values })
}

fn constant(node: &Node) -> Option<Small> {
    node.attributes.iter().find_map(|attribute| match (&attribute.name[..], &attribute.value) {
        ("value", AttributeValue::Tensor(tensor)) => small(tensor),
        ("value_int", AttributeValue::Int(value)) => {
            Some(Small { dims: vec![], values: vec![*value] })
        }
        ("value_ints", AttributeValue::Ints(values)) => Some(Small::vector(values.clone())),
        _ => None,
    })
}

/// The dimensions of an input, or their product.
fn shape(graph: &Graph, node: &Node) -> Option<Small> {
    let dims = graph.shape(node.inputs.first().copied().flatten()?)?.to_known()?;
    if node.op == "Size" {
        let count = i64::try_from(dims.iter().product::<usize>()).ok()?;
        return Some(Small { dims: vec![], values: vec![count] });
    }
    let rank = dims.len() as i64;
    let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let start = place(node.int("start").unwrap_or(0));
    let end = place(node.int("end").unwrap_or(rank)).max(start);
    Some(Small::vector(dims[start..end].iter().map(|&n| n as i64).collect()))
}
