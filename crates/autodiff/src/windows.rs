//! Where the windows of a convolution lie.

use nearkin_onnx::{Attribute, Node};

use crate::emit::{attr, attr_sizes};

/// Numbers of one convolution, axis by axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Windows {
    pub(crate) kernel: Vec<usize>,
    pub(crate) stride: Vec<usize>,
    pub(crate) dilation: Vec<usize>,
    /// Padding before each axis, then after each.
    pub(crate) pads: Vec<usize>,
    pub(crate) groups: usize,
}

impl Windows {
    /// Those of `node` for this kernel over this image, `auto_pad` resolved.
    pub(crate) fn of(node: &Node, kernel: &[usize], image: &[usize]) -> Self {
        let rank = kernel.len();
        let sizes = |name: &str, count: usize, default: usize| -> Vec<usize> {
            let given = node.ints(name).unwrap_or_default();
            (0..count).map(|i| given.get(i).map_or(default, |&v| v as usize)).collect()
        };
        let stride = sizes("strides", rank, 1);
        let dilation = sizes("dilations", rank, 1);
        let mut pads = sizes("pads", 2 * rank, 0);
        let auto = node.string("auto_pad").unwrap_or("NOTSET");
        if auto.starts_with("SAME") {
            for i in 0..rank {
                let out = image[i].div_ceil(stride[i]);
                let reach = (out - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1;
                let total = reach.saturating_sub(image[i]);
                let before = if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 };
                pads[i] = before;
                pads[rank + i] = total - before;
            }
        }
        let groups = node.int("group").unwrap_or(1).max(1) as usize;
        Self { kernel: kernel.to_vec(), stride, dilation, pads, groups }
    }

    pub(crate) fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// The attributes that say the same.
    pub(crate) fn attributes(&self) -> Vec<Attribute> {
        vec![
            attr_sizes("kernel_shape", &self.kernel),
            attr_sizes("strides", &self.stride),
            attr_sizes("dilations", &self.dilation),
            attr_sizes("pads", &self.pads),
            attr("group", self.groups as i64),
        ]
    }

    /// First padding of an axis.
    pub(crate) fn before(&self, axis: usize) -> usize {
        self.pads[axis]
    }

    /// True for one position after the other over the image itself.
    pub(crate) fn is_pointwise(&self) -> bool {
        let ones = |sizes: &[usize]| sizes.iter().all(|&n| n == 1);
        ones(&self.kernel) && ones(&self.stride) && self.pads.iter().all(|&n| n == 0)
    }
}
