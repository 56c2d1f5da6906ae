//! What makes an image recognisable: a digest of its pixels, and two perceptual hashes.
//!
//! Both hashes are those of the `ImageHash` package (<https://github.com/JohannesBuchner/imagehash>),
//! on one bicubic reduction instead of two by Lanczos' kernel: pHash after Zauner, "Implementation and Benchmarking
//! of Perceptual Image Hash Functions", 2010, <https://www.phash.org/docs/pubs/thesis_zauner.pdf>,
//! section 3.2.1, and dHash after Krawetz, <https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html>.
//! They outlive another size, another quality and a slight change of colour; they do not outlive a
//! crop, a rotation or a mirror.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use crate::{Image, Interpolation, ResizeError, Resizer};

/// The side of the grey image that pHash is made from.
const SIDE: usize = 32;
/// Rows and columns of cosine coefficients kept.
const KEPT: usize = 8;
/// Fraction bits of the cosines: 8 + 5 + 5 + 2 · 20 bits of a sum stay inside i64.
const COSINE_BITS: u32 = 20;
/// Below this difference of the brightest and the darkest of 32 × 32 levels an image is flat: what
/// is left is noise, and the hashes of all flat images would agree by it.
pub(super) const FLAT_RANGE: u8 = 8;

/// The side of the levels that confirm a match.
const CONFIRMING_SIDE: usize = 16;
/// Two images are alike if their hashes are near and the correlation of their 16 × 16 levels is at
/// least this.
///
/// Measured: copies in another quality (JPEG, 30 to 90) or size reach 0.997; images of MNIST whose
/// hashes differ in at most 4 bits lie at 0.92 in the median, and one pair in a thousand reaches
/// 0.995. A copy made brighter by a fifth may fall below it.
pub const NEAR_CORRELATION: f64 = 0.995;

/// Both perceptual hashes of an image that is not flat, and the levels that confirm a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    pub(super) hash: PerceptualHash,
    levels: [u8; CONFIRMING_SIDE * CONFIRMING_SIDE],
    sum: u32,
    sum_of_squares: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PerceptualHash {
    pub(super) phash: u64,
    pub(super) dhash: u64,
}

impl PerceptualHash {
    /// The larger of the two Hamming distances, 0 to 64: images are alike if both hashes say so.
    pub(super) fn distance(self, other: Self) -> u32 {
        (self.phash ^ other.phash).count_ones().max((self.dhash ^ other.dhash).count_ones())
    }
}

impl Likeness {
    /// The likeness of `image`, `None` if it is flat.
    ///
    /// Grey is (19595 R + 38470 G + 7471 B + 32768) / 65536, as Pillow's `convert("L")`, reduced
    /// once to 32 × 32 levels. pHash is a bit for each of the 8 × 8 lowest coefficients of their
    /// two-dimensional cosine transform: whether it is above the median. dHash is a bit for each of
    /// 8 × 8 neighbours in 8 rows of 9 levels: whether the right one is brighter. The first bit is
    /// the highest. Integers throughout, so that a symmetric image's coefficients are exactly 0 and
    /// every machine finds the same bits. The confirming levels are means of 2 × 2.
    ///
    /// # Errors
    /// [`ResizeError::Side`] for a side beyond [`crate::MAX_SIDE`].
    pub(super) fn of(image: &Image) -> Result<Option<Self>, ResizeError> {
        let small = reduced(&grey_levels(image), image.size(), (SIDE, SIDE))?;
        let range = small.iter().max().zip(small.iter().min()).map_or(0, |(max, min)| max - min);
        if range < FLAT_RANGE {
            return Ok(None);
        }
        let rows = reduced(&small, (SIDE, SIDE), (8, 9))?;
        let hash = PerceptualHash { phash: phash(&small), dhash: dhash(&rows) };
        let levels = std::array::from_fn(|i| {
            let corner = i / CONFIRMING_SIDE * 2 * SIDE + i % CONFIRMING_SIDE * 2;
            let four = [corner, corner + 1, corner + SIDE, corner + SIDE + 1];
            (four.iter().map(|&at| u32::from(small[at])).sum::<u32>() / 4) as u8
        });
        let sum = levels.iter().map(|&level| u32::from(level)).sum();
        let sum_of_squares = levels.iter().map(|&level| u32::from(level).pow(2)).sum();
        Ok(Some(Self { hash, levels, sum, sum_of_squares }))
    }

    /// Whether the correlation of both images' levels is at least [`NEAR_CORRELATION`].
    pub(super) fn confirms(&self, other: &Self) -> bool {
        let products = self.levels.iter().zip(&other.levels);
        let products: u32 = products.map(|(&a, &b)| u32::from(a) * u32::from(b)).sum();
        let n = (CONFIRMING_SIDE * CONFIRMING_SIDE) as f64;
        let covariance = n * f64::from(products) - f64::from(self.sum) * f64::from(other.sum);
        let bound = NEAR_CORRELATION.powi(2) * self.variance() * other.variance();
        covariance > 0.0 && covariance.powi(2) >= bound
    }

    /// n² times the variance of the levels, exact in f64.
    fn variance(&self) -> f64 {
        let n = (CONFIRMING_SIDE * CONFIRMING_SIDE) as f64;
        n * f64::from(self.sum_of_squares) - f64::from(self.sum).powi(2)
    }
}

fn reduced(
    levels: &[u8],
    from: (usize, usize),
    to: (usize, usize),
) -> Result<Vec<u8>, ResizeError> {
    let mut target = vec![0; to.0 * to.1];
    Resizer::new(from, to, Interpolation::Bicubic)?.run(levels, &mut target);
    Ok(target)
}

/// cos(π u (2 x + 1) / 64) for u < 8 and x < 32, in fixed point.
static COSINES: LazyLock<[[i64; SIDE]; KEPT]> = LazyLock::new(|| {
    let step = std::f64::consts::PI / (2 * SIDE) as f64;
    let scale = f64::from(1_u32 << COSINE_BITS);
    std::array::from_fn(|u| {
        std::array::from_fn(|x| {
            // The second half mirrors the first with sign (−1)^u: taken from it, so that symmetric
            // levels cancel exactly.
            let (x, sign) =
                if x < SIDE / 2 { (x, 1) } else { (SIDE - 1 - x, if u % 2 == 0 { 1 } else { -1 }) };
            sign * ((step * (u * (2 * x + 1)) as f64).cos() * scale).round() as i64
        })
    })
});

fn phash(levels: &[u8]) -> u64 {
    // Along the rows: [SIDE, KEPT].
    let rows: Vec<[i64; KEPT]> = levels
        .chunks_exact(SIDE)
        .map(|row| {
            std::array::from_fn(|v| {
                row.iter().zip(&COSINES[v]).map(|(&level, &c)| i64::from(level) * c).sum()
            })
        })
        .collect();
    let mut coefficients = [0_i64; KEPT * KEPT];
    for (u, cosines) in COSINES.iter().enumerate() {
        for v in 0..KEPT {
            coefficients[u * KEPT + v] = rows.iter().zip(cosines).map(|(row, &c)| row[v] * c).sum();
        }
    }
    let mut sorted = coefficients;
    sorted.sort_unstable();
    let twice_median = sorted[31] + sorted[32];
    bits(coefficients.iter().map(|&c| 2 * c > twice_median))
}

fn dhash(levels: &[u8]) -> u64 {
    bits(levels.chunks_exact(9).flat_map(|row| row.windows(2).map(|pair| pair[1] > pair[0])))
}

/// 64 bits, the first of them the highest.
fn bits(set: impl Iterator<Item = bool>) -> u64 {
    set.fold(0, |all, bit| all << 1 | u64::from(bit))
}

fn grey_levels(image: &Image) -> Vec<u8> {
    if image.channels() == 1 {
        return image.levels().to_vec();
    }
    let grey = |pixel: &[u8]| {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16) as u8
    };
    image.levels().chunks_exact(3).map(grey).collect()
}

/// SHA-256 of height, width, channels and levels. RGB pixels that are all grey count as grey, so
/// that an image is the same in a file of either kind.
pub(super) fn pixel_digest(image: &Image) -> [u8; 32] {
    let (height, width) = image.size();
    let levels = image.levels();
    let coloured =
        image.channels() == 3 && levels.chunks_exact(3).any(|p| p[0] != p[1] || p[1] != p[2]);
    let mut sha = Sha256::new();
    for number in [height, width, if coloured { 3 } else { 1 }] {
        sha.update((number as u64).to_le_bytes());
    }
    if image.channels() == 3 && !coloured {
        let grey: Vec<u8> = levels.iter().step_by(3).copied().collect();
        sha.update(grey);
    } else {
        sha.update(levels);
    }
    sha.finalize().into()
}

/// SHA-256 of a file's bytes.
pub(super) fn byte_digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn grey(size: (usize, usize), level: impl Fn(usize, usize) -> u8) -> Image {
        let levels = (0..size.0 * size.1).map(|i| level(i / size.1, i % size.1)).collect();
        Image::new(size, 1, levels).unwrap()
    }

    /// The definition, in floating point.
    fn phash_by_definition(levels: &[u8]) -> u64 {
        let step = std::f64::consts::PI / 64.0;
        let mut coefficients = Vec::new();
        for u in 0..8 {
            for v in 0..8 {
                let mut sum = 0.0;
                for (i, &level) in levels.iter().enumerate() {
                    let (y, x) = (i / 32, i % 32);
                    sum += f64::from(level)
                        * (step * (u * (2 * y + 1)) as f64).cos()
                        * (step * (v * (2 * x + 1)) as f64).cos();
                }
                coefficients.push(sum);
            }
        }
        let mut sorted = coefficients.clone();
        sorted.sort_by(f64::total_cmp);
        let median = f64::midpoint(sorted[31], sorted[32]);
        bits(coefficients.iter().map(|&c| c > median))
    }

    #[test]
    fn integer_cosines_give_the_bits_of_the_definition() {
        let mut random = crate::random::SplitMix64(5);
        for _ in 0..50 {
            let levels: Vec<u8> = (0..1024).map(|_| random.next_u64() as u8).collect();
            assert_eq!(phash(&levels), phash_by_definition(&levels));
        }
    }

    fn likeness(image: &Image) -> Likeness {
        Likeness::of(image).unwrap().unwrap()
    }

    #[test]
    fn a_mirror_symmetric_image_has_no_odd_coefficient() {
        let hash = likeness(&grey((32, 32), |_, x| (x.min(31 - x) * 7) as u8)).hash;
        // Odd columns of coefficients are exactly 0, and so is the median: their bits are clear.
        assert_eq!(hash.phash & 0x5555_5555_5555_5555, 0);
    }

    #[test]
    fn rising_levels_set_every_bit_of_dhash_and_falling_ones_none() {
        let rising = grey((32, 32), |_, x| (x * 7) as u8);
        assert_eq!(likeness(&rising).hash.dhash, u64::MAX);
        let falling = grey((32, 32), |_, x| 250 - (x * 7) as u8);
        assert_eq!(likeness(&falling).hash.dhash, 0);
    }

    #[test]
    fn a_flat_image_has_no_likeness() {
        let flat = grey((20, 30), |y, x| 100 + ((y * 5 + x * 3) % 4) as u8);
        assert_eq!(Likeness::of(&flat), Ok(None));
        assert!(Likeness::of(&grey((1, 2), |_, x| (x * 255) as u8)).unwrap().is_some());
    }

    #[test]
    fn another_brightness_and_contrast_is_confirmed_and_another_image_is_not() {
        let image = likeness(&grey((40, 40), |y, x| (20 + y * 3 + x) as u8));
        let brighter = likeness(&grey((40, 40), |y, x| (60 + (y * 3 + x) * 4 / 5) as u8));
        let turned = likeness(&grey((40, 40), |y, x| (20 + x * 3 + y) as u8));
        let negative = likeness(&grey((40, 40), |y, x| (235 - y * 3 - x) as u8));
        assert!(image.confirms(&image) && image.confirms(&brighter));
        assert!(!image.confirms(&turned) && !image.confirms(&negative));
    }

    #[test]
    fn hashes_are_those_of_imagehash_on_the_same_reduction() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/check");
        let hashes = std::fs::read(folder.join("hashes.json")).unwrap();
        let hashes: BTreeMap<String, [String; 2]> = serde_json::from_slice(&hashes).unwrap();
        assert_eq!(hashes.len(), 11);
        for (name, [phash, dhash]) in hashes {
            let bytes = std::fs::read(folder.join("shapes").join(&name)).unwrap();
            let image = crate::decode(&bytes, &crate::DecodeOptions::default()).unwrap();
            let hash = likeness(&image).hash;
            let found = [hash.phash, hash.dhash].map(|word| format!("{word:016x}"));
            assert_eq!(found, [phash, dhash], "{name}");
        }
    }

    #[test]
    fn grey_pixels_have_one_digest_in_grey_and_in_colour() {
        let image = Image::new((1, 2), 1, vec![3, 200]).unwrap();
        let rgb = Image::new((1, 2), 3, vec![3, 3, 3, 200, 200, 200]).unwrap();
        assert_eq!(pixel_digest(&image), pixel_digest(&rgb));
        let red = Image::new((1, 2), 3, vec![4, 3, 3, 200, 200, 200]).unwrap();
        assert_ne!(pixel_digest(&red), pixel_digest(&rgb));
        let column = Image::new((2, 1), 1, vec![3, 200]).unwrap();
        assert_ne!(pixel_digest(&column), pixel_digest(&image));
    }
}
