//! Writes what the backward rules ask for in operators of an engine.
//!
//! [`Lowering::Standard`] writes ONNX's own operators and is the oracle. [`Lowering::CpuNchwc`]
//! keeps images in ONNX Runtime's blocked layout from the first convolution to the last, where the
//! shapes allow it (`choose`): there a convolution, its gradients, and the sums and scalings of
//! batch normalisation all become one operator, `com.microsoft.nchwc.Conv`, which reads weights at
//! run time, runs on all threads, and adds, scales and clips on the way.

mod blocked;
mod choose;
mod convolution;
mod filter;
mod heads;
mod linear;
mod standard;

use std::collections::{BTreeMap, BTreeSet};

use nearkin_onnx::{Graph, ValueId};

use crate::error::Problem;
use crate::prune::prune;

/// In which operators a step is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lowering {
    /// ONNX's own operators: any engine.
    #[default]
    Standard,
    /// Also those of `com.microsoft.nchwc`, which ONNX Runtime has on processors, and its GELU; blocks of
    /// channels must be as long as the processor's, which [`Lowering::of_this_processor`] tells.
    CpuNchwc {
        /// Channels in a block: 8 or 16.
        block: usize,
    },
    /// Only what ONNX Runtime's CUDA provider runs. Today the same graph as
    /// [`Lowering::Standard`]: no CUDA device has measured another.
    Cuda,
}

impl Lowering {
    /// The quickest for ONNX Runtime on this machine's processor.
    ///
    /// MLAS, which runs the blocked operators, has blocks of 16 with AVX-512 and of 8 without it on
    /// x86-64. Other processors get [`Lowering::Standard`]: there nobody has measured.
    pub fn of_this_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let wide = std::arch::is_x86_feature_detected!("avx512f");
            Self::CpuNchwc { block: if wide { 16 } else { 8 } }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Standard
    }

    pub(crate) fn check(self) -> Result<(), Problem> {
        match self {
            Self::CpuNchwc { block } if block != 8 && block != 16 => Err(Problem::Setting {
                field: "block",
                expected: "8 or 16 channels",
                found: block.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The operator sets beside ONNX's own that a graph may use.
    pub(crate) fn domains(self) -> &'static [(&'static str, i64)] {
        match self {
            Self::CpuNchwc { .. } => &[(blocked::DOMAIN, 1), (blocked::CONTRIB, 1)],
            Self::Standard | Self::Cuda => &[],
        }
    }
}

/// The part of `from` that `outputs` depend on, in the operators of `lowering`; the names of inputs,
/// outputs and constants stay. Inputs of `optional` that are not read are left out.
pub(crate) fn lower(
    from: &Graph,
    outputs: &[ValueId],
    optional: &BTreeSet<ValueId>,
    lowering: Lowering,
) -> Result<Graph, Problem> {
    let from = prune(from, outputs, optional)?;
    let mut pass = Pass::new(&from, lowering)?;
    for node in from.nodes() {
        pass.node(node)?;
    }
    let mut found = Vec::new();
    for &output in from.outputs() {
        found.push(pass.output(output)?);
    }
    prune(&pass.e.graph, &found, &BTreeSet::new())
}

/// Where a value of the graph before is found in the new one; at least one is there.
#[derive(Clone, Copy, Default)]
struct Place {
    /// As ONNX has it.
    plain: Option<ValueId>,
    /// `[N, C, H, W]` in blocks of channels, which are filled up to whole blocks.
    blocked: Option<ValueId>,
    /// `[N, H, W, C]`.
    rows: Option<ValueId>,
    /// `[N, C, 1, 1]`, of which every pixel is a copy.
    spread: Option<ValueId>,
    /// Tokens `[…, D]` as an image `[1, D, 1, T]` in blocks of D.
    tokens: Option<ValueId>,
    /// Tokens `[N, L, heads, d]` as those of `[N, L, heads·d]`.
    heads: Option<ValueId>,
    /// `[N, L, heads, d]` with the middle axes exchanged, otherwise as ONNX has it.
    turned: Option<ValueId>,
}

struct Pass<'a> {
    from: &'a Graph,
    e: crate::emit::Emit,
    block: Option<usize>,
    places: BTreeMap<ValueId, Place>,
    /// How often a value of the graph before is read.
    uses: BTreeMap<ValueId, usize>,
}

impl<'a> Pass<'a> {
    fn new(from: &'a Graph, lowering: Lowering) -> Result<Self, Problem> {
        let block = match lowering {
            Lowering::CpuNchwc { block } => Some(block),
            Lowering::Standard | Lowering::Cuda => None,
        };
        let mut uses: BTreeMap<ValueId, usize> = BTreeMap::new();
        let read = from.nodes().iter().flat_map(|node| node.inputs.iter().flatten());
        for &id in read.chain(from.outputs()) {
            *uses.entry(id).or_default() += 1;
        }
        let e = crate::emit::Emit::new(Graph::new(&from.name), "lowered");
        let mut pass = Self { from, e, block, places: BTreeMap::new(), uses };
        for &id in from.inputs() {
            let value = from.value(id);
            let ty = value.ty.clone().ok_or_else(|| Problem::NoSuchValue(value.name.clone()))?;
            let new = pass.e.graph.add_input(&value.name, ty)?;
            pass.place_plain(id, new);
        }
        for (id, tensor) in from.initialisers() {
            let new = pass.e.graph.add_initialiser(&from.value(*id).name, tensor.clone())?;
            pass.place_plain(*id, new);
        }
        Ok(pass)
    }

    fn node(&mut self, node: &nearkin_onnx::Node) -> Result<(), Problem> {
        if let (Some(block), Some(&output)) = (self.block, node.outputs.first())
            && let (Some(output), 1) = (output, node.outputs.len())
            && let Some(place) = self.in_blocks(node, output, block)?
        {
            self.places.insert(output, place);
            return Ok(());
        }
        if let (Some(block), "Split", true) = (self.block, node.op.as_str(), node.is_standard())
            && self.split_tokens(node, block)?
        {
            return Ok(());
        }
        if node.domain == crate::primitive::DOMAIN || standard::expands(node) {
            let output = node.outputs.first().copied().flatten().ok_or(Problem::NoOutput)?;
            let inputs = node.inputs.iter().flatten().map(|&id| self.plain(id));
            let inputs: Vec<ValueId> = inputs.collect::<Result<_, _>>()?;
            let dims = self.dims(output)?;
            let new = standard::expand(&mut self.e, node, &inputs, &dims)?;
            self.place_plain(output, new);
            return Ok(());
        }
        let mut new = node.clone();
        for input in new.inputs.iter_mut().flatten() {
            *input = self.plain(*input)?;
        }
        for output in new.outputs.iter_mut().flatten() {
            let value = self.from.value(*output);
            let id = self.e.graph.add_value(&value.name, value.ty.clone())?;
            self.place_plain(*output, id);
            *output = id;
        }
        self.e.graph.add_node(new)?;
        Ok(())
    }

    /// The value as ONNX has it, under the name it had.
    fn output(&mut self, id: ValueId) -> Result<ValueId, Problem> {
        let plain = self.plain(id)?;
        let name = &self.from.value(id).name;
        if self.e.graph.value(plain).name == *name {
            return Ok(plain);
        }
        self.e.output(plain, name)
    }

    fn dims(&self, id: ValueId) -> Result<Vec<usize>, Problem> {
        let shape = self.from.shape(id);
        shape.and_then(nearkin_onnx::Shape::to_known).ok_or_else(|| Problem::Shape {
            value: self.from.value(id).name.clone(),
            found: shape.map_or_else(|| "nothing".to_owned(), ToString::to_string),
        })
    }

    fn place_plain(&mut self, id: ValueId, plain: ValueId) {
        self.places.insert(id, Place { plain: Some(plain), ..Place::default() });
    }

    fn place(&self, id: ValueId) -> Result<Place, Problem> {
        let unknown = || Problem::NoSuchValue(self.from.value(id).name.clone());
        self.places.get(&id).copied().ok_or_else(unknown)
    }

    /// The value as ONNX has it.
    fn plain(&mut self, id: ValueId) -> Result<ValueId, Problem> {
        let place = self.place(id)?;
        let found = match place {
            Place { plain: Some(plain), .. } => return Ok(plain),
            Place { rows: Some(rows), .. } => self.e.transpose(rows, &[0, 3, 1, 2])?,
            Place { spread: Some(one), .. } => {
                let dims = self.dims(id)?;
                self.e.expand(one, &dims)?
            }
            Place { blocked: Some(blocked), .. } => self.out_of_blocks(blocked, id, false)?,
            Place { tokens: Some(tokens), .. } => self.out_of_tokens(tokens, id)?,
            Place { heads: Some(heads), .. } => {
                let dims = self.dims(id)?;
                self.out_of_heads(heads, &dims)?
            }
            Place { turned: Some(turned), .. } => self.e.transpose(turned, &[0, 2, 1, 3])?,
            _ => return Err(Problem::NoSuchValue(self.from.value(id).name.clone())),
        };
        self.places.insert(id, Place { plain: Some(found), ..place });
        Ok(found)
    }
}
