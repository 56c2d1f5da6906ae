//! Colours that stay apart for most kinds of colour blindness, and how classes get them.

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// M. A. Petroff's ten colours, 2021, *Accessible Color Sequences for Data Visualization*,
/// <https://arxiv.org/abs/2107.02270>: chosen to be told apart also with the common deficiencies of
/// colour vision, and on white and black.
pub const PALETTE: [Rgb; 10] = [
    [0x3f, 0x90, 0xda],
    [0xff, 0xa9, 0x0e],
    [0xbd, 0x1f, 0x01],
    [0x94, 0xa4, 0xa2],
    [0x83, 0x2d, 0xb6],
    [0xa9, 0x6b, 0x59],
    [0xe7, 0x63, 0x00],
    [0xb9, 0xac, 0x70],
    [0x71, 0x75, 0x81],
    [0x92, 0xda, 0xdd],
];

/// The colour of a class: the palette, then the palette darkened and lightened in turn.
pub fn colour(class: usize) -> Rgb {
    let base = PALETTE[class % PALETTE.len()];
    match class / PALETTE.len() % 3 {
        0 => base,
        1 => base.map(|v| (u16::from(v) * 5 / 9) as u8),
        _ => base.map(|v| 255 - ((255 - u16::from(v)) * 4 / 9) as u8),
    }
}

/// `#rrggbb`.
pub(super) fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}
