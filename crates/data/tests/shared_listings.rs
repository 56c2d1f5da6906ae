//! The real data sets as listings, where the shared folder is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shared_folder;

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use nearkin_data::{
    Dataset, Format, Listing, OpenOptions, Pixels, Split, Target, VocObjects, VocTask, Vocabulary,
    read_mask, read_shard,
};
use shared_folder::shared;

fn open(path: &Path) -> Listing {
    Listing::open(path, &OpenOptions { strict: true, ..OpenOptions::default() }).unwrap()
}

#[test]
fn mnist_and_fashion_mnist_are_listed() {
    for (name, train) in [("mnist", 60_000), ("fashion-mnist", 10_000)] {
        let Some(folder) = shared(name) else { return };
        let listing = open(&folder);
        assert_eq!((listing.format, listing.count()), (Format::Idx, train + 10_000));
        assert_eq!(listing.class_names.len(), 10);
        assert_eq!(listing.part(Split::Train).unwrap().samples.len(), train);
    }
}

#[test]
fn cifar_10s_test_set_has_its_published_counts() {
    let Some(folder) = shared("cifar-10-test") else { return };
    let set = Dataset::load(&folder).unwrap();
    assert_eq!((set.class_names[0].as_str(), set.train), ("airplane", None));
    let test = set.test.unwrap();
    assert_eq!((test.len(), test.image_shape()), (10_000, [3, 32, 32]));
    assert_eq!(test.class_counts(), [1000; 10]);
}

#[test]
fn short_cifar_files_are_read_as_they_are() {
    let (Some(short), Some(full)) = (shared("cifar-10-10pct"), shared("cifar-10-test")) else {
        return;
    };
    let listing = open(&short);
    assert_eq!((listing.format, listing.count()), (Format::Cifar10, 6000));
    let train = listing.part(Split::Train).unwrap();
    assert_eq!(train.samples[4999].name, "data_batch_5.bin#999");
    let first = Dataset::load(&short).unwrap().test.unwrap();
    let all = Dataset::load(&full).unwrap().test.unwrap();
    let indices: Vec<usize> = (0..1000).collect();
    assert_eq!(first, all.select(Split::Test, &indices).unwrap());
}

#[test]
fn the_voc_sample_is_as_its_readme_says() {
    let Some(folder) = shared("voc2007-sample") else { return };
    let listing = open(&folder);
    assert_eq!((listing.format, listing.class_names.len()), (Format::Voc, 20));
    let counts: Vec<_> = listing.parts.iter().map(|p| (p.split, p.samples.len())).collect();
    assert_eq!(counts, [(Split::Train, 73), (Split::Validation, 37), (Split::Test, 74)]);
    let difficult = |sample: &nearkin_data::Sample| match &sample.target {
        Target::Classes { difficult, .. } => difficult.len(),
        _ => 0,
    };
    let all = || listing.parts.iter().flat_map(|part| &part.samples);
    assert!(all().map(difficult).sum::<usize>() > 0);
    let mut options = OpenOptions { strict: true, ..OpenOptions::default() };
    options.voc.task = VocTask::Objects;
    options.voc.objects = VocObjects::KeepAll;
    assert_eq!(Listing::open(&folder, &options).unwrap().count(), 582);
}

#[test]
fn the_masks_of_voc_name_classes_of_their_images_only() {
    let Some(folder) = shared("voc2007-sample") else { return };
    let mut options = OpenOptions { strict: true, ..OpenOptions::default() };
    options.voc.task = VocTask::Segmentation;
    let listing = Listing::open(&folder, &options).unwrap();
    assert_eq!(listing.count(), 156);
    for sample in listing.parts.iter().flat_map(|part| &part.samples) {
        let mask = read_mask(sample.mask.as_ref().unwrap()).unwrap();
        let Target::Classes { present, difficult } = &sample.target else { panic!("no classes") };
        for &value in &mask {
            let class = usize::from(value).wrapping_sub(1);
            let known = value == 0 || value == 255;
            assert!(known || present.contains(&class) || difficult.contains(&class));
        }
    }
}

#[test]
fn the_imagenet_sample_takes_the_models_numbers() {
    let Some(folder) = shared("imagenet-sample") else { return };
    let listing = open(&folder);
    assert_eq!((listing.format, listing.class_names.len()), (Format::ImageNet, 1000));
    let dev = listing.part(Split::Validation).unwrap();
    assert_eq!(dev.classes(), Some((0..200).collect()));
    assert_eq!(listing.class_names[0], "tench");
    assert_eq!(listing.class_ids.last().unwrap(), "n15075141");
    let by_json = Vocabulary::read(&folder.join("imagenet_class_index.json")).unwrap();
    assert_eq!(by_json.wnids().unwrap(), listing.class_ids);
}

#[test]
fn the_lists_of_21_thousand_classes_name_them() {
    let Some(folder) = shared("imagenet-labels") else { return };
    let synsets = folder.join("imagenet21k_goog_synsets.txt");
    let lemmas = folder.join("imagenet21k_wordnet_lemmas.txt");
    let words = Vocabulary::read_lists(&synsets, &lemmas).unwrap();
    assert_eq!((words.len(), words.name(0)), (21_843, Some("organism")));
    let table = Vocabulary::read(&folder.join("imagenet_synset_to_lemma.txt")).unwrap();
    assert_eq!(table.len(), 21_844);
    assert_eq!(Vocabulary::read(&synsets).unwrap().with_lemmas_of(&table), words);
    let tabby = words.find("tabby cat").unwrap();
    assert_eq!(words.classes()[tabby].wnid.as_deref(), Some("n02123045"));
    assert!(words.candidates("crane").len() > 1);
    // The photos of 200 classes get the numbers of a model of 21,843.
    let Some(photos) = shared("imagenet-sample") else { return };
    let scored = words.label(open(&photos));
    let wnid = |class: usize| words.classes()[class].wnid.clone().unwrap();
    let classes = scored.parts[0].classes().unwrap();
    assert_eq!((classes.len(), wnid(classes[0]).as_str()), (200, "n01440764"));
    assert!(scored.quarantine.is_empty());
}

#[test]
fn omniglots_folders_are_classes() {
    let Some(folder) = shared("omniglot-small") else { return };
    let archive = File::open(folder.join("images_background_small1.zip")).unwrap();
    let unpacked = tempfile::tempdir().unwrap();
    zip::ZipArchive::new(archive).unwrap().extract(unpacked.path()).unwrap();
    let listing = open(&unpacked.path().join("images_background_small1"));
    // Alphabets are the classes of this layout; their characters lie one folder deeper.
    assert_eq!((listing.format, listing.class_names.len()), (Format::Folder, 5));
    assert_eq!(listing.count(), 2720);
    let greek = open(&unpacked.path().join("images_background_small1/Greek"));
    assert_eq!((greek.class_names.len(), greek.count()), (24, 480));
}

#[test]
fn real_photos_lie_where_their_shard_says() {
    let Some(folder) = shared("imagenet-sample") else { return };
    let photos = open(&folder);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("photos.tar");
    let mut archive = tar::Builder::new(File::create(&path).unwrap());
    let some = &photos.parts[0].samples[..5];
    for sample in some {
        let Pixels::File(file) = &sample.pixels else { panic!("no file") };
        archive.append_path_with_name(file, file.file_name().unwrap()).unwrap();
    }
    archive.finish().unwrap();
    let mut archive = File::open(&path).unwrap();
    let shard = read_shard(&archive).unwrap();
    assert_eq!((shard.members.len(), shard.faults.len()), (5, 0));
    for (member, sample) in shard.members.iter().zip(some) {
        archive.seek(SeekFrom::Start(member.offset)).unwrap();
        let mut bytes = Vec::new();
        (&archive).take(member.len).read_to_end(&mut bytes).unwrap();
        let Pixels::File(file) = &sample.pixels else { panic!("no file") };
        assert!(bytes == fs::read(file).unwrap(), "{}", sample.name);
    }
}
