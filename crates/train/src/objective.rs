//! What a training minimises: losses on labelled images, and the graph's term.

use nearkin_loss::{
    Alpha, ArcFace, BinaryCrossEntropy, Contrastive, CosFace, CrossEntropy, EdgeDistance,
    EdgeReduction, Focal, GraphTerm, Mining, MultiSimilarity, NtXent, ProxyAnchor, ProxyNca,
    Repulsion, Space, StopGradient, SupCon, Triplet, onnx,
};
use nearkin_nn::{Init, Scope, Value};
use nearkin_onnx::{ElementType, Shape, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// A loss on the labelled images of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// Of the logits with the class, with label smoothing in \[0, 1\].
    CrossEntropy {
        /// ε.
        #[serde(default)]
        label_smoothing: f32,
    },
    /// Of every class's logit by itself: images of several classes, as in Pascal VOC.
    BinaryCrossEntropy,
    /// Cross-entropy that turns down what is classified well.
    Focal {
        /// γ, at least 0.
        gamma: f32,
    },
    /// On the embedding: PyTorch Metric Learning's `ContrastiveLoss` defaults.
    Contrastive,
    /// On the embedding, of all triplets or of the hardest of each anchor.
    Triplet {
        /// Margin, at least 0.
        margin: f32,
        /// Only the furthest positive and the nearest negative of each anchor.
        #[serde(default)]
        hard: bool,
    },
    /// On the embedding.
    MultiSimilarity,
    /// Supervised contrastive, on the embedding.
    SupCon {
        /// τ, above 0.
        temperature: f32,
    },
    /// NT-Xent, on the embedding.
    NtXent {
        /// τ, above 0.
        temperature: f32,
    },
    /// Squared distance to a learnt centre of the class, on the embedding.
    Centre,
    /// Additive angular margin, with learnt centres, on the embedding.
    ArcFace {
        /// Margin, in radians.
        margin: f32,
        /// Scale, above 0.
        scale: f32,
    },
    /// Additive cosine margin, with learnt centres, on the embedding.
    CosFace {
        /// Margin.
        margin: f32,
        /// Scale, above 0.
        scale: f32,
    },
    /// Neighbourhood components with learnt proxies, on the embedding.
    ProxyNca {
        /// Scale, above 0.
        scale: f32,
    },
    /// Proxy anchor, on the embedding.
    ProxyAnchor {
        /// Scale, above 0.
        alpha: f32,
        /// Margin, at least 0.
        margin: f32,
    },
}

impl Loss {
    /// Cross-entropy without smoothing.
    pub const CROSS_ENTROPY: Self = Self::CrossEntropy { label_smoothing: 0.0 };

    /// Every loss by its name, with its customary settings.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|loss| loss.name() == name)
    }

    /// Every loss with its customary settings.
    pub fn all() -> Vec<Self> {
        let arc = ArcFace::default();
        let cos = CosFace::default();
        let anchor = ProxyAnchor::default();
        vec![
            Self::CROSS_ENTROPY,
            Self::BinaryCrossEntropy,
            Self::Focal { gamma: 2.0 },
            Self::Contrastive,
            Self::Triplet { margin: 0.05, hard: false },
            Self::MultiSimilarity,
            Self::SupCon { temperature: SupCon::default().temperature },
            Self::NtXent { temperature: NtXent::default().temperature },
            Self::Centre,
            Self::ArcFace { margin: arc.margin, scale: arc.scale },
            Self::CosFace { margin: cos.margin, scale: cos.scale },
            Self::ProxyNca { scale: ProxyNca::default().scale },
            Self::ProxyAnchor { alpha: anchor.alpha, margin: anchor.margin },
        ]
    }

    /// Its name in recipes, logs and options.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy { .. } => "cross-entropy",
            Self::BinaryCrossEntropy => "binary-cross-entropy",
            Self::Focal { .. } => "focal",
            Self::Contrastive => "contrastive",
            Self::Triplet { .. } => "triplet",
            Self::MultiSimilarity => "multi-similarity",
            Self::SupCon { .. } => "sup-con",
            Self::NtXent { .. } => "nt-xent",
            Self::Centre => "centre",
            Self::ArcFace { .. } => "arc-face",
            Self::CosFace { .. } => "cos-face",
            Self::ProxyNca { .. } => "proxy-nca",
            Self::ProxyAnchor { .. } => "proxy-anchor",
        }
    }

    /// Whether it takes any number of classes for an image.
    pub fn is_multi_label(&self) -> bool {
        matches!(self, Self::BinaryCrossEntropy)
    }

    /// Whether it has a learnt point for each class.
    pub fn has_centres(&self) -> bool {
        matches!(
            self,
            Self::Centre
                | Self::ArcFace { .. }
                | Self::CosFace { .. }
                | Self::ProxyNca { .. }
                | Self::ProxyAnchor { .. }
        )
    }

    fn emit(&self, s: &Scope, at: &Labelled, centres: Option<Value>) -> Value {
        let Labelled { logits, embedding, labels, targets, mask } = *at;
        let centres = || {
            centres.unwrap_or_else(|| s.reject("centres", "learnt points of the classes", "none"))
        };
        match *self {
            Self::CrossEntropy { label_smoothing } => {
                let config = CrossEntropy { label_smoothing, ..CrossEntropy::default() };
                onnx::cross_entropy(s, logits, labels, &config)
            }
            Self::BinaryCrossEntropy => {
                let config = BinaryCrossEntropy::default();
                onnx::binary_cross_entropy(s, logits, targets, Some(mask), &config)
            }
            Self::Focal { gamma } => {
                let config = Focal { gamma, alpha: None, ..Focal::default() };
                onnx::softmax_focal(s, logits, labels, &config)
            }
            Self::Contrastive => onnx::contrastive(s, embedding, labels, &Contrastive::default()),
            Self::Triplet { margin, hard } => {
                let config = Triplet {
                    margin: nearkin_loss::Margin::Hinge(margin),
                    mining: if hard { Mining::Hard } else { Mining::All },
                    ..Triplet::default()
                };
                onnx::triplet(s, embedding, labels, &config)
            }
            Self::MultiSimilarity => {
                onnx::multi_similarity(s, embedding, labels, &MultiSimilarity::default())
            }
            Self::SupCon { temperature } => {
                onnx::sup_con(s, embedding, labels, &SupCon { temperature })
            }
            Self::NtXent { temperature } => {
                onnx::nt_xent(s, embedding, labels, &NtXent { temperature })
            }
            Self::Centre => onnx::centre(s, embedding, labels, centres()),
            Self::ArcFace { margin, scale } => {
                onnx::arc_face(s, embedding, labels, centres(), &ArcFace { margin, scale })
            }
            Self::CosFace { margin, scale } => {
                onnx::cos_face(s, embedding, labels, centres(), &CosFace { margin, scale })
            }
            Self::ProxyNca { scale } => {
                onnx::proxy_nca(s, embedding, labels, centres(), &ProxyNca { scale })
            }
            Self::ProxyAnchor { alpha, margin } => {
                let config = ProxyAnchor { alpha, margin };
                onnx::proxy_anchor(s, embedding, labels, centres(), &config)
            }
        }
    }
}

/// Which values of the network an edge draws together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The embedding as it is.
    Embedding,
    /// The embedding at length 1.
    NormalisedEmbedding,
    /// The logits.
    #[default]
    Logits,
    /// The class probabilities.
    Probabilities,
}

/// The graph's term: α·Σ w·d over the edges of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphObjective {
    /// d.
    pub distance: EdgeDistance,
    /// Of what.
    pub layer: Layer,
    /// Which side of an edge holds still.
    pub stop_gradient: StopGradient,
    /// α over the steps.
    pub alpha: Alpha,
    /// Weight of a cross-entropy of the rows that edges need with labels that the graph carries to them.
    pub carried: Option<f32>,
    /// Weight and margin of a term that keeps rows without an edge apart: against collapse.
    pub repulsion: Option<(f32, f32)>,
}

impl GraphObjective {
    fn term(&self) -> GraphTerm {
        GraphTerm {
            distance: self.distance,
            space: match self.layer {
                Layer::Embedding | Layer::Logits => Space::AsIs,
                Layer::NormalisedEmbedding => Space::Normalised,
                Layer::Probabilities => Space::Softmax,
            },
            stop_gradient: self.stop_gradient,
            reduction: EdgeReduction::Mean,
        }
    }
}

/// The whole objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Losses on labelled images, each with its weight.
    pub losses: Vec<(Loss, f32)>,
    /// The graph's term, if there is a graph.
    pub graph: Option<GraphObjective>,
}

/// Names of what a step graph is fed beside images and state, and of what it tells.
pub(crate) mod names {
    /// i64 `[L]`.
    pub(crate) const LABELS: &str = "step/labels";
    /// f32 `[L, C]`.
    pub(crate) const TARGETS: &str = "step/targets";
    /// f32 `[L, C]`.
    pub(crate) const TARGET_MASK: &str = "step/target_mask";
    /// i64 `[E]`.
    pub(crate) const EDGE_U: &str = "step/edge_u";
    /// i64 `[E]`.
    pub(crate) const EDGE_V: &str = "step/edge_v";
    /// f32 `[E]`.
    pub(crate) const EDGE_W: &str = "step/edge_w";
    /// i64 `[E]`: rows that are pushed apart from those of `EDGE_U`.
    pub(crate) const FAR_V: &str = "step/far_v";
    /// f32 `[M, C]`: for each row that is there for an edge, a class at a weight; 0 where no label came.
    pub(crate) const CARRIED: &str = "step/carried";
    /// f32 scalar.
    pub(crate) const ALPHA: &str = "step/alpha";
    /// The whole objective, f32 scalar.
    pub(crate) const TOTAL: &str = "step/objective";
    /// The graph's term before α.
    pub(crate) const GRAPH: &str = "step/graph_term";
    /// The cross-entropy with carried labels.
    pub(crate) const CARRIED_TERM: &str = "step/carried_labels";
    /// The repulsive term before α.
    pub(crate) const FAR: &str = "step/repulsion";
    /// Labelled rows whose largest logit is the label's: their number, f32 scalar.
    pub(crate) const CORRECT: &str = "step/correct";
    /// The learnt centres of a loss begin with this.
    pub(crate) const CENTRES: &str = "loss/";
}

/// Values of the labelled rows.
#[derive(Clone, Copy)]
struct Labelled {
    logits: Value,
    embedding: Value,
    labels: Value,
    targets: Value,
    mask: Value,
}

/// How many rows of a step are labelled, and how many edges it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) labelled: usize,
    pub(crate) edges: usize,
    /// Rows that are there for the edges, after the labelled ones.
    pub(crate) further: usize,
}

/// Names of the terms that a step tells, in order: losses, then the graph's.
pub(crate) fn term_names(objective: &Objective) -> Vec<String> {
    let mut terms: Vec<String> =
        objective.losses.iter().map(|(loss, _)| format!("step/{}", loss.name())).collect();
    if let Some(graph) = &objective.graph {
        terms.push(names::GRAPH.to_owned());
        if graph.carried.is_some() {
            terms.push(names::CARRIED_TERM.to_owned());
        }
        if graph.repulsion.is_some() {
            terms.push(names::FAR.to_owned());
        }
    }
    terms
}

/// Adds the objective to a graph with `embedding [N, D]` and `logits [N, C]`; its labelled rows come
/// first. Returns the values that a step tells.
pub(crate) fn emit(
    s: &Scope,
    embedding: Value,
    logits: Value,
    classes: usize,
    rows: Rows,
    objective: &Objective,
    seed: u64,
) -> Vec<Value> {
    let ints = |name: &str, count: usize| {
        let shape = Some(Shape::known(&[count]));
        s.input(name, TensorType { element: ElementType::Int64, shape })
    };
    let floats = |name: &str, dims: &[usize]| s.input(name, TensorType::f32(Shape::known(dims)));
    let first: Vec<i64> = (0..rows.labelled as i64).collect();
    let first = s.ints(&first);
    let (own_logits, own_embedding) = (s.gather(logits, first, 0), s.gather(embedding, first, 0));
    let multi = objective.losses.iter().any(|(loss, _)| loss.is_multi_label());
    let (labels, targets, mask) = if multi {
        let dims = [rows.labelled, classes];
        let (targets, mask) = (floats(names::TARGETS, &dims), floats(names::TARGET_MASK, &dims));
        (targets, targets, mask)
    } else {
        let labels = ints(names::LABELS, rows.labelled);
        (labels, own_logits, own_logits)
    };
    let at = Labelled { logits: own_logits, embedding: own_embedding, labels, targets, mask };
    let mut told = Vec::new();
    let mut total: Option<Value> = None;
    let mut add = |s: &Scope, term: Value| {
        total = Some(match total {
            Some(sum) => s.add(sum, term),
            None => term,
        });
    };
    for (loss, weight) in &objective.losses {
        let centres = loss.has_centres().then(|| {
            let name = format!("{}{}.centres", names::CENTRES, loss.name());
            let dims = [classes, s.width(embedding)];
            let values = Init::UniformFanIn(dims[1]).draw(&name, &dims, seed);
            s.weight(&name, Tensor::from_f32(dims.to_vec(), &values))
        });
        let value = loss.emit(s, &at, centres);
        let value = s.rename(value, &format!("step/{}", loss.name()));
        told.push(value);
        add(s, s.scale(value, *weight));
    }
    if let Some(graph) = &objective.graph {
        let alpha = s.input(names::ALPHA, TensorType::f32(Shape::known(&[])));
        let edges = onnx::Edges {
            u: ints(names::EDGE_U, rows.edges),
            v: ints(names::EDGE_V, rows.edges),
            w: floats(names::EDGE_W, &[rows.edges]),
        };
        let points = match graph.layer {
            Layer::Embedding | Layer::NormalisedEmbedding => embedding,
            Layer::Logits | Layer::Probabilities => logits,
        };
        let term = onnx::graph_term(s, points, edges, &graph.term());
        let term = s.rename(term, names::GRAPH);
        told.push(term);
        if let Some(weight) = graph.carried {
            let rows: Vec<i64> = (0..rows.further).map(|i| (rows.labelled + i) as i64).collect();
            let further = s.gather(logits, s.ints(&rows), 0);
            let targets = floats(names::CARRIED, &[rows.len(), classes]);
            let log = s.mul(targets, s.log_softmax(further));
            let value = s.scale(s.sum_all(log), -1.0 / rows.len().max(1) as f32);
            let value = s.rename(value, names::CARRIED_TERM);
            told.push(value);
            add(s, s.scale(value, weight));
        }
        let mut drawn = term;
        if let Some((weight, margin)) = graph.repulsion {
            let pairs = onnx::Edges { v: ints(names::FAR_V, rows.edges), ..edges };
            let repulsion = Repulsion { term: graph.term(), margin };
            let far = onnx::repulsive_term(s, points, pairs, &repulsion);
            let far = s.rename(far, names::FAR);
            told.push(far);
            drawn = s.add(drawn, s.scale(far, weight));
        }
        add(s, s.mul(drawn, alpha));
    }
    let total = total.unwrap_or_else(|| s.reject("objective", "at least one loss", "none"));
    // Of its own, so that a lone loss keeps its name.
    told.push(s.rename(s.scale(total, 1.0), names::TOTAL));
    if !multi {
        let likeliest =
            s.onnx("ArgMax", &[own_logits], &[("axis", 1i64.into()), ("keepdims", 0i64.into())]);
        let correct = s.sum_all(s.to_f32(s.equal(likeliest, labels)));
        told.push(s.rename(correct, names::CORRECT));
    }
    told
}
