//! Resizing against images that Pillow made (`resize/make.py`): every pixel must be equal.

use ndarray::Array3;
use nearkin_data::{Interpolation, resize};

#[test]
fn every_pixel_equals_pillows() {
    let mut rest = &include_bytes!("resize/cases.bin")[..];
    let mut take = |count: usize| {
        let (taken, remaining) = rest.split_at(count);
        rest = remaining;
        (taken, remaining.is_empty())
    };
    let mut cases = 0;
    loop {
        let kind = match take(1).0[0] {
            0 => Interpolation::Nearest,
            1 => Interpolation::Bilinear,
            _ => Interpolation::Bicubic,
        };
        let [h, w, to_h, to_w] = std::array::from_fn(|_| {
            let side = take(2).0;
            usize::from(u16::from_le_bytes([side[0], side[1]]))
        });
        let image = Array3::from_shape_vec((1, h, w), take(h * w).0.to_vec()).unwrap();
        let (expected, last) = take(to_h * to_w);
        let found = resize(image.view(), (to_h, to_w), kind).unwrap();
        assert_eq!(found.as_slice().unwrap(), expected, "{kind:?}, {h} × {w} to {to_h} × {to_w}");
        cases += 1;
        if last {
            break;
        }
    }
    assert_eq!(cases, 51);
}
