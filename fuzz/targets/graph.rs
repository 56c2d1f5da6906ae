//! What the fuzz targets of the graph's readers do with their bytes.
//!
//! Shared by the fuzz targets and by a test of `crates/graph`, which runs without a fuzzer.

use nearkin_graph::{
    Graph, GraphInfo, NodeNames, Unknown, graph_bytes, npy_view, parse_graph, read_npy,
    read_tsv_edges,
};

const NAMES: [&str; 6] = ["a", "b", "c", "0", "1", "é"];

/// Edges separated by tabs.
pub(crate) fn tsv(bytes: &[u8]) {
    let Ok(names) = NodeNames::new(&NAMES) else { panic!("names differ") };
    for unknown in [Unknown::Refuse, Unknown::Count] {
        let Ok(read) = read_tsv_edges(bytes, &names, unknown) else { continue };
        let lines = bytes.split(|&byte| byte == b'\n').count();
        let graph = read.graph.view();
        assert_eq!(graph.len(), NAMES.len());
        let all = graph.arc_count() + read.unknown + read.loops + read.repeated;
        assert!(all <= 2 * lines, "{all} arcs of {lines} lines");
        assert!(graph.edges().all(|arc| arc.weight.is_finite() && arc.weight >= 0.0));
    }
}

/// Graph files: as they come, and as a graph whose parts are the bytes', written and read again.
pub(crate) fn graph(bytes: &[u8]) {
    if let Ok(parsed) = parse_graph(bytes) {
        let view = parsed.view();
        let again = graph_bytes(view, None, &GraphInfo::new("again"));
        assert!(again.is_ok_and(|bytes| parse_graph(&bytes).is_ok()));
    }
    // A checksum keeps random bytes out: what is behind it is reached by graphs made of them.
    let Some((&n, rest)) = bytes.split_first() else { return };
    let n = usize::from(n % 16);
    let (arcs, weights) = rest.split_at(rest.len() / 2);
    let mut offsets = vec![0_u64];
    let mut count = 0;
    for node in 0..n {
        count += arcs.get(node).map_or(0, |byte| usize::from(byte % 4));
        offsets.push(count as u64);
    }
    let byte = |list: &[u8], at: usize| list.get(at).copied().unwrap_or_default();
    let targets = (0..count).map(|at| u32::from(byte(arcs, n + at) % 16)).collect();
    let weights = (0..count).map(|at| f32::from(byte(weights, at)) - 8.0).collect();
    let Ok(graph) = Graph::new(offsets, targets, weights, n % 2 == 0) else { return };
    let Ok(written) = graph_bytes(graph.view(), None, &GraphInfo::new("fuzz")) else { return };
    let Ok(parsed) = parse_graph(&written) else { panic!("what was written is not read") };
    let arcs = |view: nearkin_graph::GraphView<'_>| view.edges().collect::<Vec<_>>();
    assert_eq!(arcs(parsed.view()), arcs(graph.view()));
    // One flipped bit is found, wherever it is.
    let place = usize::from(byte(rest, 0)) * 251 % written.len();
    let mut damaged = written.clone();
    damaged[place] ^= 1 << (byte(rest, 1) % 8);
    assert!(parse_graph(&damaged).is_err(), "a flipped bit at {place}");
}

/// NumPy's files.
pub(crate) fn npy(bytes: &[u8]) {
    let read = read_npy(bytes);
    if let Ok(Some(view)) = npy_view(bytes) {
        let Ok(read) = read else { panic!("seen, and not read") };
        assert_eq!(view.dim(), read.dim());
        let bits = |x: &f32| x.to_bits();
        assert!(view.iter().map(bits).eq(read.iter().map(bits)));
    }
}
