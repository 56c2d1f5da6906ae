//! A turn of the hue in Pillow's 8-bit HSV, as torchvision's `adjust_hue` on PIL images.
//!
//! RGB to HSV, hue + ⌊255 · factor⌋ towards zero, modulo 256, and back, with the roundings of Pillow's
//! `rgb2hsv` and `hsv2rgb` (after Smith, 1978, <https://doi.org/10.1145/965139.807361>). The trip is
//! lossy even without a turn, as Pillow's is.

use super::canvas::Canvas;

/// `factor` is in turns, −0.5 to 0.5.
pub(super) fn hue(canvas: &mut Canvas, factor: f64) {
    let turn = (factor * 255.0) as i32 as u8;
    if let Some([red, green, blue]) = canvas.rgb_mut() {
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            let [h, s, v] = to_hsv(*r, *g, *b);
            [*r, *g, *b] = to_rgb(h.wrapping_add(turn), s, v);
        }
    }
}

fn to_hsv(r: u8, g: u8, b: u8) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [rc, gc, bc] = [r, g, b].map(|level| f32::from(most - level) / range);
    let sixths = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    // fmod(x, 1), for x from 5/6 to 11/6, is exact either way.
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let turns = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    [(f64::from(turns) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn to_rgb(h: u8, s: u8, v: u8) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixths = f64::from(h) * 6.0 / 255.0;
    let sector = sixths.floor();
    let rest = (sixths - sector) as f32;
    let saturation = (f64::from(s) / 255.0) as f32;
    let level = |share: f64| (f64::from(v) * (1.0 - share)).round() as u8;
    let p = level(f64::from(saturation));
    let q = level(f64::from(saturation * rest));
    let t = level(f64::from(saturation) * (1.0 - f64::from(rest)));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
