//! The bytes of a graph file.
//!
//! All numbers are little-endian. A header of 240 bytes: magic (8), version, flags (32 bits each), nodes, arcs, bytes of
//! names, bytes of info (64 bits each), SHA-256 of each section, SHA-256 of the header so far. Then the sections, each
//! beginning at a multiple of 64 and zeros between them: offsets (n + 1 of 64 bits), targets (32 bits), weights (f32),
//! names (UTF-8, a line feed between two), info (JSON). The file ends with the last.
//!
//! Nothing is free to choose: any changed bit is refused.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::DatasetHash;
use crate::graph::{GraphError, GraphView};

/// Not text, and damaged by whatever changes line ends, as PNG's.
const MAGIC: [u8; 8] = *b"\x89NKG\r\n\x1a\n";
const VERSION: u32 = 1;
const SYMMETRIC: u32 = 1;
const HAS_NAMES: u32 = 2;
const SECTIONS: [&str; 5] = ["offsets", "targets", "weights", "names", "info"];
/// Magic, version, flags and four sizes.
const SUMS: usize = 48;
const HEADER_SUM: usize = SUMS + 32 * SECTIONS.len();
const HEADER: usize = HEADER_SUM + 32;
const ALIGN: u64 = 64;

/// How a graph was made, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphInfo {
    /// How, for a reader: `knn 15, mutual, gaussian 2.5`.
    pub made: String,
    /// The distance of the points, by [`crate::Distance::as_str`].
    pub distance: Option<String>,
    /// The points.
    pub dataset: Option<DatasetHash>,
}

impl GraphInfo {
    /// A graph of which nothing else is known.
    pub fn new(made: impl Into<String>) -> Self {
        Self { made: made.into(), distance: None, dataset: None }
    }
}

/// Why bytes are no graph file, or a graph cannot become one.
#[derive(Debug, Error)]
pub enum GraphFileError {
    /// The bytes do not begin as a graph file does.
    #[error("expected a graph file of nearkin, found other content")]
    Magic,
    /// The file is of another version.
    #[error("version: expected {VERSION}, found {found}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// There are fewer or more bytes than the header says.
    #[error("size: expected {expected} bytes, found {found}")]
    Size {
        /// By the header; the header's own size if not even that is there.
        expected: u64,
        /// The number of bytes.
        found: u64,
    },
    /// The sizes in the header are beyond any file.
    #[error("header: expected sizes of a file, found {nodes} nodes and {arcs} arcs")]
    Sizes {
        /// Nodes.
        nodes: u64,
        /// Arcs.
        arcs: u64,
    },
    /// A part is not what was written.
    #[error("{section}: the checksum does not match, the file is damaged")]
    Damaged {
        /// The part: `header`, `padding` or a section.
        section: &'static str,
    },
    /// The header has marks that this version does not know.
    #[error("flags: expected none but {known:#b}, found {found:#b}", known = SYMMETRIC | HAS_NAMES)]
    Flags {
        /// The flags.
        found: u32,
    },
    /// There are not as many names as nodes.
    #[error("names: expected {expected}, one per node, found {found}")]
    Names {
        /// Nodes.
        expected: usize,
        /// Names.
        found: usize,
    },
    /// A name is empty, holds a line end, or is not UTF-8.
    #[error("name of node {node}: expected a line of text, found {found:?}")]
    Name {
        /// The node; 0 if the whole section is not text.
        node: usize,
        /// The name.
        found: String,
    },
    /// The info is not what it should be.
    #[error("info: {0}")]
    Info(#[from] serde_json::Error),
    /// The rows are no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// A graph file's content: borrowed from its bytes where they are aligned and the machine is little-endian.
#[derive(Debug)]
pub struct ParsedGraph<'a> {
    offsets: Cow<'a, [u64]>,
    targets: Cow<'a, [u32]>,
    weights: Cow<'a, [f32]>,
    pub(super) symmetric: bool,
    pub(super) layout: Layout,
    /// The nodes' names, `[n]`, if there are any.
    pub names: Option<Vec<&'a str>>,
    /// How it was made.
    pub info: GraphInfo,
}

impl ParsedGraph<'_> {
    /// The graph, checked.
    pub fn view(&self) -> GraphView<'_> {
        GraphView::trusted(&self.offsets, &self.targets, &self.weights, self.symmetric)
    }

    pub(super) fn is_borrowed(&self) -> bool {
        matches!(
            (&self.offsets, &self.targets, &self.weights),
            (Cow::Borrowed(_), Cow::Borrowed(_), Cow::Borrowed(_))
        )
    }
}

/// Reads the bytes of a graph file and checks all of them. Allocates no more than a copy of them.
///
/// # Errors
/// [`GraphFileError`], with the first thing that is wrong.
///
/// # Examples
/// ```
/// use nearkin_graph::{Graph, GraphInfo, graph_bytes, parse_graph};
/// let graph = Graph::new(vec![0, 1, 2], vec![1, 0], vec![0.5, 0.5], true)?;
/// let mut bytes = graph_bytes(graph.view(), None, &GraphInfo::new("by hand"))?;
/// assert_eq!(parse_graph(&bytes)?.view().weight(1, 0), Some(0.5));
/// bytes.pop();
/// assert!(parse_graph(&bytes).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn parse_graph(bytes: &[u8]) -> Result<ParsedGraph<'_>, GraphFileError> {
    let (header, flags, layout) = read_header(bytes)?;
    let sums = header[SUMS..HEADER_SUM].as_chunks::<32>().0;
    let mut end = HEADER;
    for ((section, range), sum) in SECTIONS.into_iter().zip(&layout.sections).zip(sums) {
        if bytes[end..range.start].iter().any(|&byte| byte != 0) {
            return Err(GraphFileError::Damaged { section: "padding" });
        }
        if Sha256::digest(&bytes[range.clone()])[..] != sum[..] {
            return Err(GraphFileError::Damaged { section });
        }
        end = range.end;
    }
    let [offsets, targets, weights, names, info] =
        layout.sections.clone().map(|range| &bytes[range]);
    let symmetric = flags & SYMMETRIC != 0;
    let offsets = numbers(offsets, u64::from_le_bytes);
    let targets = numbers(targets, u32::from_le_bytes);
    let weights = numbers(weights, f32::from_le_bytes);
    let nodes = GraphView::new(&offsets, &targets, &weights, symmetric)?.len();
    let names = if flags & HAS_NAMES != 0 { Some(read_names(names, nodes)?) } else { None };
    let info = serde_json::from_slice(info)?;
    Ok(ParsedGraph { offsets, targets, weights, symmetric, layout, names, info })
}

/// The header's bytes, its flags, and where the sections are, all within `bytes`.
fn read_header(bytes: &[u8]) -> Result<(&[u8; HEADER], u32, Layout), GraphFileError> {
    let found = bytes.len() as u64;
    if !bytes.starts_with(&MAGIC) {
        return Err(GraphFileError::Magic);
    }
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Err(GraphFileError::Size { expected: HEADER as u64, found });
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    // The version comes first: what follows it is that version's.
    let version = word(8);
    if version != VERSION {
        return Err(GraphFileError::Version { found: version });
    }
    if Sha256::digest(&header[..HEADER_SUM])[..] != header[HEADER_SUM..] {
        return Err(GraphFileError::Damaged { section: "header" });
    }
    let flags = word(12);
    if flags & !(SYMMETRIC | HAS_NAMES) != 0 || (flags & HAS_NAMES == 0 && long(32) > 0) {
        return Err(GraphFileError::Flags { found: flags });
    }
    let (nodes, arcs) = (long(16), long(24));
    let layout = Layout::new(nodes, arcs, long(32), long(40))
        .ok_or(GraphFileError::Sizes { nodes, arcs })?;
    let expected = layout.sections[4].end as u64;
    if expected != found {
        return Err(GraphFileError::Size { expected, found });
    }
    Ok((header, flags, layout))
}

/// Where the sections are.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    sections: [Range<usize>; 5],
}

impl Layout {
    /// `None` where sizes overflow.
    fn new(nodes: u64, arcs: u64, names: u64, info: u64) -> Option<Self> {
        let sizes = [
            nodes.checked_add(1)?.checked_mul(8)?,
            arcs.checked_mul(4)?,
            arcs.checked_mul(4)?,
            names,
            info,
        ];
        let mut end = HEADER as u64;
        let mut sections = [const { 0..0 }; 5];
        for (section, size) in sections.iter_mut().zip(sizes) {
            let start = end.checked_next_multiple_of(ALIGN)?;
            end = start.checked_add(size)?;
            *section = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        }
        Some(Self { sections })
    }

    /// The graph in bytes that [`parse_graph`] has found sound and could borrow from.
    pub(super) fn trusted_view<'a>(&self, bytes: &'a [u8], symmetric: bool) -> GraphView<'a> {
        let [offsets, targets, weights, ..] = self.sections.clone().map(|range| &bytes[range]);
        // Neither the bytes nor their place have changed since they could be borrowed.
        GraphView::trusted(
            FromBytes::ref_from_bytes(offsets).unwrap_or(&[0]),
            FromBytes::ref_from_bytes(targets).unwrap_or(&[]),
            FromBytes::ref_from_bytes(weights).unwrap_or(&[]),
            symmetric,
        )
    }
}

fn numbers<T, const WIDTH: usize>(bytes: &[u8], decode: fn([u8; WIDTH]) -> T) -> Cow<'_, [T]>
where
    T: FromBytes + Immutable + KnownLayout + Clone,
{
    match <[T]>::ref_from_bytes(bytes) {
        Ok(numbers) if cfg!(target_endian = "little") => Cow::Borrowed(numbers),
        _ => bytes.as_chunks::<WIDTH>().0.iter().map(|&number| decode(number)).collect(),
    }
}

fn read_names(bytes: &[u8], nodes: usize) -> Result<Vec<&str>, GraphFileError> {
    let text = str::from_utf8(bytes)
        .map_err(|error| GraphFileError::Name { node: 0, found: error.to_string() })?;
    let names: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split('\n').collect() };
    check_names(&names, nodes)?;
    Ok(names)
}

fn check_names<S: AsRef<str>>(names: &[S], nodes: usize) -> Result<(), GraphFileError> {
    if names.len() != nodes {
        return Err(GraphFileError::Names { expected: nodes, found: names.len() });
    }
    let wrong = |name: &str| name.is_empty() || name.contains(['\n', '\r']);
    match names.iter().map(AsRef::as_ref).enumerate().find(|(_, name)| wrong(name)) {
        Some((node, name)) => Err(GraphFileError::Name { node, found: name.to_owned() }),
        None => Ok(()),
    }
}

/// The bytes of a graph's file.
///
/// - `names`: `[n]`, not empty and without line ends.
///
/// # Errors
/// [`GraphFileError::Names`] and [`GraphFileError::Name`].
pub fn graph_bytes(
    graph: GraphView<'_>,
    names: Option<&[String]>,
    info: &GraphInfo,
) -> Result<Vec<u8>, GraphFileError> {
    Ok(pieces(graph, names, info)?.concat())
}

/// The bytes of a graph's file, in order; those of its rows are borrowed.
pub(super) fn pieces<'a>(
    graph: GraphView<'a>,
    names: Option<&[String]>,
    info: &GraphInfo,
) -> Result<Vec<Cow<'a, [u8]>>, GraphFileError> {
    let mut flags = if graph.is_symmetric() { SYMMETRIC } else { 0 };
    let mut lines = String::new();
    if let Some(names) = names {
        check_names(names, graph.len())?;
        flags |= HAS_NAMES;
        lines = names.join("\n");
    }
    let info = serde_json::to_vec(info)?;
    let (nodes, arcs) = (graph.len() as u64, graph.arc_count() as u64);
    let layout = Layout::new(nodes, arcs, lines.len() as u64, info.len() as u64)
        .ok_or(GraphFileError::Sizes { nodes, arcs })?;
    let sections = [
        encoded(graph.offsets(), u64::to_le_bytes),
        encoded(graph.targets(), u32::to_le_bytes),
        encoded(graph.weights(), f32::to_le_bytes),
        lines.into_bytes().into(),
        info.into(),
    ];
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(flags.to_le_bytes());
    for size in [nodes, arcs, sections[3].len() as u64, sections[4].len() as u64] {
        header.extend(size.to_le_bytes());
    }
    sections.iter().for_each(|section| header.extend(Sha256::digest(section)));
    let sum = Sha256::digest(&header);
    header.extend(sum);
    let mut end = header.len();
    let mut pieces = vec![Cow::Owned(header)];
    for (section, range) in sections.into_iter().zip(layout.sections) {
        pieces.push(vec![0; range.start - end].into());
        pieces.push(section);
        end = range.end;
    }
    Ok(pieces)
}

fn encoded<T: IntoBytes + Immutable + Copy, const WIDTH: usize>(
    numbers: &[T],
    encode: fn(T) -> [u8; WIDTH],
) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        numbers.as_bytes().into()
    } else {
        numbers.iter().flat_map(|&number| encode(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Arc, Graph, Repeats};
    use proptest::prelude::*;

    fn small() -> Vec<u8> {
        let graph = Graph::new(vec![0, 1, 3, 4], vec![1, 0, 2, 1], vec![0.5, 0.5, 2.0, 2.0], true);
        let names = ["a", "b", "c"].map(String::from);
        let info = GraphInfo { dataset: Some(DatasetHash([7; 32])), ..GraphInfo::new("by hand") };
        graph_bytes(graph.unwrap().view(), Some(&names), &info).unwrap()
    }

    /// Puts right the sums of a file that was changed on purpose.
    fn resummed(mut bytes: Vec<u8>) -> Vec<u8> {
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let layout = Layout::new(long(16), long(24), long(32), long(40));
        if let Some(layout) = layout.filter(|layout| layout.sections[4].end == bytes.len()) {
            for (place, range) in layout.sections.into_iter().enumerate() {
                let sum = Sha256::digest(&bytes[range]);
                bytes[SUMS + 32 * place..][..32].copy_from_slice(&sum);
            }
        }
        let sum = Sha256::digest(&bytes[..HEADER_SUM]);
        bytes[HEADER_SUM..HEADER].copy_from_slice(&sum);
        bytes
    }

    #[test]
    fn every_flipped_bit_and_every_truncated_tail_is_refused() {
        let bytes = small();
        assert!(parse_graph(&bytes).is_ok());
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                assert!(parse_graph(&damaged).is_err(), "byte {place}, bit {bit}");
            }
            assert!(parse_graph(&bytes[..place]).is_err(), "{place} bytes");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(matches!(parse_graph(&longer), Err(GraphFileError::Size { .. })));
    }

    #[test]
    fn what_is_wrong_under_right_checksums_is_named() {
        let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
            let mut bytes = small();
            change(&mut bytes);
            let error = parse_graph(&resummed(bytes)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        let at = Layout::new(3, 4, 5, 0).unwrap().sections.map(|section| section.start);
        check(&|bytes| bytes[0] = 0, "expected a graph file of nearkin");
        check(&|bytes| bytes[8] = 9, "version: expected 1, found 9");
        check(&|bytes| bytes[12] = 4, "flags: expected none but 0b11, found 0b100");
        check(&|bytes| bytes[12] = 1, "flags");
        check(&|bytes| bytes[24] = 20, "size: expected");
        check(&|bytes| bytes[31] = 255, "header: expected sizes of a file");
        check(&|bytes| bytes[23] = 255, "header: expected sizes of a file");
        check(&|bytes| bytes[250] = 1, "padding");
        check(&|bytes| bytes[at[0]] = 1, "offsets, place 0");
        check(&|bytes| bytes[at[1]] = 9, "arc 0 -> 9: expected nodes below 3");
        check(&|bytes| bytes[at[2] + 3] = 0xbf, "arc 0 -> 1: expected a finite weight");
        check(&|bytes| bytes[at[2]] = 1, "arc 0 -> 1: expected its reverse");
        check(&|bytes| bytes[at[3]] = b'\n', "names: expected 3, one per node, found 4");
        check(&|bytes| bytes[at[3]] = b'\r', "name of node 0");
        check(&|bytes| bytes[at[3]] = 0xff, "name of node 0");
        check(&|bytes| bytes[at[4]] = b'[', "info: ");
    }

    #[test]
    fn names_that_are_none_are_not_written() {
        let graph = Graph::new(vec![0, 0], vec![], vec![], true).unwrap();
        for names in [vec![], vec!["a", "b"], vec![""], vec!["a\nb"]] {
            let names: Vec<String> = names.into_iter().map(String::from).collect();
            assert!(graph_bytes(graph.view(), Some(&names), &GraphInfo::new("")).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_graph_comes_back_from_any_alignment(
            n in 0_usize..9,
            list in prop::collection::vec((0_u32..9, 0_u32..9, 0.0_f32..9.0), 0..30),
            shift in 0_usize..9,
        ) {
            let inside = |&(source, target, _): &(u32, u32, f32)| {
                source != target && (source.max(target) as usize) < n
            };
            let arcs = list.into_iter().filter(inside);
            let arcs = arcs.map(|(source, target, weight)| Arc { source, target, weight }).collect();
            let graph = Graph::from_arcs(n, arcs, Repeats::Largest).unwrap();
            let info = GraphInfo::new("any");
            let mut bytes = vec![0; shift];
            bytes.extend(graph_bytes(graph.view(), None, &info).unwrap());
            let parsed = parse_graph(&bytes[shift..]).unwrap();
            prop_assert_eq!(parsed.view().to_graph(), graph);
            prop_assert_eq!((parsed.names, parsed.info), (None, info));
        }

        #[test]
        fn any_change_under_right_checksums_is_read_or_refused(
            changes in prop::collection::vec((0_usize..600, any::<u8>()), 1..5),
        ) {
            let mut bytes = small();
            for (place, byte) in changes {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            if let Ok(parsed) = parse_graph(&resummed(bytes)) {
                prop_assert_eq!(parsed.view().arcs().count(), parsed.view().arc_count());
            }
        }
    }
}
