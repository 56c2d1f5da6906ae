//! The image while it is being augmented: planes of levels and memory that is used again.

use crate::{Image, ImageError};

/// Levels `[C, H, W]`, with scratch memory that keeps its size from image to image.
#[derive(Clone, Debug, Default)]
pub(super) struct Canvas {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// `[C, H, W]`, row-major.
    pub(super) levels: Vec<u8>,
    /// As long as `levels` once [`Canvas::spare`] was called; holds no meaning between operations.
    pub(super) scratch: Vec<u8>,
}

impl Canvas {
    /// Makes room for `[C, H, W]` levels, whatever they are.
    pub(super) fn reshape(&mut self, channels: usize, (height, width): (usize, usize)) {
        (self.channels, self.height, self.width) = (channels, height, width);
        self.levels.resize(channels * height * width, 0);
    }

    pub(super) fn plane_len(&self) -> usize {
        self.height * self.width
    }

    pub(super) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let plane_len = self.plane_len();
        self.levels.chunks_exact_mut(plane_len)
    }

    /// The planes, and equally many to write: call [`Canvas::swap`] after.
    pub(super) fn spare(&mut self) -> (&[u8], &mut [u8]) {
        self.scratch.resize(self.levels.len(), 0);
        (&self.levels, &mut self.scratch)
    }

    pub(super) fn swap(&mut self) {
        std::mem::swap(&mut self.levels, &mut self.scratch);
    }

    /// Replaces each level by its entry in a table.
    pub(super) fn map(&mut self, table: &[u8; 256]) {
        self.levels.iter_mut().for_each(|level| *level = table[usize::from(*level)]);
    }

    /// A copy of `image`, planes apart.
    pub(super) fn of(image: &Image) -> Self {
        let mut canvas = Self::default();
        let channels = image.channels();
        canvas.reshape(channels, image.size());
        for (channel, plane) in canvas.planes_mut().enumerate() {
            let levels = image.levels()[channel..].iter().step_by(channels);
            plane.iter_mut().zip(levels).for_each(|(to, &from)| *to = from);
        }
        canvas
    }

    pub(super) fn to_image(&self) -> Result<Image, ImageError> {
        let plane_len = self.plane_len();
        let pixels = 0..plane_len;
        let levels = pixels
            .flat_map(|pixel| (0..self.channels).map(move |c| (c, pixel)))
            .map(|(c, pixel)| self.levels[c * plane_len + pixel])
            .collect();
        Image::new((self.height, self.width), self.channels, levels)
    }

    /// The red, green and blue planes; `None` of a grey image.
    pub(super) fn rgb_mut(&mut self) -> Option<[&mut [u8]; 3]> {
        if self.channels != 3 {
            return None;
        }
        let plane_len = self.plane_len();
        let (red, rest) = self.levels.split_at_mut(plane_len);
        let (green, blue) = rest.split_at_mut(plane_len);
        Some([red, green, blue])
    }
}

/// Pillow's `convert("L")`: ITU-R 601 weights in 16-bit fixed point, rounded.
pub(super) fn grey_of(r: u8, g: u8, b: u8) -> u8 {
    let sum = u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000;
    (sum >> 16) as u8
}
