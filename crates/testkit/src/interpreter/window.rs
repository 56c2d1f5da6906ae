//! Convolutions and pooling over any number of axes.

use super::{Array, Call, Outputs, filled, indices};
use ndarray::{Array2, ArrayView2, IxDyn};

pub(super) fn run(call: &Call<'_>) -> Option<Outputs> {
    Some(match call.node.op.as_str() {
        "Conv" => conv(call),
        "ConvTranspose" => conv_transpose(call),
        "MaxPool" => max_pool(call),
        "AveragePool" => average_pool(call),
        "GlobalAveragePool" => {
            global(call, |values| values.iter().sum::<f64>() / values.len() as f64)
        }
        "GlobalMaxPool" => {
            global(call, |values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        _ => return None,
    })
}

/// Where windows lie, axis by axis.
struct Window {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
}

impl Window {
    fn new(call: &Call<'_>, kernel: Vec<usize>, image: &[usize]) -> Result<Self, String> {
        let rank = kernel.len();
        let stride = call.sizes("strides", rank, 1);
        let dilation = call.sizes("dilations", rank, 1);
        let pads = call.sizes("pads", 2 * rank, 0);
        let (mut before, mut after) = (pads[..rank].to_vec(), pads[rank..].to_vec());
        match call.node.string("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => {}
            "VALID" => (before, after) = (vec![0; rank], vec![0; rank]),
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                for i in 0..rank {
                    let out = image[i].div_ceil(stride[i]);
                    let reach = (out - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1;
                    let total = reach.saturating_sub(image[i]);
                    let small = total / 2;
                    let upper = same == "SAME_UPPER";
                    before[i] = if upper { small } else { total - small };
                    after[i] = total - before[i];
                }
            }
            other => return Err(format!("auto_pad {other}")),
        }
        Ok(Self { kernel, stride, dilation, before, after })
    }

    fn out(&self, image: &[usize], ceil: bool) -> Vec<usize> {
        (0..image.len())
            .map(|i| {
                let reach = (self.kernel[i] - 1) * self.dilation[i] + 1;
                let free = image[i] + self.before[i] + self.after[i] - reach;
                if !ceil {
                    return free / self.stride[i] + 1;
                }
                let count = free.div_ceil(self.stride[i]) + 1;
                // A window that begins in the padding after the image does not count.
                let begins = (count - 1) * self.stride[i];
                if begins >= image[i] + self.before[i] { count - 1 } else { count }
            })
            .collect()
    }

    /// The image's pixel under kernel position `tap` of window `place`; none in the padding.
    fn pixel(&self, place: &[usize], tap: &[usize], image: &[usize]) -> Option<Vec<usize>> {
        (0..image.len())
            .map(|i| {
                let at = place[i] * self.stride[i] + tap[i] * self.dilation[i];
                at.checked_sub(self.before[i]).filter(|&at| at < image[i])
            })
            .collect()
    }

    fn is_padded(&self, place: &[usize], tap: &[usize], image: &[usize]) -> bool {
        (0..image.len()).all(|i| {
            place[i] * self.stride[i] + tap[i] * self.dilation[i]
                < image[i] + self.before[i] + self.after[i]
        })
    }
}

/// For each window and each tap, the flat pixel of the image under it; none in the padding.
fn pixels_under(window: &Window, out: &[usize], image: &[usize]) -> Vec<Vec<Option<usize>>> {
    let taps: Vec<Vec<usize>> = indices(&window.kernel).collect();
    let flat =
        |pixel: Vec<usize>| pixel.iter().zip(image).fold(0, |flat, (p, size)| flat * size + p);
    let under = |place: Vec<usize>| {
        taps.iter().map(|tap| window.pixel(&place, tap, image).map(flat)).collect()
    };
    indices(out).map(under).collect()
}

fn row_major(x: &Array) -> Vec<f64> {
    x.iter().copied().collect()
}

fn shaped(shape: &[usize], values: Vec<f64>) -> Outputs {
    Array::from_shape_vec(IxDyn(shape), values).map(|y| vec![y]).map_err(|error| error.to_string())
}

/// For each image and group: the kernels as rows times the pixels that each window sees as columns.
fn conv(call: &Call<'_>) -> Outputs {
    let (x, w) = (call.get(0)?, call.get(1)?);
    let groups = call.int("group", 1) as usize;
    let image = &x.shape()[2..];
    let window = Window::new(call, w.shape()[2..].to_vec(), image)?;
    let (batch, outputs, inner) = (x.shape()[0], w.shape()[0], w.shape()[1]);
    let out = window.out(image, false);
    let under = pixels_under(&window, &out, image);
    let (pixels, taps) = (image.iter().product::<usize>(), window.kernel.iter().product::<usize>());
    let (xs, ws) = (row_major(x), row_major(w));
    let rows = outputs / groups;
    let mut y = Vec::with_capacity(batch * outputs * under.len());
    for (n, group) in (0..batch).flat_map(|n| (0..groups).map(move |group| (n, group))) {
        let seen = Array2::from_shape_fn((inner * taps, under.len()), |(row, place)| {
            let plane = (n * groups + group) * inner + row / taps;
            under[place][row % taps].map_or(0.0, |pixel| xs[plane * pixels + pixel])
        });
        let kernels = matrix(rows, inner * taps, &ws[group * rows * inner * taps..])?;
        for (m, row) in kernels.dot(&seen).outer_iter().enumerate() {
            let bias = call.optional(2).map_or(0.0, |bias| bias[[group * rows + m]]);
            y.extend(row.iter().map(|sum| sum + bias));
        }
    }
    shaped(&[&[batch, outputs], &out[..]].concat(), y)
}

fn matrix(rows: usize, columns: usize, values: &[f64]) -> Result<ArrayView2<'_, f64>, String> {
    ArrayView2::from_shape((rows, columns), &values[..rows * columns])
        .map_err(|error| error.to_string())
}

/// Each pixel spreads the kernel over the output: the adjoint of a convolution.
fn conv_transpose(call: &Call<'_>) -> Outputs {
    let (x, w) = (call.get(0)?, call.get(1)?);
    let groups = call.int("group", 1) as usize;
    let image = &x.shape()[2..];
    let rank = image.len();
    let window = Window::new(call, w.shape()[2..].to_vec(), image)?;
    let extra = call.sizes("output_padding", rank, 0);
    let mut out: Vec<usize> = (0..rank)
        .map(|i| {
            (image[i] - 1) * window.stride[i]
                + (window.kernel[i] - 1) * window.dilation[i]
                + 1
                + extra[i]
                - window.before[i]
                - window.after[i]
        })
        .collect();
    if let Some(given) = call.node.ints("output_shape") {
        out = given.iter().map(|&n| n as usize).collect();
    }
    let (batch, channels, per_group) = (x.shape()[0], x.shape()[1], w.shape()[1]);
    let outputs = per_group * groups;
    // The windows of the convolution that this is the adjoint of see the output.
    let under = pixels_under(&window, image, &out);
    let (pixels, taps) = (out.iter().product::<usize>(), window.kernel.iter().product::<usize>());
    let (xs, ws) = (row_major(x), row_major(w));
    let rows = channels / groups;
    let mut y = vec![0.0; batch * outputs * pixels];
    for (n, group) in (0..batch).flat_map(|n| (0..groups).map(move |group| (n, group))) {
        let given = &xs[(n * channels + group * rows) * under.len()..];
        let kernels = matrix(rows, per_group * taps, &ws[group * rows * per_group * taps..])?;
        let spread = kernels.t().dot(&matrix(rows, under.len(), given)?);
        for ((row, place), value) in spread.indexed_iter() {
            if let Some(pixel) = under[place][row % taps] {
                let plane = n * outputs + group * per_group + row / taps;
                y[plane * pixels + pixel] += value;
            }
        }
    }
    if let Some(bias) = call.optional(2) {
        for (i, plane) in y.chunks_mut(pixels).enumerate() {
            plane.iter_mut().for_each(|value| *value += bias[[i % outputs]]);
        }
    }
    shaped(&[&[batch, outputs], &out[..]].concat(), y)
}

/// Maxima, and where they lie in the whole tensor, counted row-major.
fn max_pool(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let image = &x.shape()[2..];
    let window = Window::new(call, call.sizes("kernel_shape", image.len(), 1), image)?;
    let out = window.out(image, call.int("ceil_mode", 0) == 1);
    let shape = [&x.shape()[..2], &out[..]].concat();
    let taps: Vec<Vec<usize>> = indices(&window.kernel).collect();
    let pixels: usize = image.iter().product();
    let mut places = Vec::new();
    let y = filled(&shape, |index| {
        let mut best = (f64::NEG_INFINITY, 0);
        for tap in &taps {
            let Some(pixel) = window.pixel(&index[2..], tap, image) else { continue };
            let value = x[&[&index[..2], &pixel[..]].concat()[..]];
            let flat = pixel.iter().zip(image).fold(0, |flat, (&p, &size)| flat * size + p);
            if value > best.0 {
                best = (value, flat);
            }
        }
        places.push(((index[0] * shape[1] + index[1]) * pixels + best.1) as f64);
        best.0
    });
    let places = Array::from_shape_vec(IxDyn(&shape), places).map_err(|error| error.to_string())?;
    Ok(vec![y, places])
}

fn average_pool(call: &Call<'_>) -> Outputs {
    let x = call.get(0)?;
    let image = &x.shape()[2..];
    let window = Window::new(call, call.sizes("kernel_shape", image.len(), 1), image)?;
    let out = window.out(image, call.int("ceil_mode", 0) == 1);
    let shape = [&x.shape()[..2], &out[..]].concat();
    let count_pad = call.int("count_include_pad", 0) == 1;
    let taps: Vec<Vec<usize>> = indices(&window.kernel).collect();
    Ok(vec![filled(&shape, |index| {
        let place = &index[2..];
        let (mut sum, mut count) = (0.0, 0.0);
        for tap in &taps {
            match window.pixel(place, tap, image) {
                Some(pixel) => {
                    sum += x[&[&index[..2], &pixel[..]].concat()[..]];
                    count += 1.0;
                }
                None if count_pad && window.is_padded(place, tap, image) => count += 1.0,
                None => {}
            }
        }
        sum / count
    })])
}

fn global(call: &Call<'_>, f: impl Fn(&[f64]) -> f64) -> Outputs {
    let x = call.get(0)?;
    let image = &x.shape()[2..];
    let shape = [&x.shape()[..2], &vec![1; image.len()][..]].concat();
    Ok(vec![filled(&shape, |index| {
        let values: Vec<f64> =
            indices(image).map(|pixel| x[&[&index[..2], &pixel[..]].concat()[..]]).collect();
        f(&values)
    })])
}
