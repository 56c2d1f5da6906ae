//! The bodies of the fuzz targets on seeds, and on what was found.

#[path = "../../../fuzz/targets/graph.rs"]
mod targets;

/// The whole, and every beginning of it.
fn all_of(bytes: &[u8], body: fn(&[u8])) {
    (0..=bytes.len()).for_each(|end| body(&bytes[..end]));
}

#[test]
fn edges_of_every_kind_survive() {
    all_of("a\tb\t0.5\nb\tc\n\r\nc\tx\t1e9\na\ta\na\tb\té\n0\t1\t-1\n".as_bytes(), targets::tsv);
    all_of(b"a\tb\tnan\n", targets::tsv);
    all_of(b"a\tb\tinf\n\xff\t\n", targets::tsv);
}

#[test]
fn graphs_of_any_bytes_survive() {
    for seed in 0..200_u32 {
        let bytes: Vec<u8> = (0..80_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761).rotate_left(seed) >> 11) as u8)
            .collect();
        targets::graph(&bytes);
    }
}

#[test]
fn matrices_survive() {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }     \n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend([0; 8]);
    all_of(&bytes, targets::npy);
}
