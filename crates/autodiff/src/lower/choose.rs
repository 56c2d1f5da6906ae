//! Which convolutions are written in blocks, and in which form.
//!
//! The rules follow measurements of every form on one core with AVX-512 (`benchmarks/peers/README.md`
//! says how to repeat them); what a form cannot express is decided where it is written.

use crate::windows::Windows;

/// Channels in whole blocks.
pub(super) fn padded(channels: usize, block: usize) -> usize {
    channels.div_ceil(block) * block
}

/// Whether an image with this many channels is worth whole blocks: at most a quarter of them idle.
///
/// Blocks are filled and emptied four channels at a time.
pub(super) fn fits(channels: usize, block: usize) -> bool {
    channels > 0 && channels.is_multiple_of(4) && 4 * channels >= 3 * padded(channels, block)
}

/// The kinds of convolution that are written in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All channels meet.
    Dense,
    /// All channels meet, and there are less than a block of them, such as those of a photograph:
    /// the image stays as ONNX has it.
    Narrow,
    /// Every channel by itself.
    Depthwise,
    /// Channels meet in groups of whole blocks.
    Grouped,
}

/// The kind of a convolution from `channels` to `outputs`; none that blocks cannot express.
pub(super) fn kind(
    channels: usize,
    outputs: usize,
    windows: &Windows,
    block: usize,
) -> Option<Kind> {
    if windows.rank() != 2 || !fits(outputs, block) {
        return None;
    }
    let groups = windows.groups;
    if groups == 1 {
        if fits(channels, block) {
            return Some(Kind::Dense);
        }
        return (channels < block).then_some(Kind::Narrow);
    }
    if groups == channels && outputs == channels {
        return Some(Kind::Depthwise);
    }
    let whole = |n: usize| n.is_multiple_of(groups * block);
    (whole(channels) && whole(outputs)).then_some(Kind::Grouped)
}

/// How ∂w of a dense 1×1 convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pointwise {
    /// As a pointwise convolution over pixels, one group for each image. It reads the wider image as
    /// it lies and brings the narrower into blocks of pixels: best while that one is narrow.
    Convolution,
    /// As a matrix product of the narrower image as ONNX has it and the wider one as it lies.
    Product,
}

/// From 16 → 96 channels the convolution took 0.77 of the product's time, from 32 → 192 0.9, from
/// 64 → 64 1.3 times.
pub(super) fn pointwise(narrow: usize, pixels: usize, block: usize) -> Pointwise {
    if narrow <= 32 && pixels.is_multiple_of(block) {
        Pointwise::Convolution
    } else {
        Pointwise::Product
    }
}

/// Whether the image of a depthwise ∂w is padded beforehand, so that all positions of a row are
/// computed side by side: worth its pass over memory from kernels of 5 on (7×7: 0.74 of the time;
/// 3×3: 1.1 times).
pub(super) fn pads_depthwise(kernel: usize) -> bool {
    kernel >= 5
}

/// Images whose ∂w is computed by one operator: the most that divide the batch and stay below a
/// block, as the operator wants of what it reads as channels.
pub(super) fn images_at_once(batch: usize, block: usize) -> usize {
    (1..block).rev().find(|d| batch.is_multiple_of(*d)).unwrap_or(1)
}

/// The most operators that one ∂w is split into; beyond, the portable form is as quick.
pub(super) const MOST_PARTS: usize = 32;

/// Whether a linear layer over this many tokens of this width is worth bringing them into blocks.
pub(super) fn tokens(count: usize, width: usize) -> bool {
    count >= 256 && width >= 32
}
