//! The scatter as one HTML file that needs nothing else: zoom, pan, hover, classes to toggle.

use std::fmt::Write as _;

use super::palette::{colour, hex};
use super::{PictureError, Scatter, escape};

const TEMPLATE: &str = include_str!("scatter.html");
/// Steps along the extent of an axis.
const STEPS: f32 = 65_535.0;

/// A scatter to explore in a browser, as one self-contained HTML document.
///
/// Hovering shows a point's name, class and coordinates; wheel and drag zoom and move, or turn three
/// dimensions; the legend hides and shows classes; the keyboard does the same. Light and dark follow
/// the system. Nothing is fetched, and the page's own policy forbids it. Coordinates are embedded as
/// 16-bit steps of each axis' extent: 70,000 points take about 0.6 MB without names.
///
/// # Errors
/// [`PictureError`]: positions, labels or names that do not fit; more than 65,536 classes.
///
/// # Examples
/// ```
/// use nearkin_graph::map::{Scatter, html};
/// let positions = ndarray::arr2(&[[0.0, 0.0], [1.0, 2.0]]);
/// let scatter = Scatter {
///     positions: positions.view(),
///     labels: &[0, 1],
///     classes: &["</script>".to_owned(), "dog".to_owned()],
///     names: &[],
///     title: "a < b",
/// };
/// let page = html(&scatter)?;
/// assert!(page.contains("<h1>a &lt; b</h1>") && page.contains(r#""\u003c/script>""#));
/// # Ok::<(), nearkin_graph::map::PictureError>(())
/// ```
pub fn html(scatter: &Scatter<'_>) -> Result<String, PictureError> {
    scatter.check()?;
    if let Some((row, &found)) =
        scatter.labels.iter().enumerate().find(|(_, label)| u16::try_from(**label).is_err())
    {
        return Err(PictureError::Label { row, classes: 1 << 16, found });
    }
    let title = if scatter.title.is_empty() { "Map" } else { scatter.title };
    let mut page = String::new();
    // Cut, not replaced: what is inserted may contain the template's own marks.
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        page.push_str(&if name == "data" { data(scatter) } else { escape(title) });
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

fn data(scatter: &Scatter<'_>) -> String {
    let axes = scatter.positions.columns().into_iter().map(|column| {
        let low = column.iter().copied().fold(f32::INFINITY, f32::min);
        let high = column.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Divided first: the extent of finite values need not be finite.
        if low <= high { (low, high / STEPS - low / STEPS) } else { (0.0, 0.0) }
    });
    let axes: Vec<(f32, f32)> = axes.collect();
    let code = |value: f32, (low, step): (f32, f32)| {
        let steps = if step > 0.0 { (value / step - low / step).round() } else { 0.0 };
        steps.clamp(0.0, STEPS) as u16
    };
    let positions = scatter.positions.rows().into_iter();
    let positions = positions.flat_map(|row| row.to_vec().into_iter().zip(axes.clone()));
    let labels = scatter.labels.iter().map(|&label| label as u16);
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    let text = |texts: &[String]| list(texts.iter().map(|text| json(text)).collect());
    format!(
        "{{\"dimensions\":{},\"low\":{},\"step\":{},\"positions\":\"{}\",\"labels\":\"{}\",\
         \"classes\":{},\"colours\":{},\"names\":{}}}",
        scatter.positions.ncols(),
        list(axes.iter().map(|(low, _)| low.to_string()).collect()),
        list(axes.iter().map(|(_, step)| step.to_string()).collect()),
        base64(positions.flat_map(|(value, axis)| code(value, axis).to_le_bytes())),
        base64(labels.flat_map(u16::to_le_bytes)),
        text(scatter.classes),
        list((0..scatter.classes.len()).map(|class| json(&hex(colour(class)))).collect()),
        text(scatter.names),
    )
}

/// A JSON string that is safe inside a script element.
fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // A tag or comment would end or hide the element that holds it.
            '<' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// RFC 4648, with padding.
fn base64(bytes: impl Iterator<Item = u8>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = bytes.collect();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            out.push(if digit <= chunk.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let check = |text: &str, expected| assert_eq!(base64(text.bytes()), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
    }

    #[test]
    fn strings_cannot_leave_their_element() {
        assert_eq!(json("a\"\\\n</script>"), r#""a\"\\\u000a\u003c/script>""#);
    }

    #[test]
    fn positions_are_coded_from_their_lowest_to_their_highest() {
        let positions = ndarray::arr2(&[[-3e38, 1.0], [3e38, 1.0], [0.0, 1.0]]);
        let scatter = Scatter {
            positions: positions.view(),
            labels: &[0, 0, 0],
            classes: &["{{data}}".to_owned()],
            names: &[],
            title: "",
        };
        let page = html(&scatter).unwrap();
        // 0, 0; 65535, 0; 32768 (rounded from the middle), 0.
        let coded = base64([0, 0, 0, 0, 255, 255, 0, 0, 0, 128, 0, 0].into_iter());
        assert!(page.contains(&format!("\"positions\":\"{coded}\"")), "{page}");
        assert!(page.contains("[\"{{data}}\"]") && !page.contains("{{title}}"));
        assert!(!page.contains("http://") && !page.contains("https://"));
    }
}
