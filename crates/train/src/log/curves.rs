//! Curves of a training over its epochs, as SVG and as a page of their own.

use std::fmt::Write as _;

use super::Record;

/// Curves of a training, a chart for each group of numbers: the part of a name after its last `/`.
#[derive(Clone, Debug)]
pub struct Curves {
    charts: Vec<Chart>,
}

#[derive(Clone, Debug)]
struct Chart {
    title: String,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 26.0;
const RIGHT: f64 = 12.0;
/// Okabe and Ito's colours, told apart by the colour-blind.
const COLOURS: [&str; 6] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

impl Curves {
    /// Curves of these epochs.
    pub fn new(epochs: &[Record]) -> Self {
        let mut charts: Vec<Chart> = Vec::new();
        for record in epochs {
            for (name, value) in record.values.iter().filter(|(_, value)| value.is_finite()) {
                let (line, title) = name.rsplit_once('/').unwrap_or(("", name));
                let place = charts.iter().position(|chart| chart.title == title);
                let place = place.unwrap_or_else(|| {
                    charts.push(Chart { title: title.to_owned(), lines: Vec::new() });
                    charts.len() - 1
                });
                let lines = &mut charts[place].lines;
                let at = lines.iter().position(|(known, _)| known == line).unwrap_or_else(|| {
                    lines.push((line.to_owned(), Vec::new()));
                    lines.len() - 1
                });
                lines[at].1.push((record.epoch as f64 + 1.0, *value));
            }
        }
        Self { charts }
    }

    /// All charts, two in a row.
    pub fn svg(&self) -> String {
        let rows = self.charts.len().div_ceil(2).max(1) as f64;
        let (width, height) = (2.0 * WIDTH, rows * HEIGHT);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for (i, chart) in self.charts.iter().enumerate() {
            let (x, y) = ((i % 2) as f64 * WIDTH, (i / 2) as f64 * HEIGHT);
            let _ = writeln!(text, "<g transform=\"translate({x} {y})\">{}</g>", chart.svg());
        }
        text + "</svg>\n"
    }

    /// A page with the charts, on which each point tells its number.
    pub fn html(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>training</title>\n\
             <style>body{{font-family:sans-serif;margin:2em}}svg{{max-width:100%;height:auto}}</style>\n\
             <h1>Training</h1>\n{}</html>\n",
            self.svg()
        )
    }
}

impl Chart {
    fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let (x_low, x_high) = range(points().map(|point| point.0));
        let (y_low, y_high) = range(points().map(|point| point.1));
        let x_of = |x: f64| LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let y_of =
            |y: f64| HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - TOP);
        let mut text = format!(
            "<text x=\"{LEFT}\" y=\"15\" font-weight=\"bold\">{}</text>",
            escaped(&self.title)
        );
        for share in [0.0, 0.5, 1.0] {
            let (x, y) = (x_low + share * (x_high - x_low), y_low + share * (y_high - y_low));
            let (at_x, at_y) = (x_of(x), y_of(y));
            let (right, foot, left) = (WIDTH - RIGHT, HEIGHT - 10.0, LEFT - 5.0);
            let _ = write!(
                text,
                "<path d=\"M{LEFT} {at_y:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{left}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{at_x:.1}\" y=\"{foot}\" text-anchor=\"middle\">{}</text>",
                at_y + 4.0,
                short(y),
                short(x)
            );
        }
        for (i, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let path: Vec<String> =
                points.iter().map(|&(x, y)| format!("{:.1} {:.1}", x_of(x), y_of(y))).collect();
            let _ = write!(
                text,
                "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
                path.join("L")
            );
            for &(x, y) in points {
                let _ = write!(
                    text,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.2\" fill=\"{colour}\"><title>{} {}: {}</title></circle>",
                    x_of(x),
                    y_of(y),
                    escaped(name),
                    short(x),
                    short(y)
                );
            }
            let (at, from) = (LEFT + 90.0 * i as f64 + 110.0, 15.0);
            let _ = write!(
                text,
                "<text x=\"{at}\" y=\"{from}\" fill=\"{colour}\">{}</text>",
                escaped(name)
            );
        }
        text
    }
}

/// The smallest and the largest, apart from each other.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low < high { (low, high) } else { (low - 0.5, low + 0.5) }
}

fn short(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && !(1e-3..1e5).contains(&size) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_kind_share_a_chart_and_the_picture_is_xml() {
        let record = |epoch, train, validation| Record {
            kind: "epoch".to_owned(),
            step: epoch,
            epoch,
            values: vec![
                ("train/accuracy".to_owned(), train),
                ("validation/accuracy".to_owned(), validation),
                ("train/a<b".to_owned(), 1e-7),
            ],
        };
        let curves = Curves::new(&[record(0, 0.5, 0.25), record(1, 0.75, 0.5)]);
        assert_eq!(curves.charts.len(), 2);
        assert_eq!(curves.charts[0].lines[1].1, [(1.0, 0.25), (2.0, 0.5)]);
        let svg = curves.svg();
        assert!(svg.contains("a&lt;b") && svg.matches("<circle").count() == 6);
        assert!(curves.html().contains("validation 2: 0.5"));
    }
}
