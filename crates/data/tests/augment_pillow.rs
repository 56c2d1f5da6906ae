//! Operations against images that Pillow made (`fixtures/augment/make.py`): every level must be equal.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;

use nearkin_data::{Image, Operation, Sampling, Warp};

const CASES: &str = include_str!("../../../fixtures/augment/cases.txt");
const LEVELS: &[u8] = include_bytes!("../../../fixtures/augment/levels.bin");

fn operation(name: &str, factors: &[f64]) -> Operation {
    let warp = |sampling| Warp { sampling, fill: [124, 16, 204] };
    let sampling = || match name.rsplit('_').next() {
        Some("nearest") => Sampling::Nearest,
        Some("bilinear") => Sampling::Bilinear,
        _ => Sampling::Bicubic,
    };
    match (name, factors) {
        ("autocontrast", []) => Operation::AutoContrast,
        ("equalize", []) => Operation::Equalize,
        ("invert", []) => Operation::Invert,
        ("grayscale", []) => Operation::Grayscale,
        ("flip_horizontal", []) => Operation::FlipHorizontal,
        ("flip_vertical", []) => Operation::FlipVertical,
        ("posterize", &[bits]) => Operation::Posterize { bits: bits as u8 },
        ("solarize", &[threshold]) => Operation::Solarize { threshold: threshold as u16 },
        ("solarize_add", &[add, threshold]) => {
            Operation::SolarizeAdd { add: add as u8, threshold: threshold as u16 }
        }
        ("brightness", &[factor]) => Operation::Brightness(factor),
        ("contrast", &[factor]) => Operation::Contrast(factor),
        ("color", &[factor]) => Operation::Color(factor),
        ("sharpness", &[factor]) => Operation::Sharpness(factor),
        ("hue", &[turns]) => Operation::Hue(turns),
        ("gaussian_blur", &[sigma]) => Operation::GaussianBlur { sigma },
        (rotate, &[degrees]) if rotate.starts_with("rotate_") => {
            Operation::Rotate { degrees, warp: warp(sampling()) }
        }
        (affine, factors) if affine.starts_with("affine_") => {
            Operation::Affine { matrix: factors.try_into().unwrap(), warp: warp(sampling()) }
        }
        _ => panic!("{name} {factors:?} is no operation"),
    }
}

#[test]
fn every_level_equals_pillows() {
    let mut rest = LEVELS;
    let mut images = BTreeMap::new();
    let mut compared = 0;
    let mut wrong = Vec::new();
    for line in CASES.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let factors = |from: usize| -> Vec<f64> {
            words[from..].iter().map(|word| word.parse().unwrap()).collect()
        };
        if let ["image", name, height, width, channels] = words[..] {
            let [height, width, channels] = [height, width, channels].map(|n| n.parse().unwrap());
            let (levels, after) = rest.split_at(height * width * channels);
            rest = after;
            let image = Image::new((height, width), channels, levels.to_vec()).unwrap();
            images.insert(name, image);
            continue;
        }
        let image: &Image = &images[words[0]];
        let (expected, after) = rest.split_at(image.levels().len());
        rest = after;
        let found = operation(words[1], &factors(2)).run(image).unwrap();
        let differ = found.levels().iter().zip(expected).filter(|(a, b)| a != b).count();
        if differ > 0 {
            wrong.push(format!("{line}: {differ} of {} levels", expected.len()));
        }
        compared += 1;
    }
    assert!(rest.is_empty());
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(compared, 557);
}

#[test]
fn a_turned_hue_is_pillows() {
    // Read off by hand: Image.new("RGB", (1, 1), (255, 0, 0)), a third of a turn (85 of 255).
    let red = Image::new((1, 1), 3, vec![255, 0, 0]).unwrap();
    assert_eq!(Operation::Hue(1.0 / 3.0).run(&red).unwrap().levels(), [0, 255, 0]);
}

#[test]
fn factors_out_of_range_are_refused() {
    let image = Image::new((1, 1), 1, vec![3]).unwrap();
    let check = |operation: Operation, expected: &str| {
        assert_eq!(operation.run(&image).unwrap_err().to_string(), expected);
    };
    check(Operation::Posterize { bits: 9 }, "posterize bits: expected 0 to 8, found 9");
    check(Operation::Hue(0.7), "hue: expected -0.5 to 0.5 turns, found 0.7");
    check(Operation::Color(f64::NAN), "color factor: expected a finite number, found NaN");
    check(Operation::GaussianBlur { sigma: -1.0 }, "sigma: expected 0 to 1000 pixels, found -1");
}
