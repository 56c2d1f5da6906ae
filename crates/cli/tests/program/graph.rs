//! `nearkin graph`, end to end on a few points.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ran, expect, nearkin, run};

/// Two groups of three points in the plane, as `.npy`.
fn write_points(path: &Path, shift: f32) {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 2), }\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    let points = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [9.0, 9.0], [10.0, 9.0], [9.0, 11.0]];
    points.into_iter().flatten().for_each(|v: f32| bytes.extend((v + shift).to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

fn graph(folder: &Path, arguments: &[&str]) -> Ran {
    run(nearkin(&["graph"]).args(arguments).current_dir(folder))
}

fn json(ran: &Ran) -> Value {
    expect(ran, 0, &[]);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_graph_is_built_shown_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_points(&folder.join("e.npy"), 0.0);
    std::fs::write(folder.join("labels.txt"), "0\n0\n0\n1\n1\n-1\n").unwrap();
    std::fs::write(folder.join("clicks.tsv"), "0\t3\t0.5\n0\tx\n").unwrap();
    let near = ["build", "e.npy", "--knn", "2", "--mutual", "--memory", "1M", "-o", "near.graph"];
    let built = graph(folder, &near);
    expect(&built, 0, &[]);
    assert!(built.stderr.contains("near.graph: 6 nodes, 6 edges, 12 arcs"), "{}", built.stderr);
    let shown = json(&graph(
        folder,
        &[
            "stats",
            "near.graph",
            "--points",
            "e.npy",
            "--labels",
            "labels.txt",
            "--json",
            "--svg",
            "near.svg",
        ],
    ));
    assert_eq!(shown["components"], 2);
    assert_eq!(shown["purity"]["share"], 1.0);
    assert_eq!(shown["lengths"]["min"], 1.0);
    assert_eq!(shown["made"], "knn 2 constant mutual");
    assert!(std::fs::read_to_string(folder.join("near.svg")).unwrap().starts_with("<svg"));
    let more = [&near[..4], &["--tsv", "clicks.tsv", "--skip-unknown", "--factor", "1,2"]].concat();
    let more = [&more[..], &["--symmetrise", "max", "-o", "more.graph"]].concat();
    expect(&graph(folder, &more), 0, &[]);
    let difference = json(&graph(folder, &["diff", "near.graph", "more.graph", "--json"]));
    assert_eq!(
        (&difference["both"], &difference["only_second"]),
        (&Value::from(12), &Value::from(2))
    );
    expect(&graph(folder, &["stats", "more.graph"]), 0, &["components            1"]);
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_points(&folder.join("e.npy"), 0.0);
    write_points(&folder.join("other.npy"), 1.0);
    std::fs::write(folder.join("clicks.tsv"), "0\t3\n0\tx\n").unwrap();
    let refused = |arguments: &[&str], code, said: &str| {
        let ran = graph(folder, arguments);
        expect(&ran, code, &[]);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    };
    refused(&["build", "e.npy", "-o", "a.graph"], 2, "expected at least one of --knn");
    refused(
        &["build", "e.npy", "--knn", "6", "-o", "a.graph"],
        3,
        "less than the number of points, 6",
    );
    refused(&["build", "none.npy", "--knn", "2", "-o", "a.graph"], 3, "none.npy");
    refused(&["build", "e.npy", "--knn", "2", "--memory", "1", "-o", "a.graph"], 2, "--memory");
    refused(
        &["build", "e.npy", "--tsv", "clicks.tsv", "-o", "a.graph"],
        3,
        "line 2: expected the name of a node",
    );
    refused(&["build", "e.npy", "--knn", "2", "-o", "no/a.graph"], 5, "a.graph");
    assert!(!folder.join("a.graph").exists());
    expect(&graph(folder, &["build", "e.npy", "--knn", "2", "-o", "a.graph"]), 0, &[]);
    refused(&["stats", "a.graph", "--points", "other.npy"], 3, "expected a graph of the data set");
    let mut bytes = std::fs::read(folder.join("a.graph")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(folder.join("a.graph"), bytes).unwrap();
    refused(&["stats", "a.graph"], 3, "info: the checksum does not match");
}
