//! Applying an [`Augment`] to image after image.

use ndarray::ArrayView3;

use super::canvas::{Canvas, grey_of};
use super::crop::random_resized_crop;
use super::draw::Purpose;
use super::erasing::Values;
use super::{Augment, AugmentError, Draw, Framing, Operation};
use crate::{Image, Region, Resizer};

/// A checked [`Augment`] with its tables and scratch memory; one for each thread.
///
/// What comes out depends on the configuration, the image and the [`Draw`] alone: not on earlier
/// calls, nor on which of several augmenters ran.
#[derive(Clone, Debug)]
pub struct Augmenter {
    augment: Augment,
    /// Normalised value of each level, per channel.
    tables: Vec<[f32; 256]>,
    canvas: Canvas,
    /// The region that is resized, `[C, h, w]`.
    source: Vec<u8>,
}

impl Augmenter {
    /// Checks `augment`.
    ///
    /// # Errors
    /// [`AugmentError`] names the first field that is out of range, or the empty side.
    pub fn new(augment: &Augment) -> Result<Self, AugmentError> {
        augment.check()?;
        let kernels = augment.interpolation.iter();
        // Made only to refuse an empty or endless side now rather than at the first image.
        kernels.take(1).try_for_each(|&k| Resizer::new((1, 1), augment.size, k).map(|_| ()))?;
        let table = |(&mean, &std): (&f32, &f32)| {
            std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
        };
        let tables = augment.mean.iter().zip(&augment.std).map(table).collect();
        let (canvas, source) = (Canvas::default(), Vec::new());
        Ok(Self { augment: augment.clone(), tables, canvas, source })
    }

    /// `[C, H, W]` of what [`Augmenter::run`] writes.
    pub fn shape(&self) -> [usize; 3] {
        [self.tables.len(), self.augment.size.0, self.augment.size.1]
    }

    /// Augments and normalises one image.
    ///
    /// - `image`: of any size; grey is repeated for a model of three channels, RGB becomes grey for
    ///   one, as Pillow's `convert` does.
    /// - `draw`: which random numbers.
    /// - `out`: `[C, H, W]`, row-major, of [`Augmenter::shape`].
    ///
    /// # Errors
    /// [`AugmentError::Output`] if `out` has another length; [`AugmentError::Size`] if a side of the
    /// image is beyond [`crate::MAX_SIDE`].
    ///
    /// # Examples
    /// ```
    /// use nearkin_data::{Augment, Augmenter, Draw, Image};
    /// let mut augmenter = Augmenter::new(&Augment::cifar())?;
    /// let image = Image::new((32, 32), 3, vec![255; 32 * 32 * 3])?;
    /// let mut out = vec![0.0; 3 * 32 * 32];
    /// augmenter.run(&image, Draw { seed: 0, epoch: 0, index: 7 }, &mut out)?;
    /// assert!((out[16 * 32 + 16] - (1.0 - 0.4914) / 0.2470).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&mut self, image: &Image, draw: Draw, out: &mut [f32]) -> Result<(), AugmentError> {
        let size = self.augment.size;
        let expected = self.tables.len() * size.0 * size.1;
        if out.len() != expected {
            return Err(AugmentError::Output { expected, found: out.len() });
        }
        self.change_levels(image, draw)?;
        let planes = out.chunks_exact_mut(size.0 * size.1).zip(self.canvas.planes_mut());
        for ((out, plane), table) in planes.zip(&self.tables) {
            out.iter_mut()
                .zip(plane)
                .for_each(|(out, &mut level)| *out = table[usize::from(level)]);
        }
        if let Some(noise) = &self.augment.gaussian_noise {
            let values = Values { values: out, size };
            noise.run(&mut draw.stream(Purpose::Noise), values, &self.augment.std);
        }
        if let Some(erasing) = &self.augment.erasing {
            erasing.run(&mut draw.stream(Purpose::Erasing), Values { values: out, size });
        }
        if let Some(cutout) = &self.augment.cutout {
            cutout.run(&mut draw.stream(Purpose::Cutout), Values { values: out, size });
        }
        Ok(())
    }

    /// The levels `[C, H, W]` before normalisation, to look at: without noise, erasing and cutout.
    ///
    /// # Errors
    /// [`AugmentError::Size`] if a side of the image is beyond [`crate::MAX_SIDE`].
    pub fn levels(
        &mut self,
        image: &Image,
        draw: Draw,
    ) -> Result<ArrayView3<'_, u8>, AugmentError> {
        self.change_levels(image, draw)?;
        let (shape, levels) = (self.shape(), &self.canvas.levels[..]);
        ArrayView3::from_shape(shape, levels).map_err(|_| AugmentError::Output {
            expected: shape.iter().product(),
            found: levels.len(),
        })
    }

    fn change_levels(&mut self, image: &Image, draw: Draw) -> Result<(), AugmentError> {
        self.frame(image, draw)?;
        let Self { augment, canvas, .. } = self;
        let size = augment.size;
        let chance = |purpose, p: f64| p > 0.0 && draw.stream(purpose).chance(p);
        if chance(Purpose::HorizontalFlip, augment.horizontal_flip) {
            Operation::FlipHorizontal.apply(canvas);
        }
        if chance(Purpose::VerticalFlip, augment.vertical_flip) {
            Operation::FlipVertical.apply(canvas);
        }
        let turn = augment.rotation.and_then(|r| r.draw(&mut draw.stream(Purpose::Rotation)));
        let map = augment.affine.and_then(|a| a.draw(&mut draw.stream(Purpose::Affine), size));
        turn.into_iter().chain(map).for_each(|operation| operation.apply(canvas));
        if let Some(rand) = &augment.rand_augment {
            let mut stream = draw.stream(Purpose::RandAugment);
            rand.draw(&mut stream, size, |operation| operation.apply(canvas));
        }
        if let Some(jitter) = &augment.color_jitter {
            let operations = jitter.draw(&mut draw.stream(Purpose::ColorJitter));
            operations.for_each(|operation| operation.apply(canvas));
        }
        if chance(Purpose::Grayscale, augment.grayscale) {
            Operation::Grayscale.apply(canvas);
        }
        if let Some(blur) = &augment.gaussian_blur {
            let mut stream = draw.stream(Purpose::Blur);
            if stream.chance(blur.probability) {
                Operation::GaussianBlur { sigma: stream.between(blur.sigma) }.apply(canvas);
            }
        }
        Ok(())
    }

    /// Crops and resizes into the canvas.
    fn frame(&mut self, image: &Image, draw: Draw) -> Result<(), AugmentError> {
        let (height, width) = image.size();
        let whole = Region { top: 0, left: 0, height, width };
        let mut stream = draw.stream(Purpose::Crop);
        match self.augment.framing {
            Framing::Resize => self.resize(image, whole, draw),
            Framing::RandomResizedCrop { scale, ratio } => {
                let region = random_resized_crop(&mut stream, (height, width), scale, ratio);
                self.resize(image, region, draw)
            }
            Framing::PadAndCrop { padding, fill } => {
                self.resize(image, whole, draw)?;
                let mut shift = || stream.below(2 * padding + 1) as isize - padding as isize;
                let shift = (shift(), shift());
                shift_planes(&mut self.canvas, shift, fill);
                Ok(())
            }
        }
    }

    fn resize(&mut self, image: &Image, region: Region, draw: Draw) -> Result<(), AugmentError> {
        let (from, to) = ((region.height, region.width), self.augment.size);
        let kernel = draw.stream(Purpose::Interpolation).choose(&self.augment.interpolation);
        let mut resizer = Resizer::new(from, to, kernel)?;
        let channels = self.tables.len();
        let planes = channels.min(image.channels());
        self.source.resize(planes * from.0 * from.1, 0);
        copy_region(image, region, &mut self.source);
        self.canvas.reshape(channels, to);
        let (plane_len, source_len) = (to.0 * to.1, from.0 * from.1);
        for (plane, target) in self.source.chunks_exact(source_len).zip(self.canvas.planes_mut()) {
            resizer.run(plane, target);
        }
        // A grey image for a model of three channels was resized once.
        (planes..channels).for_each(|c| self.canvas.levels.copy_within(..plane_len, c * plane_len));
        Ok(())
    }
}

/// Planes of the region's levels; RGB becomes grey if `planes` has room for one channel only.
fn copy_region(image: &Image, region: Region, planes: &mut [u8]) {
    let (channels, (_, width)) = (image.channels(), image.size());
    let area = region.height * region.width;
    for y in 0..region.height {
        let start = ((region.top + y) * width + region.left) * channels;
        let row = &image.levels()[start..][..region.width * channels];
        let to = y * region.width..(y + 1) * region.width;
        if channels == 3 && planes.len() == area {
            let pixels = planes[to].iter_mut().zip(row.chunks_exact(3));
            pixels.for_each(|(grey, rgb)| *grey = grey_of(rgb[0], rgb[1], rgb[2]));
        } else if channels == 3 {
            let (red, rest) = planes.split_at_mut(area);
            let (green, blue) = rest.split_at_mut(area);
            let rgb = red[to.clone()].iter_mut().zip(&mut green[to.clone()]).zip(&mut blue[to]);
            for (((r, g), b), pixel) in rgb.zip(row.chunks_exact(3)) {
                (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
            }
        } else {
            planes[to].copy_from_slice(row);
        }
    }
}

/// Moves each plane's content by (rows, columns), which is padding and cropping in one.
fn shift_planes(canvas: &mut Canvas, (down, right): (isize, isize), fill: [u8; 3]) {
    let (height, width, plane_len) = (canvas.height, canvas.width, canvas.plane_len());
    // The part that stays inside: its length, and where it starts in the input and the output.
    let part = |shift: isize, side: usize| {
        let by = shift.unsigned_abs().min(side);
        if shift < 0 { (side - by, by, 0) } else { (side - by, 0, by) }
    };
    let ((rows, from_y, to_y), (columns, from_x, to_x)) = (part(down, height), part(right, width));
    let (levels, out) = canvas.spare();
    let planes = levels.chunks_exact(plane_len).zip(out.chunks_exact_mut(plane_len));
    for ((plane, out), fill) in planes.zip(fill) {
        out.fill(fill);
        for y in 0..rows {
            out[(to_y + y) * width + to_x..][..columns]
                .copy_from_slice(&plane[(from_y + y) * width + from_x..][..columns]);
        }
    }
    canvas.swap();
}
