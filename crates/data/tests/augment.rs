//! Whole pipelines: what an image becomes depends on seed, epoch and index only.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::thread;

use ndarray::Array3;
use nearkin_data::{
    Augment, AugmentError, Augmenter, Cutout, Draw, EraseFill, Framing, GaussianNoise, Image,
    Interpolation, RandomBlur, RandomErasing, RandomRotation, Sampling, Warp, resize,
};

fn photo(size: (usize, usize), channels: usize) -> Image {
    let levels = (0..size.0 * size.1 * channels).map(|i| (i * i / 7 + i * 13) as u8).collect();
    Image::new(size, channels, levels).unwrap()
}

/// Everything at once.
fn everything() -> Augment {
    let warp = Warp { sampling: Sampling::Bicubic, fill: [1, 2, 3] };
    let timm = Augment::timm((24, 20));
    Augment {
        vertical_flip: 0.3,
        rotation: Some(RandomRotation { probability: 0.5, degrees: (-20.0, 20.0), warp }),
        affine: Augment::mnist().affine,
        rand_augment: Augment::timm_rand_augment((24, 20), "rand-m9-n3-mstd0.5")
            .unwrap()
            .rand_augment,
        grayscale: 0.2,
        gaussian_blur: Some(RandomBlur { probability: 0.5, sigma: (0.1, 2.0) }),
        gaussian_noise: Some(GaussianNoise { probability: 0.5, std: (0.0, 9.0) }),
        erasing: Some(RandomErasing::timm(0.5, EraseFill::Pixel)),
        cutout: Some(Cutout { probability: 0.5, side: 5 }),
        ..timm
    }
}

fn augmented(augmenter: &mut Augmenter, image: &Image, draw: Draw) -> Vec<u32> {
    let mut out = vec![0.0_f32; augmenter.shape().iter().product()];
    augmenter.run(image, draw, &mut out).unwrap();
    out.into_iter().map(f32::to_bits).collect()
}

fn draw(index: u64) -> Draw {
    Draw { seed: 11, epoch: 3, index }
}

#[test]
fn threads_order_and_subsets_change_nothing() {
    let images: Vec<Image> = (0..24).map(|i| photo((30 + i, 50 - i), 1 + i % 2 * 2)).collect();
    let fresh = || Augmenter::new(&everything()).unwrap();
    let mut augmenter = fresh();
    let in_order: Vec<_> =
        (0..24).map(|i| augmented(&mut augmenter, &images[i], draw(i as u64))).collect();
    for i in (0..24).rev().step_by(3) {
        let again = augmented(&mut augmenter, &images[i], draw(i as u64));
        assert_eq!(again, in_order[i], "image {i} backwards");
        let alone = augmented(&mut fresh(), &images[i], draw(i as u64));
        assert_eq!(alone, in_order[i], "image {i} alone");
    }
    thread::scope(|scope| {
        for first in 0..4 {
            let (images, in_order) = (&images, &in_order);
            scope.spawn(move || {
                let mut augmenter = fresh();
                for i in (first..24).step_by(4) {
                    let found = augmented(&mut augmenter, &images[i], draw(i as u64));
                    assert_eq!(found, in_order[i], "image {i} on thread {first}");
                }
            });
        }
    });
}

#[test]
fn seed_epoch_and_index_each_make_another_image() {
    let image = photo((40, 40), 3);
    let mut augmenter = Augmenter::new(&everything()).unwrap();
    let base = draw(5);
    let draws =
        [base, Draw { seed: 12, ..base }, Draw { epoch: 4, ..base }, Draw { index: 6, ..base }];
    let results = draws.map(|draw| augmented(&mut augmenter, &image, draw));
    for (i, a) in results.iter().enumerate() {
        assert!(results[..i].iter().all(|b| a != b), "{:?}", draws[i]);
    }
}

#[test]
fn an_operation_that_is_turned_on_leaves_the_others_draws_alone() {
    let image = photo((40, 40), 3);
    let plain = Augment { color_jitter: None, ..Augment::timm((16, 16)) };
    let noisy = Augment {
        gaussian_noise: Some(GaussianNoise { probability: 1.0, std: (9.0, 9.0) }),
        vertical_flip: 1e-12,
        ..plain.clone()
    };
    let [mut plain, mut noisy] = [plain, noisy].map(|a| Augmenter::new(&a).unwrap());
    for index in 0..20 {
        let levels = plain.levels(&image, draw(index)).unwrap();
        assert_eq!(levels, noisy.levels(&image, draw(index)).unwrap());
    }
}

#[test]
fn without_augmentation_an_image_is_resized_and_normalised() {
    let image = photo((20, 30), 3);
    let mut augmenter =
        Augmenter::new(&Augment::none((8, 9), &[0.5, 0.4, 0.3], &[0.2, 0.3, 0.4])).unwrap();
    let planes =
        Array3::from_shape_fn((3, 20, 30), |(c, y, x)| image.levels()[(y * 30 + x) * 3 + c]);
    let expected = resize(planes.view(), (8, 9), Interpolation::Bilinear).unwrap();
    assert_eq!(augmenter.levels(&image, draw(0)).unwrap(), expected);
    let mut out = vec![0.0; 3 * 8 * 9];
    augmenter.run(&image, draw(0), &mut out).unwrap();
    let value = (f32::from(expected[[1, 7, 8]]) / 255.0 - 0.4) / 0.3;
    assert!((out[2 * 72 - 1] - value).abs() < 1e-6);
}

#[test]
fn grey_and_rgb_meet_the_models_channels() {
    let mut to_grey = Augmenter::new(&Augment::none((1, 1), &[0.0], &[1.0])).unwrap();
    let red = Image::new((1, 1), 3, vec![255, 0, 0]).unwrap();
    assert_eq!(to_grey.levels(&red, draw(0)).unwrap().as_slice(), Some(&[76][..]));
    let mut to_rgb = Augmenter::new(&Augment::none((1, 1), &[0.0; 3], &[1.0; 3])).unwrap();
    let grey = Image::new((1, 1), 1, vec![9]).unwrap();
    assert_eq!(to_rgb.levels(&grey, draw(0)).unwrap().as_slice(), Some(&[9, 9, 9][..]));
}

#[test]
fn half_of_the_images_are_flipped() {
    let image = Image::new((1, 2), 1, vec![0, 255]).unwrap();
    let augment = Augment { horizontal_flip: 0.5, ..Augment::none((1, 2), &[0.0], &[1.0]) };
    let mut augmenter = Augmenter::new(&augment).unwrap();
    let mut first = |index| augmenter.levels(&image, draw(index)).unwrap()[[0, 0, 0]];
    let flipped = (0..4000).filter(|&index| first(index) == 255).count();
    // Four standard deviations of a binomial.
    assert!(flipped.abs_diff(2000) < 127, "{flipped}");
}

#[test]
fn padding_and_cropping_reaches_each_shift_equally_often() {
    let mut levels = vec![0; 49];
    levels[3 * 7 + 3] = 255;
    let image = Image::new((7, 7), 1, levels).unwrap();
    let framing = Framing::PadAndCrop { padding: 1, fill: [9; 3] };
    let augment = Augment { framing, ..Augment::none((7, 7), &[0.0], &[1.0]) };
    let mut augmenter = Augmenter::new(&augment).unwrap();
    let mut counts = [0_i32; 9];
    for index in 0..4500 {
        let levels = augmenter.levels(&image, draw(index)).unwrap();
        let ((_, y, x), _) = levels.indexed_iter().find(|&(_, &level)| level == 255).unwrap();
        counts[(y - 2) * 3 + x - 2] += 1;
        assert_eq!(levels[[0, 0, 0]] == 9, y == 4 || x == 4, "the border is filled");
    }
    let chi2: f64 = counts.iter().map(|&n| f64::from((n - 500).pow(2)) / 500.0).sum();
    assert!(chi2 < 26.1, "{counts:?}: χ² {chi2}, 99.9 % lie below 26.1");
}

#[test]
fn wrong_lengths_and_sides_are_refused() {
    let mut augmenter = Augmenter::new(&Augment::cifar()).unwrap();
    let error = augmenter.run(&photo((3, 3), 3), draw(0), &mut [0.0; 7]).unwrap_err();
    assert_eq!(error, AugmentError::Output { expected: 3072, found: 7 });
    let error = Augmenter::new(&Augment::timm((0, 8))).unwrap_err().to_string();
    assert_eq!(error, "height to resize to: expected 1 to 65536 pixels, found 0");
    let error = Augmenter::new(&Augment { grayscale: -0.5, ..Augment::timm((8, 8)) }).unwrap_err();
    assert_eq!(error.to_string(), "grayscale: expected a probability from 0 to 1, found -0.5");
}
