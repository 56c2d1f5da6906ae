//! Against scipy, scikit-learn, pytorch-metric-learning, torchmetrics and pycocotools, on `fixtures/metrics`.

#[path = "parity/agreement.rs"]
mod agreement;
#[path = "parity/classification.rs"]
mod classification;
#[path = "parity/distances.rs"]
mod distances;
#[path = "parity/fixture.rs"]
mod fixture;
#[path = "parity/generated.rs"]
mod generated;
#[path = "parity/retrieval.rs"]
mod retrieval;
