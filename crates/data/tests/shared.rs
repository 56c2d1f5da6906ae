//! The real MNIST and Fashion-MNIST files, where the shared folder is there.

mod shared_folder;

use nearkin_data::{Dataset, Interpolation, Preprocess};
use shared_folder::shared;

#[test]
fn mnist_has_its_published_counts() {
    let Some(folder) = shared("mnist") else { return };
    let set = Dataset::load(&folder).unwrap();
    let (train, test) = (set.train.unwrap(), set.test.unwrap());
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    assert_eq!(train.class_counts(), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
}

#[test]
fn a_shortened_training_part_is_read_as_it_is() {
    let Some(folder) = shared("fashion-mnist") else { return };
    let set = Dataset::load(&folder).unwrap();
    let (train, test) = (set.train.unwrap(), set.test.unwrap());
    assert_eq!((train.len(), test.len()), (10_000, 10_000));
    assert_eq!(test.class_counts(), [1000; 10]);
    let preprocess = Preprocess {
        size: (32, 32),
        channels: 1,
        mean: vec![0.0],
        std: vec![1.0],
        interpolation: Interpolation::Bilinear,
    };
    let mut batches = test.batches(&preprocess, 256).unwrap();
    let mut seen = 0;
    while let Some(batch) = batches.next_batch() {
        assert!(batch.images.iter().all(|v| (0.0..=1.0).contains(v)));
        seen += batch.labels.len();
    }
    assert_eq!(seen, 10_000);
}
