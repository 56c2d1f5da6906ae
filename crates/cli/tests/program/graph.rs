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

/// `n` irregular points of `d` numbers, as `.npy`.
fn write_many(path: &Path, n: usize, d: usize) {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {d}), }}");
    let header = format!("{text:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    assert_eq!(bytes.len() % 4, 0, "so that the numbers can be used where they lie");
    let mut state = 1_u64;
    for _ in 0..n * d {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend(((state >> 40) as f32 / (1 << 24) as f32).to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
#[cfg(unix)]
fn a_killed_search_goes_on_and_gives_the_same_graph() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_many(&folder.join("e.npy"), 24_000, 40);
    let arguments = ["build", "e.npy", "--knn", "5", "--memory", "64M", "-o"];
    let whole = graph(folder, &[&arguments[..], &["whole.graph"]].concat());
    expect(&whole, 0, &["24000 nodes"]);
    let again = [&arguments[..], &["killed.graph"]].concat();
    let mut child = crate::support::start(nearkin(&["graph"]).args(&again).current_dir(folder));
    let parts = folder.join("killed.graph.parts");
    // A strip of 1,500 rows is 60 kB; after the second one there is something to lose.
    while std::fs::metadata(&parts).map_or(0, |file| file.len()) < 100_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(parts.exists() && !folder.join("killed.graph").exists());
    let kept = std::fs::metadata(&parts).unwrap().len();
    expect(&graph(folder, &again), 0, &["24000 nodes"]);
    assert!(kept >= 100_000, "finished strips lay there");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(read("killed.graph"), read("whole.graph"));
    assert!(!parts.exists(), "nothing is left beside");
}

#[test]
fn a_budget_that_cannot_hold_the_points_is_refused_and_recall_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_many(&folder.join("e.npy"), 3000, 30);
    let small = graph(folder, &["build", "e.npy", "--knn", "5", "--memory", "300K", "-o", "g"]);
    expect(&small, 2, &["--memory: expected more than", "found 307200"]);
    let near = graph(folder, &["build", "e.npy", "--knn", "5", "--engine", "descent", "-o", "g"]);
    expect(&near, 0, &["approximate neighbours: recall ", "measured on"]);
    for distance in ["cosine", "chi-squared", "histogram-intersection", "inner-product"] {
        let by = ["build", "e.npy", "--knn", "3", "--distance", distance, "-o", "g"];
        expect(&graph(folder, &by), 0, &["3000 nodes"]);
    }
}
