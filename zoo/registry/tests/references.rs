//! Every variant against timm's manifest of that name: tensors, costs, epsilons, configuration.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at the first surprise and says what it leaves out"
)]

use nearkin_nn::reference::Reference;
use nearkin_nn::{Architecture, Interpolation, Options};
use nearkin_zoo::Registry;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/references")
}

/// The full corpus, where it is at hand.
fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("NEARKIN_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("references/timm");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("no reference corpus at {}: only fixtures/references is compared", folder.display());
    None
}

/// Reference files of the zoo's groups below `folder`.
fn references(folder: &Path) -> Vec<Reference> {
    let mut found = Vec::new();
    for family in Registry::standard().families() {
        let Ok(files) = std::fs::read_dir(folder.join(family.name)) else { continue };
        let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
            found.push(Reference::from_json(&std::fs::read(path).unwrap()).unwrap());
        }
    }
    found
}

fn build(reference: &Reference) -> Architecture {
    let entry = Registry::standard().variant(&reference.model).unwrap();
    let options = Options { num_classes: Some(reference.num_classes), ..Options::default() };
    entry.build(&options).unwrap()
}

fn compare(reference: &Reference) {
    let name = &reference.model;
    let built = build(reference);
    assert_eq!(built.group, reference.group, "{name}");
    assert_eq!(built.input(), reference.input_size, "{name}");
    let tensors = |pairs: Vec<(String, Vec<usize>, String)>| pairs;
    let ours = built
        .parameters()
        .iter()
        .map(|p| (p.name.clone(), p.dims.clone(), p.kind.name().to_owned()))
        .collect();
    let theirs = reference
        .state_dict
        .iter()
        .map(|e| (e.name.clone(), e.dims.clone(), e.kind.clone()))
        .collect();
    assert_eq!(tensors(ours), tensors(theirs), "{name}");
    assert_eq!(built.parameter_count(), reference.params, "{name}");
    assert_eq!(Some(built.macs), reference.macs, "{name}");
    assert_eq!(Some(built.embedding_width), reference.head_hidden_size, "{name}");
    let mut theirs = BTreeMap::<String, Vec<f32>>::new();
    for (class, eps) in &reference.norm_eps {
        let kinds = ["BatchNorm", "LayerNorm", "GroupNorm", "GlobalResponseNorm"];
        let kind = kinds.into_iter().find(|kind| class.contains(kind)).unwrap();
        let known = theirs.entry(kind.to_owned()).or_default();
        known.extend(eps.iter().filter(|e| !known.contains(e)).copied().collect::<Vec<_>>());
    }
    let ours: BTreeMap<String, Vec<f32>> =
        built.norm_eps().iter().map(|(kind, eps)| (format!("{kind:?}"), eps.clone())).collect();
    assert_eq!(ours, theirs, "{name}");
    let interpolation = match built.config.interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    assert_eq!(
        (Some(built.config.mean), Some(built.config.std), Some(built.config.crop_pct)),
        (reference.mean, reference.std, reference.crop_pct),
        "{name}"
    );
    assert_eq!(Some(interpolation), reference.interpolation.as_deref(), "{name}");
}

#[test]
fn variants_are_timms_in_names_shapes_order_and_costs() {
    let small = references(&fixtures());
    assert!(small.len() >= 8, "fixtures/references holds {} files", small.len());
    small.iter().for_each(compare);
    if let Some(folder) = corpus() {
        let all = references(&folder);
        assert!(all.len() >= small.len());
        all.iter().for_each(compare);
    }
}

/// `VARIANTS.tsv` lists what is to be built; a variant known by name only has its count there.
#[test]
fn every_listed_variant_of_a_group_is_built() {
    let Some(folder) = corpus() else { return };
    let list = std::fs::read_to_string(folder.join("VARIANTS.tsv")).unwrap();
    let registry = Registry::standard();
    let groups: Vec<&str> = registry.families().iter().map(|family| family.name).collect();
    let mut compared = 0;
    for line in list.lines().skip(1) {
        let [group, variant, _, params, input] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("VARIANTS.tsv: expected five columns, found {line:?}");
        };
        if groups.contains(&group) {
            let built = registry.variant(variant).unwrap().build(&Options::default()).unwrap();
            assert_eq!(built.group, group, "{variant}");
            assert_eq!(built.parameter_count().to_string(), params, "{variant}");
            assert_eq!(built.input().map(|d| d.to_string()).join("x"), input, "{variant}");
            compared += 1;
        }
    }
    assert!(compared >= 56, "{compared} variants compared");
}

#[test]
fn variants_take_the_options_that_timm_users_expect() {
    for entry in Registry::standard().entries() {
        let options = Options { num_classes: Some(0), in_chans: 1, img_size: Some((64, 96)) };
        let built = match entry.build(&options) {
            Ok(built) => built,
            // A patch size that does not divide the image is refused by name.
            Err(error) => {
                assert!(error.to_string().contains("patch"), "{error}");
                continue;
            }
        };
        assert_eq!(built.input(), [1, 64, 96], "{}", built.name);
        let names: Vec<&str> = built
            .graph()
            .outputs()
            .iter()
            .map(|&id| built.graph().value(id).name.as_str())
            .collect();
        assert_eq!(names, ["embedding"], "{}", built.name);
        let ten = entry.build(&Options { num_classes: Some(10), ..options }).unwrap();
        assert_eq!(
            ten.parameter_count() - built.parameter_count(),
            10 * (ten.embedding_width as u64 + 1),
            "{}",
            built.name
        );
    }
}
