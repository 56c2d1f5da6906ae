//! New families in a small tree, and the places where they are entered in this one.

use super::*;

const CARGO: &str = "[workspace.dependencies]\nnearkin-nn = { path = \"crates/nn\" }\n\
    nearkin-zoo = { path = \"zoo/registry\" }\nnearkin-resnet = { path = \"zoo/resnet\" }\n\
    nearkin-vit = { path = \"zoo/vit\" }\n\nanyhow = \"1\"\n";
const REGISTRY: &str = "[dependencies]\nnearkin-nn = { workspace = true }\n\
    nearkin-resnet = { workspace = true }\nnearkin-vit = { workspace = true }\n\
    strsim = { workspace = true }\n";
const LIST: &str = "static FAMILIES: &[&Family] = &[\n    &nearkin_resnet::FAMILY,\n    \
    &nearkin_vit::FAMILY,\n];\n";

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("temporary folder");
    for (path, text) in [
        ("Cargo.toml", CARGO),
        ("zoo/registry/Cargo.toml", REGISTRY),
        ("zoo/registry/src/lib.rs", LIST),
        ("zoo/resnet/src/lib.rs", ""),
        ("crates/data/src/lib.rs", ""),
    ] {
        files::write(&tree.path().join(path), text.as_bytes()).expect("written");
    }
    tree
}

fn read(tree: &tempfile::TempDir, path: &str) -> String {
    fs::read_to_string(tree.path().join(path)).expect(path)
}

/// Every file of the tree with its content.
fn all(tree: &tempfile::TempDir) -> Vec<(std::path::PathBuf, String)> {
    files::fingerprints(tree.path()).expect("read").into_iter().collect()
}

fn check_refused(name: &str, expect: &str) {
    let tree = tree();
    let before = all(&tree);
    let error = format!("{:#}", create(tree.path(), name).expect_err("refused"));
    assert!(error.contains(expect), "{error}");
    assert_eq!(all(&tree), before, "something was written");
}

#[test]
fn a_new_family_is_entered_in_order_in_all_three_lists() {
    let tree = tree();
    create(tree.path(), "swin").expect("made");
    assert_eq!(
        read(&tree, "Cargo.toml"),
        CARGO.replace("nearkin-vit", "nearkin-swin = { path = \"zoo/swin\" }\nnearkin-vit")
    );
    assert_eq!(
        read(&tree, "zoo/registry/Cargo.toml"),
        REGISTRY.replace("nearkin-vit", "nearkin-swin = { workspace = true }\nnearkin-vit")
    );
    assert_eq!(
        read(&tree, "zoo/registry/src/lib.rs"),
        LIST.replace("    &nearkin_vit", "    &nearkin_swin::FAMILY,\n    &nearkin_vit")
    );
    for file in ["Cargo.toml", "README.md", "src/lib.rs"] {
        let text = read(&tree, &format!("zoo/swin/{file}"));
        assert!(text.contains("swin") && !text.contains("FAMILY_NAME"), "{file}: {text}");
    }
}

#[test]
fn the_last_in_order_goes_after_the_last() {
    let tree = tree();
    create(tree.path(), "xception").expect("made");
    assert!(read(&tree, "zoo/registry/Cargo.toml").contains(
        "nearkin-vit = { workspace = true }\nnearkin-xception = { workspace = true }\nstrsim"
    ));
}

#[test]
fn what_is_there_already_is_left_alone() {
    check_refused("resnet", "zoo/resnet exists already");
    check_refused("data", "crates/data exists already");
    check_refused("zoo", "another crate");
}

#[test]
fn names_that_no_crate_can_have_are_refused() {
    for name in ["", "ResNet", "2net", "res net", "../x", "a-b", "a__b", "a_"] {
        check_refused(name, "is no name for a family");
    }
}

#[test]
fn a_registry_without_the_list_is_refused() {
    let tree = tree();
    files::write(&tree.path().join("zoo/registry/src/lib.rs"), b"// empty\n").expect("written");
    let before = all(&tree);
    let error = format!("{:#}", create(tree.path(), "swin").expect_err("refused"));
    assert!(error.contains("zoo/registry/src/lib.rs: no line like"), "{error}");
    assert_eq!(all(&tree), before);
}

#[test]
fn this_workspace_has_the_lists_where_a_family_is_entered() {
    let workspace = Workspace::here().expect("workspace");
    let edits = entries(&workspace.root, "zzz_new").expect("the lists are found");
    for Edit { path, before, after } in edits {
        let before = before.expect("it stands there");
        assert_eq!(after.lines().count(), before.lines().count() + 1, "{path}");
    }
}
