//! Boxes: overlap, non-maximum suppression, and average precision of detections.
//!
//! [`detection_average_precision`] is PASCAL VOC's rule at one threshold, [`coco`] the whole evaluation of the COCO
//! challenge. Masks and keypoints are not covered.

mod coco;
mod detection;
mod overlap;

pub use coco::{AreaRange, Coco, CocoError, CocoTruth, Detection, coco};
pub use detection::{DetectionError, detection_average_precision};
pub use overlap::{Box2, BoxError, box_iou, non_maximum_suppression};
