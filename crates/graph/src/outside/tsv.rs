//! NSL's graph files: `source<TAB>target[<TAB>weight]`, a line per arc.

use std::fmt::Write as _;

use super::{Collector, NodeNames, OutsideEdges, OutsideError, Unknown, checked_weight};
use crate::graph::GraphView;

/// Reads arcs by the names of their ends, as NSL's `read_tsv_graph` does.
///
/// A missing weight is 1; of repeated arcs the largest weight counts. Lines end in LF or CRLF, empty lines are
/// skipped. Unlike NSL, more than three columns, weights that are negative, infinite or
/// not a number, and unknown names (unless counted) are errors, and arcs from a node to itself are left out
/// and counted. Memory: 12 bytes an arc.
///
/// - `bytes`: the file's content.
/// - `names`: which name is which node.
///
/// # Errors
/// [`OutsideError`], with the line.
///
/// # Examples
/// ```
/// use nearkin_graph::{NodeNames, Unknown, read_tsv_edges};
/// let names = NodeNames::new(&["A", "B", "C"])?;
/// let read = read_tsv_edges(b"A\tB\t0.5\nA\tB\t0.9\nB\tX\n", &names, Unknown::Count)?;
/// assert_eq!(read.graph.view().weight(0, 1), Some(0.9));
/// assert_eq!((read.repeated, read.unknown), (1, 1));
/// # Ok::<(), nearkin_graph::OutsideError>(())
/// ```
pub fn read_tsv_edges(
    bytes: &[u8],
    names: &NodeNames<'_>,
    unknown: Unknown,
) -> Result<OutsideEdges, OutsideError> {
    let mut edges = Collector::new(names, unknown);
    for (text, line) in bytes.split(|&byte| byte == b'\n').zip(1..) {
        let text = str::from_utf8(text).map_err(|_| OutsideError::NotText { line })?;
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            continue;
        }
        let mut columns = text.split('\t');
        let (source, target, weight) = (columns.next(), columns.next(), columns.next());
        let (Some(source), Some(target), None) = (source, target, columns.next()) else {
            return Err(OutsideError::Columns { line, found: text.split('\t').count() });
        };
        let weight = match weight {
            None => 1.0,
            Some(text) => text
                .trim()
                .parse()
                .ok()
                .and_then(checked_weight)
                .ok_or_else(|| OutsideError::Weight { line, found: text.to_owned() })?,
        };
        edges.push(line, [source, target], weight)?;
    }
    edges.finish()
}

/// Writes arcs as NSL's `write_tsv_graph` does, but with weights that read back exactly.
///
/// - `names`: `[n]`, without tabs and line ends.
///
/// # Errors
/// [`OutsideError::Unknown`] with the node for `line` if it has no name, or one that cannot be written.
///
/// # Examples
/// ```
/// use nearkin_graph::{Arc, Graph, Repeats, write_tsv_edges};
/// let arcs = vec![Arc { source: 1, target: 0, weight: 0.5 }];
/// let graph = Graph::from_arcs(2, arcs, Repeats::Refused)?;
/// assert_eq!(write_tsv_edges(graph.view(), &["A", "B"])?, "B\tA\t0.5\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_tsv_edges<S: AsRef<str>>(
    graph: GraphView<'_>,
    names: &[S],
) -> Result<String, OutsideError> {
    let name = |node: u32| {
        let name = names.get(node as usize).map_or("", AsRef::as_ref);
        let writable = !name.is_empty() && !name.contains(['\t', '\n', '\r']);
        let unknown = || OutsideError::Unknown { line: node as usize, found: name.to_owned() };
        writable.then_some(name).ok_or_else(unknown)
    };
    let mut text = String::new();
    for arc in graph.arcs() {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}\t{}\t{}", name(arc.source)?, name(arc.target)?, arc.weight);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Arc, Graph, Repeats};
    use proptest::prelude::*;

    const NAMES: [&str; 3] = ["a", "b", "c d"];

    fn read(text: &[u8], unknown: Unknown) -> Result<OutsideEdges, OutsideError> {
        read_tsv_edges(text, &NodeNames::new(&NAMES).unwrap(), unknown)
    }

    #[test]
    fn errors_say_the_line() {
        let check = |text: &[u8], expected: &str| {
            assert_eq!(read(text, Unknown::Refuse).unwrap_err().to_string(), expected);
        };
        check(b"a\tb\n\na\tx\t1", "line 3: expected the name of a node, found \"x\"");
        check(
            b"a",
            "line 1: expected source, target and perhaps weight, separated by tabs, found 1 columns",
        );
        check(
            b"a\tb\t1\t2\n",
            "line 1: expected source, target and perhaps weight, separated by tabs, found 4 columns",
        );
        for weight in ["", "one", "-1", "nan", "inf", "1e39"] {
            let expected = "line 2, weight: expected a finite number of at least 0, found ";
            check(format!("a\tb\r\nb\ta\t{weight}").as_bytes(), &format!("{expected}{weight:?}"));
        }
        check(b"a\tb\n\xff\tb", "line 2: expected UTF-8, found other bytes");
        let error = NodeNames::new(&["a", "b", "a"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "names of nodes: expected each once, found \"a\" for nodes 0 and 2"
        );
    }

    #[test]
    fn loops_and_unknown_ends_are_left_out_and_counted() {
        let text = b"a\ta\t9\nx\ty\nb\ta\t-0\r\nb\tc d\nb\tc d\t0.5\n";
        let edges = read(text, Unknown::Count).unwrap();
        assert_eq!((edges.loops, edges.unknown, edges.repeated), (1, 1, 1));
        assert_eq!(edges.graph.view().neighbours(1), ([0, 2].as_slice(), [0.0, 1.0].as_slice()));
    }

    #[test]
    fn names_that_would_break_a_line_are_not_written() {
        let arcs = vec![Arc { source: 0, target: 1, weight: 1.0 }];
        let graph = Graph::from_arcs(2, arcs, Repeats::Refused).unwrap();
        for names in [vec!["a"], vec!["a", ""], vec!["a", "b\tc"], vec!["a\n", "b"]] {
            assert!(write_tsv_edges(graph.view(), &names).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(weights in prop::collection::vec(0.0_f32..1e30, 6)) {
            let pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
            let arcs = pairs.iter().zip(weights);
            let arcs = arcs.map(|(&(source, target), weight)| Arc { source, target, weight }).collect();
            let graph = Graph::from_arcs(3, arcs, Repeats::Refused).unwrap();
            let text = write_tsv_edges(graph.view(), &NAMES).unwrap();
            prop_assert_eq!(read(text.as_bytes(), Unknown::Refuse).unwrap().graph, graph);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop::sample::select(b"ab \t\n\r1.e-x\xff".to_vec()), 0..40)) {
            for unknown in [Unknown::Count, Unknown::Refuse] {
                if let Ok(edges) = read(&bytes, unknown) {
                    let lines = bytes.split(|&b| b == b'\n').count();
                    let counted = edges.graph.view().arc_count() + edges.unknown + edges.loops + edges.repeated;
                    prop_assert!(counted <= lines);
                }
            }
        }
    }
}
