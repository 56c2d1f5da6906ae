//! A graph's statistics as a picture: SVG, with nothing to load.
//!
//! Bars for degrees, for edge lengths and for weights, and the share of each label's arcs that leads to each label. It
//! draws no graph: positions of nodes are a map's matter.

use std::fmt::Write as _;

use crate::histogram::Histogram;
use crate::purity::Purity;
use crate::statistics::GraphStatistics;

const PANEL: f64 = 320.0;
const HEIGHT: f64 = 220.0;
const GAP: f64 = 40.0;
/// Room for the title, and for the numbers below a panel.
const TOP: f64 = 64.0;
const BOTTOM: f64 = 48.0;
const BLUE: &str = "#3465a4";
const GREY: &str = "#555753";
/// More bars than this are put together.
const MAX_BARS: usize = 40;
/// Above this many labels a cell has no room for its number.
const MAX_NUMBERED: usize = 12;

impl GraphStatistics {
    /// The picture, as an SVG document of about 10 kB, 100 more for each pair of labels.
    ///
    /// - `title`: above the picture; any text.
    ///
    /// # Examples
    /// ```
    /// use nearkin_graph::{Graph, graph_statistics};
    /// let path = Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![1.0; 4], true)?;
    /// let svg = graph_statistics(path.view(), None, None)?.to_svg("three nodes & two edges");
    /// assert!(svg.starts_with("<svg") && svg.contains("three nodes &amp; two edges"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_svg(&self, title: &str) -> String {
        let mut panels = vec![degree_bars(self)];
        for (name, histogram) in
            [("edge lengths", &self.lengths), ("weights of arcs", &self.weights)]
        {
            panels.extend(histogram.as_ref().map(|histogram| value_bars(name, histogram)));
        }
        panels.extend(self.purity.as_ref().filter(|purity| !purity.classes.is_empty()).map(matrix));
        let width = GAP + panels.len() as f64 * (PANEL + GAP);
        let height = TOP + HEIGHT + BOTTOM;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"{GREY}\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        svg += &text(GAP, 24.0, "start", 16, title);
        for (place, panel) in panels.into_iter().enumerate() {
            let left = GAP + place as f64 * (PANEL + GAP);
            // Writing into a string cannot fail.
            let _ = write!(svg, "<g transform=\"translate({left} {TOP})\">\n{panel}</g>\n");
        }
        svg + "</svg>\n"
    }
}

fn degree_bars(statistics: &GraphStatistics) -> String {
    let highest = statistics.degrees.last().map_or(0, |&(degree, _)| degree);
    let width = (highest + 1).div_ceil(MAX_BARS);
    let mut counts = vec![0; highest / width + 1];
    statistics.degrees.iter().for_each(|&(degree, nodes)| counts[degree / width] += nodes);
    let name = format!("nodes by degree, mean {:.2}", statistics.mean_degree);
    bars(&name, &counts, ["0".to_owned(), highest.to_string()])
}

fn value_bars(name: &str, histogram: &Histogram) -> String {
    let name = format!("{name}, mean {:.4}", histogram.mean);
    bars(&name, &histogram.counts, [histogram.min, histogram.max].map(|v| format!("{v:.4}")))
}

fn bars(name: &str, counts: &[usize], ends: [String; 2]) -> String {
    let most = counts.iter().max().copied().unwrap_or(0);
    let width = PANEL / counts.len().max(1) as f64;
    let mut panel = text(0.0, -8.0, "start", 12, name);
    for (place, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = HEIGHT * count as f64 / most as f64;
        let (x, y) = (place as f64 * width, HEIGHT - height);
        let _ = writeln!(
            panel,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{height:.2}\" fill=\"{BLUE}\">\
             <title>{count}</title></rect>",
            width * 0.9
        );
    }
    let _ = writeln!(panel, "<path d=\"M0 {HEIGHT}H{PANEL}\" stroke=\"{GREY}\"/>");
    panel += &text(PANEL, -8.0, "end", 11, &format!("highest bar {most}"));
    panel += &text(0.0, HEIGHT + 16.0, "start", 11, &ends[0]);
    panel + &text(PANEL, HEIGHT + 16.0, "end", 11, &ends[1])
}

fn matrix(purity: &Purity) -> String {
    let count = purity.classes.len() as f64;
    let (width, height) = (PANEL / count, HEIGHT / count);
    let name = format!("share of arcs from label (row) to label, pure {:.4}", purity.share);
    let mut panel = text(0.0, -8.0, "start", 12, &name);
    for (row, class) in purity.classes.iter().enumerate() {
        for (column, (&share, other)) in class.to.iter().zip(&purity.classes).enumerate() {
            let (x, y) = (column as f64 * width, row as f64 * height);
            let _ = writeln!(
                panel,
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{BLUE}\" \
                 fill-opacity=\"{share:.3}\"><title>{} to {}: {share:.4}</title></rect>",
                class.label, other.label
            );
            if purity.classes.len() <= MAX_NUMBERED {
                let fill = if share > 0.5 { "white" } else { GREY };
                let _ = writeln!(
                    panel,
                    "<text x=\"{:.2}\" y=\"{:.2}\" text-anchor=\"middle\" font-size=\"9\" fill=\"{fill}\">{share:.2}</text>",
                    x + width / 2.0,
                    y + height / 2.0 + 3.0
                );
            }
        }
        if purity.classes.len() <= MAX_NUMBERED {
            let middle = (row as f64 + 0.5) * height + 4.0;
            panel += &text(-4.0, middle, "end", 9, &class.label.to_string());
            let middle = (row as f64 + 0.5) * width;
            panel += &text(middle, HEIGHT + 14.0, "middle", 9, &class.label.to_string());
        }
    }
    let _ = writeln!(
        panel,
        "<rect width=\"{PANEL}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"{GREY}\"/>"
    );
    panel
}

fn text(x: f64, y: f64, anchor: &str, size: u8, content: &str) -> String {
    let content = escaped(content);
    format!(
        "<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{content}</text>\n"
    )
}

/// Text that XML takes as text; characters that XML forbids become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::{Graph, graph_statistics};

    /// Every opened element is closed, in order: what this writer could get wrong.
    fn check_nesting(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("a tag ends");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap());
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_picture_has_a_bar_for_each_degree_and_a_cell_for_each_pair_of_labels() {
        let path =
            Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![0.5, 0.5, 1.0, 1.0], true).unwrap();
        let labels = [Some(3), Some(3), Some(12)];
        let statistics = graph_statistics(path.view(), Some(&labels), Some(&[1.0, 2.0])).unwrap();
        let svg = statistics.to_svg("a < b\u{0}");
        check_nesting(&svg);
        assert!(svg.contains(">a &lt; b </text>"));
        // A background, 2 degrees, 2 lengths, 2 weights, 4 cells and their frame.
        assert_eq!(svg.matches("<rect").count(), 12);
        assert!(svg.contains("<title>3 to 12: 0.3333</title>") && svg.contains("highest bar 2"));
    }

    #[test]
    fn hubs_and_many_labels_keep_the_picture_small() {
        let n = 300_u32;
        let arcs = (1..n).map(|source| crate::Arc { source, target: 0, weight: 1.0 }).collect();
        let star = Graph::from_arcs(n as usize, arcs, crate::Repeats::Refused).unwrap();
        let labels: Vec<_> = (0..n as usize).map(|node| Some(node % 30)).collect();
        let statistics = graph_statistics(star.view(), Some(&labels), None).unwrap();
        let svg = statistics.to_svg("");
        check_nesting(&svg);
        assert!(!svg.contains("NaN") && svg.len() < 200_000, "{} bytes", svg.len());
        let empty = Graph::new(vec![0], vec![], vec![], true).unwrap();
        check_nesting(&graph_statistics(empty.view(), Some(&[]), None).unwrap().to_svg(""));
    }
}
