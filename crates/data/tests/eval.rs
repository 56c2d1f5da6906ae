//! The evaluation transform against timm's (`fixtures/pixels/make_eval.py`), and its two paths against
//! each other.

use std::fs;
use std::path::{Path, PathBuf};

use nearkin_data::{
    CropMode, DecodeOptions, Eval, EvalTransform, IMAGENET_MEAN, IMAGENET_STD, Image,
    Interpolation, PreprocessError, decode,
};
use proptest::prelude::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pixels")
}

fn imagenet(size: (usize, usize)) -> Eval {
    Eval {
        size,
        channels: 3,
        mean: IMAGENET_MEAN.to_vec(),
        std: IMAGENET_STD.to_vec(),
        interpolation: Interpolation::Bicubic,
        crop_pct: 0.875,
        crop_mode: CropMode::Center,
    }
}

#[test]
fn levels_equal_timms_in_every_crop_mode_and_kernel() {
    let expected = fs::read(folder().join("eval.rgb")).unwrap();
    let mut rest = &expected[..];
    let mut cases = 0;
    for line in fs::read_to_string(folder().join("eval.tsv")).unwrap().lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, height, width, interpolation, crop_pct, crop_mode, mean] = fields[..] else {
            panic!("{line}")
        };
        let eval = Eval {
            mean: mean.split(',').map(|value| value.parse().unwrap()).collect(),
            interpolation: Interpolation::from_name(interpolation).unwrap(),
            crop_pct: crop_pct.parse().unwrap(),
            crop_mode: CropMode::from_name(crop_mode).unwrap(),
            ..imagenet((height.parse().unwrap(), width.parse().unwrap()))
        };
        let mut transform = EvalTransform::new(&eval).unwrap();
        let (levels, after) = rest.split_at(transform.output_len());
        rest = after;
        let bytes = fs::read(folder().join("files").join(name)).unwrap();
        let mut found = vec![7; levels.len()];
        transform.levels_of_file(&bytes, &DecodeOptions::default(), &mut found).unwrap();
        assert_eq!(found, levels, "{line}");
        let image = decode(&bytes, &DecodeOptions::default()).unwrap();
        found.fill(7);
        transform.levels(&image, &mut found).unwrap();
        assert_eq!(found, levels, "{line}, decoded whole");
        cases += 1;
    }
    assert!(rest.is_empty());
    assert_eq!(cases, 24);
}

#[test]
fn values_equal_torchvisions_to_the_last_bit() {
    let expected = fs::read(folder().join("eval.f32")).unwrap();
    let expected: Vec<f32> = expected
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let mut transform = EvalTransform::new(&imagenet((24, 24))).unwrap();
    let bytes = fs::read(folder().join("files/jpeg-420.jpg")).unwrap();
    let mut found = vec![0.0; expected.len()];
    transform.run_file(&bytes, &DecodeOptions::default(), &mut found).unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found), bits(&expected));
}

fn check(change: impl Fn(&mut Eval), expected_error: &str) {
    let mut eval = imagenet((4, 4));
    change(&mut eval);
    let error = EvalTransform::new(&eval).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(error, Err(expected_error.to_owned()));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    check(|e| e.channels = 2, "model channels: expected 1 or 3, found 2");
    check(|e| e.channels = 1, "mean: expected 1 values, one per channel, found 3");
    let message = "crop_pct: expected a share above 0 and at most 1, found ";
    check(|e| e.crop_pct = 0.0, &format!("{message}0"));
    check(|e| e.crop_pct = 1.5, &format!("{message}1.5"));
    check(|e| e.crop_pct = f64::NAN, &format!("{message}NaN"));
    check(|e| e.size.0 = 0, "height to resize to: expected 1 to 65536 pixels, found 0");
    check(
        |e| e.crop_pct = 1.0 / 1024.0 / 32.0,
        "height to resize to: expected 1 to 65536 pixels, found 131072",
    );
}

#[test]
fn an_image_that_would_become_too_long_and_a_wrong_buffer_are_refused() {
    let mut transform = EvalTransform::new(&imagenet((224, 224))).unwrap();
    let image = Image::new((1, 1000), 1, vec![0; 1000]).unwrap();
    let mut out = vec![0; transform.output_len()];
    let error = transform.levels(&image, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "width to resize to: expected 1 to 65536 pixels, found 256000");
    // timm cannot resize it either: by the longer side, nothing is left of the shorter.
    let border = Eval { crop_mode: CropMode::Border, ..imagenet((224, 224)) };
    let error = EvalTransform::new(&border).unwrap().levels(&image, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "height to resize to: expected 1 to 65536 pixels, found 0");
    let error = transform.levels(&image, &mut out[1..]).unwrap_err();
    assert_eq!(error, PreprocessError::Output { expected: 150_528, found: 150_527 });
}

proptest! {
    #[test]
    fn any_image_gives_the_input_its_size_and_grey_gives_equal_channels(
        size in (1_usize..40, 1_usize..40), to in (1_usize..40, 1_usize..40),
        crop_pct in 0.3_f64..=1.0, level: u8,
        crop_mode in prop::sample::select(vec![CropMode::Center, CropMode::Squash]),
    ) {
        let eval = Eval { crop_pct, crop_mode, ..imagenet(to) };
        let mut transform = EvalTransform::new(&eval).unwrap();
        let image = Image::new(size, 1, vec![level; size.0 * size.1]).unwrap();
        let mut out = vec![0; transform.output_len()];
        transform.levels(&image, &mut out).unwrap();
        prop_assert!(out.iter().all(|&found| found == level), "{:?}", out);
    }
}
