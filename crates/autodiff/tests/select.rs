//! Which constants of a file are trained, how they decay, and how fast they go.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nearkin_autodiff::{
    BatchNorm, Optimiser, Selection, Trainable, Training, Which, select, training_step,
};
use nearkin_onnx::{Dim, ElementType, Graph, Model, Node, Shape, Tensor, TensorType, ValueId};

fn add(graph: &mut Graph, node: Node, name: &str) -> ValueId {
    let mut node = node;
    node.outputs = vec![None];
    let ty = nearkin_onnx::infer(graph, &node).unwrap().remove(0);
    let id = graph.add_value(&format!("{name}/out"), Some(ty)).unwrap();
    node.outputs = vec![Some(id)];
    node.name = name.to_owned();
    graph.add_node(node).unwrap();
    id
}

fn constant(graph: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    let values: Vec<f32> =
        (0..dims.iter().product()).map(|i: usize| 0.25 + 0.125 * (i % 5) as f32).collect();
    graph.add_initialiser(name, Tensor::from_f32(dims.to_vec(), &values).unwrap()).unwrap()
}

fn ints(graph: &mut Graph, name: &str, values: &[i64]) -> ValueId {
    graph.add_initialiser(name, Tensor::from_i64(vec![values.len()], values).unwrap()).unwrap()
}

fn batch_norm(graph: &mut Graph, x: ValueId, name: &str, width: usize) -> ValueId {
    let [w, b, m, v] = ["weight", "bias", "running_mean", "running_var"]
        .map(|part| constant(graph, &format!("{name}.{part}"), &[width]));
    add(graph, Node::new("BatchNormalization", &[x, w, b, m, v]), name)
}

fn conv(graph: &mut Graph, x: ValueId, name: &str, dims: [usize; 2]) -> ValueId {
    let w = constant(graph, &format!("{name}.weight"), &[dims[0], dims[1], 1, 1]);
    add(graph, Node::new("Conv", &[x, w]), name)
}

fn finish(mut graph: Graph, y: ValueId) -> Model {
    let sum = add(&mut graph, Node::new("ReduceSum", &[y]).with("keepdims", 0i64), "sum");
    graph.rename(sum, "loss").unwrap();
    graph.set_outputs(vec![sum]);
    Model::new(graph)
}

/// A ResNet in small: stem, three blocks of two stages, head, and a branch that goes nowhere.
fn residual() -> Model {
    let mut graph = Graph::new("residual");
    let g = &mut graph;
    let shape = Shape([vec![Dim::symbol("N")], vec![Dim::Known(2); 3]].concat());
    let image = g.add_input("input", TensorType::f32(shape)).unwrap();
    let x = conv(g, image, "conv1", [2, 2]);
    let mut x = batch_norm(g, x, "bn1", 2);
    for block in ["layer1.0", "layer1.1", "layer2.0"] {
        let y = conv(g, x, &format!("{block}.conv1"), [2, 2]);
        let y = batch_norm(g, y, &format!("{block}.bn1"), 2);
        x = add(g, Node::new("Add", &[x, y]), block);
    }
    let aside = conv(g, x, "auxiliary.0", [2, 2]);
    add(g, Node::new("Relu", &[aside]), "auxiliary.act");
    let x = add(g, Node::new("GlobalAveragePool", &[x]), "pool");
    let x = add(g, Node::new("Flatten", &[x]), "flat");
    let (w, b) = (constant(g, "fc.weight", &[3, 2]), constant(g, "fc.bias", &[3]));
    let y = add(g, Node::new("Gemm", &[x, w, b]).with("transB", 1i64), "fc");
    let tenth = constant(g, "constant/0", &[]);
    let y = add(g, Node::new("Mul", &[y, tenth]), "scaled");
    finish(graph, y)
}

fn names(chosen: &[Trainable]) -> Vec<&str> {
    chosen.iter().map(|parameter| parameter.name.as_str()).collect()
}

fn of(trainable: Which) -> Selection {
    Selection { trainable, classifier: "fc".to_owned(), weight_decay: 0.5, layer_decay: None }
}

#[test]
fn all_leaves_out_statistics_constants_and_what_the_loss_does_not_see() {
    let chosen = select(&residual(), "loss", &of(Which::All)).unwrap();
    let expected = [
        ("conv1.weight", 0.5),
        ("bn1.weight", 0.0),
        ("bn1.bias", 0.0),
        ("layer1.0.conv1.weight", 0.5),
        ("layer1.0.bn1.weight", 0.0),
        ("layer1.0.bn1.bias", 0.0),
        ("layer1.1.conv1.weight", 0.5),
        ("layer1.1.bn1.weight", 0.0),
        ("layer1.1.bn1.bias", 0.0),
        ("layer2.0.conv1.weight", 0.5),
        ("layer2.0.bn1.weight", 0.0),
        ("layer2.0.bn1.bias", 0.0),
        ("fc.weight", 0.5),
        ("fc.bias", 0.0),
    ];
    let expected = expected.map(|(name, decay): (&str, f32)| Trainable {
        name: name.to_owned(),
        decay,
        rate: 1.0,
    });
    assert_eq!(chosen, expected);
    // A step of exactly these parameters can be made.
    let training = Training::new(2, chosen, Optimiser::ADAM_W);
    let step = training_step(&residual(), "loss", &training).unwrap();
    assert_eq!(step.slots.len(), 3 * 14 + 8);
    let without_head = select(&residual(), "flat/out", &of(Which::All)).unwrap();
    assert!(!names(&without_head).contains(&"fc.weight"), "{without_head:?}");
}

#[test]
fn parts_of_a_network_are_chosen() {
    let chosen = |which| {
        let chosen = select(&residual(), "loss", &of(which)).unwrap();
        names(&chosen).join(" ")
    };
    assert_eq!(chosen(Which::Head), "fc.weight fc.bias");
    assert_eq!(
        chosen(Which::Biases),
        "bn1.bias layer1.0.bn1.bias layer1.1.bn1.bias layer2.0.bn1.bias fc.weight fc.bias"
    );
    let norms = chosen(Which::Norms);
    assert!(norms.starts_with("bn1.weight bn1.bias layer1.0.bn1.weight"), "{norms}");
    assert!(!norms.contains("conv") && norms.ends_with("fc.weight fc.bias"), "{norms}");
    assert_eq!(chosen(Which::LastLayers(0)), "fc.weight fc.bias");
    assert_eq!(
        chosen(Which::LastLayers(1)),
        "layer2.0.conv1.weight layer2.0.bn1.weight layer2.0.bn1.bias fc.weight fc.bias"
    );
    assert!(chosen(Which::LastLayers(3)).starts_with("layer1.0.conv1.weight"));
    assert_eq!(chosen(Which::LastLayers(9)), chosen(Which::All));
    let patterns = |list: &[&str]| Which::Patterns(list.iter().map(|&p| p.to_owned()).collect());
    assert_eq!(
        chosen(patterns(&["*conv1.weight", "!layer1.?.*"])),
        "conv1.weight layer2.0.conv1.weight"
    );
    assert_eq!(chosen(patterns(&["!layer*", "!bn1.*", "!conv1.*"])), "fc.weight fc.bias");
}

#[test]
fn the_learning_rate_decays_from_the_head_backwards() {
    let config = Selection { layer_decay: Some(0.5), ..of(Which::All) };
    let chosen = select(&residual(), "loss", &config).unwrap();
    let slowed = |name: &str| {
        let found = chosen.iter().find(|parameter| parameter.name == name).unwrap();
        found.rate.recip() as u32
    };
    let found = ["fc.bias", "layer2.0.bn1.bias", "layer1.1.conv1.weight", "layer1.0.bn1.weight"];
    assert_eq!(found.map(slowed), [1, 2, 4, 8]);
    // Stem and its normalisation are one layer.
    assert_eq!(["conv1.weight", "bn1.bias"].map(slowed), [16, 16]);
    // Without a head the last layer of the backbone goes at full rate.
    let config = Selection { classifier: String::new(), ..config };
    let chosen = select(&residual(), "flat/out", &config).unwrap();
    assert_eq!(chosen.last().map(|parameter| parameter.rate), Some(1.0));
}

/// A transformer as PyTorch's exporter writes it: linear weights turned and renamed, a class token
/// put before the patches, layer normalisation in arithmetic.
fn exported() -> Model {
    let mut graph = Graph::new("exported");
    let g = &mut graph;
    let x = g.add_input("input", TensorType::f32(Shape::known(&[2, 3, 4]))).unwrap();
    let mean = constant(g, "onnx::Sub_7", &[4]);
    let x = add(g, Node::new("Sub", &[x, mean]), "/Sub");
    let token = constant(g, "cls_token", &[1, 1, 4]);
    let dims = ints(g, "/Constant_3_output_0", &[2, 1, 4]);
    let token = add(g, Node::new("Expand", &[token, dims]), "/Expand");
    let x = add(g, Node::new("Concat", &[token, x]).with("axis", 1i64), "/Concat");
    let position = constant(g, "pos_embed", &[1, 4, 4]);
    let mut x = add(g, Node::new("Add", &[x, position]), "/Add");
    for block in 0..2 {
        let at = format!("/blocks/blocks.{block}");
        let name = |part: &str| format!("blocks.{block}.{part}");
        let (w, b) =
            (constant(g, &name("norm1.weight"), &[4]), constant(g, &name("norm1.bias"), &[4]));
        let y = add(g, Node::new("Mul", &[x, w]), &format!("{at}/norm1/Mul"));
        let y = add(g, Node::new("Add", &[y, b]), &format!("{at}/norm1/Add"));
        let w = constant(g, &format!("onnx::MatMul_{}", 800 + block), &[4, 4]);
        let y = add(g, Node::new("MatMul", &[y, w]), &format!("{at}/mlp/fc1/MatMul"));
        let b = constant(g, &format!("onnx::Add_{}", 900 + block), &[4]);
        let y = add(g, Node::new("Add", &[b, y]), &format!("{at}/mlp/fc1/Add"));
        let root = constant(g, &format!("{at}/mlp/act/Constant_output_0"), &[]);
        let y = add(g, Node::new("Div", &[y, root]), &format!("{at}/mlp/act/Div"));
        let scale = constant(g, &name("ls1.gamma"), &[4]);
        let y = add(g, Node::new("Mul", &[y, scale]), &format!("{at}/ls1/Mul"));
        x = add(g, Node::new("Add", &[x, y]), &format!("{at}/Add"));
    }
    let w = constant(g, "onnx::MatMul_1000", &[4, 5]);
    let y = add(g, Node::new("MatMul", &[x, w]), "/head/MatMul");
    finish(graph, y)
}

#[test]
fn parameters_of_a_foreign_file_are_told_from_its_constants() {
    let config = Selection {
        trainable: Which::All,
        classifier: "head".to_owned(),
        weight_decay: 0.5,
        layer_decay: Some(0.5),
    };
    let chosen = select(&exported(), "loss", &config).unwrap();
    let found: Vec<(&str, f32, f32)> =
        chosen.iter().map(|p| (p.name.as_str(), p.decay, p.rate)).collect();
    let expected = [
        ("cls_token", 0.0, 0.125),
        ("pos_embed", 0.0, 0.125),
        ("blocks.0.norm1.weight", 0.0, 0.25),
        ("blocks.0.norm1.bias", 0.0, 0.25),
        ("onnx::MatMul_800", 0.5, 0.25),
        ("onnx::Add_900", 0.0, 0.25),
        ("blocks.0.ls1.gamma", 0.0, 0.25),
        ("blocks.1.norm1.weight", 0.0, 0.5),
        ("blocks.1.norm1.bias", 0.0, 0.5),
        ("onnx::MatMul_801", 0.5, 0.5),
        ("onnx::Add_901", 0.0, 0.5),
        ("blocks.1.ls1.gamma", 0.0, 0.5),
        ("onnx::MatMul_1000", 0.5, 1.0),
    ];
    assert_eq!(found, expected);
    let some = |trainable| select(&exported(), "loss", &Selection { trainable, ..config.clone() });
    let norms = some(Which::Norms).unwrap();
    assert_eq!(norms.len(), 5, "{:?}", names(&norms));
    assert!(!names(&norms).contains(&"blocks.0.ls1.gamma"));
    let biases = some(Which::Biases).unwrap();
    assert_eq!(
        names(&biases),
        [
            "blocks.0.norm1.bias",
            "onnx::Add_900",
            "blocks.1.norm1.bias",
            "onnx::Add_901",
            "onnx::MatMul_1000"
        ]
    );
    // A pattern finds a renamed weight by its module.
    let fc1 = some(Which::Patterns(vec!["blocks.1.mlp.fc1*".to_owned()])).unwrap();
    assert_eq!(names(&fc1), ["onnx::MatMul_801", "onnx::Add_901"]);
    let mut training = Training::new(2, chosen, Optimiser::ADAM_W);
    training.batch_norm = BatchNorm::Frozen;
    assert!(training_step(&exported(), "loss", &training).is_ok());
}

#[test]
fn no_gradient_is_sought_behind_another_type() {
    let mut graph = Graph::new("stopped");
    let g = &mut graph;
    let x = g.add_input("input", TensorType::f32(Shape::known(&[2, 2]))).unwrap();
    let (w, v) = (constant(g, "w", &[2, 2]), constant(g, "v", &[2, 2]));
    let y = add(g, Node::new("MatMul", &[x, w]), "before");
    let to = |ty: ElementType| i64::from(ty.code());
    let y = add(g, Node::new("Cast", &[y]).with("to", to(ElementType::Double)), "stop");
    let y = add(g, Node::new("Cast", &[y]).with("to", to(ElementType::Float)), "go");
    let y = add(g, Node::new("MatMul", &[y, v]), "after");
    let chosen = select(&finish(graph, y), "loss", &Selection::default()).unwrap();
    assert_eq!(names(&chosen), ["v"]);
}

#[test]
fn wishes_that_nothing_meets_are_refused() {
    let refused = |config: &Selection| select(&residual(), "loss", config).unwrap_err().to_string();
    let pattern = refused(&of(Which::Patterns(vec!["fc.*".into(), "!layer9.*".into()])));
    assert!(
        pattern
            .contains("pattern: expected one that some parameter's name matches, found !layer9.*"),
        "{pattern}"
    );
    let head = refused(&Selection { classifier: "head".into(), ..of(Which::Head) });
    assert!(
        head.contains("classifier: expected the path of some parameter, found \"head\""),
        "{head}"
    );
    // A path ends at a dot.
    // It need not be seen by the loss, except to train it.
    let unseen = select(&residual(), "flat/out", &of(Which::LastLayers(1))).unwrap();
    assert_eq!(unseen.len(), 3);
    let error = select(&residual(), "flat/out", &of(Which::Head)).unwrap_err();
    assert!(error.to_string().contains("none for Head"), "{error}");
    let head = refused(&Selection { classifier: "f".into(), ..of(Which::LastLayers(1)) });
    assert!(head.contains("classifier"), "{head}");
    let none = refused(&of(Which::Patterns(vec!["fc.*".into(), "!fc.*".into()])));
    assert!(none.contains("trainable: expected at least one parameter"), "{none}");
    let decay = refused(&Selection { layer_decay: Some(1.5), ..of(Which::All) });
    assert!(decay.contains("layer decay: expected above 0 and at most 1, found 1.5"), "{decay}");
    let decay = refused(&Selection { weight_decay: f32::NAN, ..of(Which::All) });
    assert!(decay.contains("weight decay"), "{decay}");
    let error = select(&residual(), "cost", &of(Which::All)).unwrap_err();
    assert!(error.to_string().contains("\"cost\""), "{error}");
}
