//! Weights by name: what fits, what is adapted, and what is refused all at once.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use nearkin_nn::{
    Architecture, Conv, Family, LoadError, Options, Scheme, Scope, Value, Variant, Weights,
};
use nearkin_onnx::Tensor;
use safetensors::{Dtype, tensor::TensorView};
use std::collections::BTreeMap;

static FAMILY: Family = Family {
    name: "tiny",
    classifier: "fc",
    scheme: Scheme::TORCH,
    variants: &[Variant::new("tiny", tiny)],
    sized: None,
};

/// A convolution in patches, position embeddings, a normalisation.
fn tiny(s: &Scope, image: Value) -> Value {
    let (height, width) = s.spatial(image);
    let token = s.token("cls_token", 4);
    let position = s.position_embedding("pos_embed", 1, (height / 8, width / 8), 4);
    let x = s.conv("conv1", image, Conv::new(4, 8).stride(8).pad(0));
    let x = s.prepend(s.tokens(s.batch_norm("bn1", x)), token, position);
    s.mean(x, 1)
}

fn build(num_classes: usize, in_chans: usize, side: usize) -> Architecture {
    let options =
        Options { num_classes: Some(num_classes), in_chans, img_size: Some((side, side)) };
    FAMILY.variant("tiny").unwrap().build(&options).unwrap()
}

fn file(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let bytes: BTreeMap<&String, (Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (dims, values))| {
            (name, (dims.clone(), values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        })
        .collect();
    let views = bytes.iter().map(|(name, (dims, bytes))| {
        ((*name).clone(), TensorView::new(Dtype::F32, dims.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn tensors(built: &Architecture, seed: u64) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let weights = Weights::init(built, seed);
    weights
        .iter()
        .map(|(name, tensor)| (name.to_owned(), (tensor.dims.clone(), tensor.to_f32().unwrap())))
        .collect()
}

#[test]
fn what_was_saved_is_loaded_bit_for_bit() {
    let built = build(5, 3, 16);
    let loaded = Weights::from_safetensors(&built, &file(&tensors(&built, 3)), 0).unwrap();
    assert_eq!(loaded.weights, Weights::init(&built, 3));
    assert!(loaded.adapted.is_empty());
}

#[test]
fn an_onnx_file_gives_its_weights_back() {
    let built = build(5, 3, 16);
    let weights = Weights::init(&built, 3);
    let model = built.to_model(&weights).unwrap();
    let loaded = Weights::from_onnx(&built, &model, 0).unwrap();
    assert_eq!(loaded.weights, weights);
}

#[test]
fn other_options_adapt_the_weights_and_say_so() {
    let file = file(&tensors(&build(1000, 3, 16), 3));
    let built = build(5, 1, 32);
    let loaded = Weights::from_safetensors(&built, &file, 9).unwrap();
    let adapted = loaded.adapted.join("\n");
    for name in ["conv1.weight", "pos_embed", "fc.weight", "fc.bias"] {
        assert!(adapted.contains(name), "{adapted}");
    }
    built.to_model(&loaded.weights).unwrap();
    let head = loaded.weights.get("fc.weight").unwrap();
    assert_eq!(Some(head), Weights::init(&built, 9).get("fc.weight"));
    // Without a head, the file's is left aside.
    let headless = build(0, 3, 16);
    let loaded = Weights::from_safetensors(&headless, &file, 0).unwrap();
    assert!(loaded.weights.get("fc.weight").is_none());
}

#[test]
fn every_name_that_does_not_fit_is_listed_at_once() {
    let built = build(5, 3, 16);
    let mut wrong = tensors(&built, 0);
    wrong.remove("bn1.weight");
    wrong.remove("cls_token");
    wrong.insert("layer1.weight".to_owned(), (vec![1], vec![0.0]));
    wrong.insert("bn1.bias".to_owned(), (vec![3], vec![0.0; 3]));
    let error = Weights::from_safetensors(&built, &file(&wrong), 0).unwrap_err();
    let LoadError::Names(names) = &error else { panic!("{error}") };
    assert_eq!(names.missing, ["cls_token", "bn1.weight"]);
    assert_eq!(names.unexpected, ["layer1.weight"]);
    assert_eq!(names.misshaped, [("bn1.bias".to_owned(), vec![4], vec![3])]);
    for text in ["tiny", "cls_token", "layer1.weight", "[4]", "[3]"] {
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_weight_that_is_not_finite_is_refused_with_its_place() {
    let built = build(5, 3, 16);
    let mut wrong = tensors(&built, 0);
    wrong.get_mut("conv1.weight").unwrap().1[7] = f32::NAN;
    let error = Weights::from_safetensors(&built, &file(&wrong), 0).unwrap_err();
    assert!(
        matches!(&error, LoadError::NotFinite { name, index: 7, .. } if name == "conv1.weight"),
        "{error}"
    );
}

#[test]
fn bytes_that_are_no_safetensors_file_are_refused() {
    let built = build(5, 3, 16);
    for bytes in [&b""[..], b"not safetensors", &[0xff; 64]] {
        let error = Weights::from_safetensors(&built, bytes, 0).unwrap_err();
        assert!(matches!(error, LoadError::Safetensors(_)), "{error}");
    }
    let mut cut = file(&tensors(&built, 0));
    cut.truncate(cut.len() - 1);
    assert!(Weights::from_safetensors(&built, &cut, 0).is_err());
}

#[test]
fn half_precision_becomes_single() {
    let built = build(0, 3, 16);
    let halves: BTreeMap<String, (Vec<usize>, Vec<u8>)> = built
        .parameters()
        .iter()
        .filter(|p| p.value.is_some())
        .map(|p| (p.name.clone(), (p.dims.clone(), [0x00, 0x3e].repeat(p.count()))))
        .collect();
    let views = halves.iter().map(|(name, (dims, bytes))| {
        (name.clone(), TensorView::new(Dtype::F16, dims.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    let loaded = Weights::from_safetensors(&built, &file, 0).unwrap();
    let expected = Tensor::from_f32(vec![1, 1, 4], &[1.5; 4]).unwrap();
    assert_eq!(loaded.weights.get("cls_token"), Some(&expected));
}

#[test]
fn weights_of_another_architecture_make_no_model() {
    let weights = Weights::init(&build(5, 3, 16), 0);
    assert!(matches!(build(7, 3, 16).to_model(&weights), Err(LoadError::Names(_))));
}

#[test]
fn a_mistake_is_reported_once_with_its_path() {
    fn broken(s: &Scope, image: Value) -> Value {
        let at = s.scope("layer2.0");
        let x = s.global_avg_pool(image);
        let x = at.conv("conv2", x, Conv::new(8, 3));
        s.relu(s.batch_norm("bn", x))
    }
    static BROKEN: Family = Family {
        name: "broken",
        classifier: "fc",
        scheme: Scheme::TORCH,
        variants: &[Variant::new("broken", broken)],
        sized: None,
    };
    let error = BROKEN.variant("broken").unwrap().build(&Options::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("layer2.0.conv2: Conv needs [N, C, H, W], got [N, 3]"),
        "{error}"
    );
}

#[test]
fn a_name_used_twice_is_a_mistake() {
    fn twice(s: &Scope, image: Value) -> Value {
        let x = s.conv("conv1", image, Conv::new(3, 3));
        s.global_avg_pool(s.conv("conv1", x, Conv::new(3, 3)))
    }
    static TWICE: Family = Family {
        name: "twice",
        classifier: "fc",
        scheme: Scheme::TORCH,
        variants: &[Variant::new("twice", twice)],
        sized: None,
    };
    let error = TWICE.variant("twice").unwrap().build(&Options::default()).unwrap_err();
    assert!(error.to_string().contains("conv1.weight"), "{error}");
}
