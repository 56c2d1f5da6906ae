//! One decoded image.

use thiserror::Error;

use crate::Region;

/// Levels `[H, W, C]`, C of 1 (grey) or 3 (RGB) interleaved, no side empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    channels: usize,
    levels: Vec<u8>,
}

/// Why levels do not make an image.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// Neither grey nor RGB.
    #[error("channels: expected 1 or 3, found {found}")]
    Channels {
        /// Channels given.
        found: usize,
    },
    /// An empty side, or another number of levels than the sides ask for.
    #[error("levels: expected {height} × {width} × {channels}, at least one, found {found}")]
    Levels {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// Channels.
        channels: usize,
        /// Levels given.
        found: usize,
    },
    /// A region reaches outside the image or is empty.
    #[error("region {region}: expected pixels inside {height} × {width} (height × width)")]
    Region {
        /// The region asked for.
        region: Region,
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
}

impl Image {
    /// Checks and joins sides and levels.
    ///
    /// - `size`: height and width, each at least 1.
    /// - `channels`: 1 or 3.
    /// - `levels`: `[H, W, C]`, row-major.
    ///
    /// # Errors
    /// [`ImageError::Channels`], [`ImageError::Levels`].
    pub fn new(size: (usize, usize), channels: usize, levels: Vec<u8>) -> Result<Self, ImageError> {
        let (height, width) = size;
        if channels != 1 && channels != 3 {
            return Err(ImageError::Channels { found: channels });
        }
        let expected = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
        if levels.is_empty() || expected != Some(levels.len()) {
            return Err(ImageError::Levels { height, width, channels, found: levels.len() });
        }
        Ok(Self { height, width, channels, levels })
    }

    /// Height and width in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// 1 (grey) or 3 (RGB).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All levels, `[H, W, C]`, row-major.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }

    /// The levels, without a copy.
    pub fn into_levels(self) -> Vec<u8> {
        self.levels
    }

    /// A copy of the pixels in `region`.
    ///
    /// # Errors
    /// [`ImageError::Region`] if it is empty or reaches outside.
    pub fn crop(&self, region: Region) -> Result<Self, ImageError> {
        let (height, width) = self.size();
        let Region { top, left, height: rows, width: columns } = region;
        let inside = |start: usize, len: usize, side: usize| {
            len > 0 && start.checked_add(len).is_some_and(|end| end <= side)
        };
        if !inside(top, rows, height) || !inside(left, columns, width) {
            return Err(ImageError::Region { region, height, width });
        }
        let row_len = width * self.channels;
        let levels = self.levels[top * row_len..(top + rows) * row_len]
            .chunks_exact(row_len)
            .flat_map(|row| &row[left * self.channels..(left + columns) * self.channels])
            .copied()
            .collect();
        Ok(Self { height: rows, width: columns, channels: self.channels, levels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_keeps_the_pixels_of_its_region() {
        let image = Image::new((2, 3), 3, (0..18).collect()).unwrap();
        let crop = image.crop(Region { top: 1, left: 1, height: 1, width: 2 }).unwrap();
        assert_eq!((crop.size(), crop.levels()), ((1, 2), &[12, 13, 14, 15, 16, 17][..]));
    }

    #[test]
    fn what_makes_no_image_is_refused() {
        let error = Image::new((2, 3), 2, vec![0; 12]).unwrap_err().to_string();
        assert_eq!(error, "channels: expected 1 or 3, found 2");
        let error = Image::new((2, 3), 1, vec![0; 5]).unwrap_err().to_string();
        assert_eq!(error, "levels: expected 2 × 3 × 1, at least one, found 5");
        assert!(Image::new((0, 3), 1, vec![]).is_err());
        let image = Image::new((2, 3), 1, vec![0; 6]).unwrap();
        let error = image.crop(Region { top: 1, left: 0, height: 2, width: 1 }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "region 1 × 2 at (0, 1): expected pixels inside 2 × 3 (height × width)"
        );
        assert!(image.crop(Region { top: usize::MAX, left: 0, height: 2, width: 1 }).is_err());
    }
}
