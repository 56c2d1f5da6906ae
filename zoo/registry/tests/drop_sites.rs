//! Where training drops branches and elements, against timm's modules.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use nearkin_nn::{Architecture, DropKind, Options};
use nearkin_zoo::Registry;

fn build(name: &str) -> Architecture {
    Registry::standard().variant(name).unwrap().build(&Options::default()).unwrap()
}

/// Branches of each block, and the rates of the blocks in per mille at a last rate of 0.11.
fn paths(built: &Architecture) -> (Vec<usize>, Vec<u32>) {
    let (mut branches, mut rates) = (Vec::new(), Vec::new());
    for site in built.drop_sites() {
        let DropKind::Path { block, .. } = site.kind else { continue };
        if block == branches.len() {
            branches.push(0);
            rates.push((site.rate(0.11, 0.0) * 1e3).round() as u32);
        }
        branches[block] += 1;
    }
    (branches, rates)
}

#[test]
fn branches_are_dropped_where_timm_drops_them() {
    // One branch for each block of a ResNet, after its last normalisation.
    let resnet = build("resnet34");
    let (branches, rates) = paths(&resnet);
    assert_eq!((branches.len(), rates[0], rates[15]), (16, 0, 110));
    assert!(branches.iter().all(|&n| n == 1));
    assert_eq!(resnet.drop_sites()[0].value, "layer1.0.bn2");
    assert_eq!(build("resnet50").drop_sites()[15].value, "layer4.2.bn3");
    // Attention and MLP of a transformer's block share a rate.
    let (branches, rates) = paths(&build("vit_tiny_patch16_224"));
    assert_eq!(branches, [2; 12]);
    assert_eq!(rates, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]);
    // After ConvNeXt's layer scale, and linearly over all stages.
    let convnext = build("convnext_pico");
    let (branches, rates) = paths(&convnext);
    assert_eq!((branches.len(), rates[2], rates[11]), (12, 20, 110));
    let scaled = convnext.graph().find(&convnext.drop_sites()[0].value).unwrap();
    let producer = convnext.graph().producer(scaled).unwrap();
    assert_eq!(convnext.graph().node(producer).op, "Mul");
    assert_eq!(paths(&build("vgg11")).0, [0; 0]);
}

#[test]
fn elements_are_dropped_before_the_classifier() {
    for entry in Registry::standard().entries() {
        let built = entry.build(&Options { num_classes: Some(10), ..Options::default() }).unwrap();
        let last = built.drop_sites().last().unwrap();
        assert_eq!((last.value.as_str(), last.kind), ("embedding", DropKind::Elements));
        let reader = last.reader.as_deref().unwrap();
        let head = built.graph().nodes().iter().find(|node| node.name == reader).unwrap();
        assert_eq!(head.inputs[0], built.graph().find("embedding"), "{}", built.name);
        for site in built.drop_sites() {
            let value = built.graph().find(&site.value);
            assert!(value.is_some_and(|id| built.graph().producer(id).is_some()), "{site:?}");
        }
        let headless =
            entry.build(&Options { num_classes: Some(0), ..Options::default() }).unwrap();
        assert_eq!(headless.drop_sites().len() + 1, built.drop_sites().len(), "{}", built.name);
    }
    let elements = |name: &str| {
        let sites = build(name);
        let elements = sites.drop_sites().iter().filter(|site| site.kind == DropKind::Elements);
        elements.map(|site| site.rate(0.5, 0.25).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(elements("vgg16_bn"), ["0.25", "0.25"]);
    assert_eq!(elements("fcnn_1024_512_256"), ["0.25", "0.25", "0.25"]);
}
