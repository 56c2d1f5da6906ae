//! Pascal VOC: images with several classes, objects with boxes, masks.
//!
//! Everingham et al., 2010, <https://doi.org/10.1007/s11263-009-0275-4>; the layout is that of
//! `VOCdevkit/VOC2007`, and other years and sets that keep to it are read as well. Masks of
//! instances (`SegmentationObject`) and parts of persons are not read.

mod annotation;
mod error;
mod mask;
mod sets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use annotation::{VocAnnotation, VocObject, VocXmlError};
pub use error::VocError;
pub use mask::{MaskError, MaskFault, VOC_BORDER, read_mask, read_mask_bytes};

use crate::walk::{entries, own_name};
use crate::{Format, ListedPart, Listing, Quarantined, Sample, Split, Target};
use sets::{ClassList, Listed, Presence, classes_listed, read_class_list, read_list};

/// Bytes that an annotation file may have.
const MAX_XML_BYTES: u64 = 16 << 20;

/// What a sample is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VocTask {
    /// An image with all its classes.
    #[default]
    Images,
    /// The box of one object, with its class.
    Objects,
    /// An image of the segmentation lists with its mask and all its classes.
    Segmentation,
}

/// Objects to leave out of [`VocTask::Objects`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VocObjects {
    /// Those marked difficult.
    #[default]
    DropDifficult,
    /// Those marked difficult or truncated.
    DropDifficultAndTruncated,
    /// None.
    KeepAll,
}

/// Which lists the parts are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VocLists {
    /// `train.txt`, `val.txt` and `test.txt`; `trainval.txt` to train on if the first two are
    /// not there.
    #[default]
    TrainAndVal,
    /// `trainval.txt` to train on, and `test.txt`.
    TrainVal,
}

/// What [`read_voc`] may be told.
#[derive(Clone, Debug, Default)]
pub struct VocOptions {
    /// What a sample is.
    pub task: VocTask,
    /// Objects that are no samples.
    pub objects: VocObjects,
    /// Which lists the parts are made of.
    pub lists: VocLists,
}

/// Where VOC's folders are: `root` itself, a year in it, or a year in `VOCdevkit` in it. Several
/// years are an error, which lists them.
pub(crate) fn voc_folder(root: &Path) -> Option<Result<PathBuf, Vec<String>>> {
    let is_voc = |folder: &Path| {
        folder.join("ImageSets").is_dir()
            && (folder.join("Annotations").is_dir() || folder.join("JPEGImages").is_dir())
    };
    if is_voc(root) {
        return Some(Ok(root.to_owned()));
    }
    for folder in [root.to_owned(), root.join("VOCdevkit")] {
        let Ok((inside, _)) = entries(&folder) else { continue };
        let mut years: Vec<PathBuf> = inside
            .into_iter()
            .filter(|entry| entry.is_folder && entry.name().starts_with("VOC"))
            .map(|entry| entry.path)
            .filter(|path| is_voc(path))
            .collect();
        if years.len() > 1 {
            return Some(Err(years.iter().map(|year| own_name(year)).collect()));
        }
        if let Some(year) = years.pop() {
            return Some(Ok(year));
        }
    }
    None
}

/// Lists a VOC folder: the devkit, the folder around it, or one year.
///
/// Classes are those with a list `<class>_<part>.txt` in `ImageSets/Main`, sorted; without such
/// lists those of the annotations. An image's classes come from its annotation: present with an
/// object that is not difficult, difficult with only such, absent otherwise. What the lists of the
/// classes say must be the same. An image without an annotation takes the lists' word; without
/// either it is unlabelled if the whole part is, and set aside otherwise.
///
/// An image that is not there and an annotation that cannot be read are set aside.
///
/// # Errors
/// [`VocError`]: another layout, a broken list, lists and annotations that disagree.
pub fn read_voc(root: &Path, options: &VocOptions) -> Result<Listing, VocError> {
    let layout = |found| VocError::Layout { path: root.to_owned(), found };
    let folder = match voc_folder(root) {
        Some(Ok(folder)) => folder,
        Some(Err(years)) => return Err(layout(years)),
        None => return Err(layout(Vec::new())),
    };
    let parts = find_parts(&folder, options)?;
    let class_folder = folder.join("ImageSets/Main");
    let mut listed_classes = BTreeSet::new();
    for part in parts.iter().filter(|_| class_folder.is_dir()) {
        listed_classes.extend(classes_listed(&class_folder, part.list)?);
    }
    let mut reader = Reader { folder, class_folder, quarantine: Vec::new() };
    let read: Vec<_> = parts.iter().map(|part| (part.split, reader.annotations(part))).collect();
    let class_names: Vec<String> = if listed_classes.is_empty() {
        let all = read.iter().flat_map(|(_, images)| images).filter_map(|i| i.annotation.as_ref());
        let names: BTreeSet<_> = all.flat_map(|a| &a.objects).map(|o| o.class.clone()).collect();
        names.into_iter().collect()
    } else {
        listed_classes.into_iter().collect()
    };
    let classes: BTreeMap<&str, usize> =
        class_names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let mut listed = Vec::new();
    for (part, (split, images)) in parts.iter().zip(read) {
        let samples = reader.samples(part, images, &classes, options)?;
        listed.push(ListedPart { split, samples });
    }
    if listed.iter().all(|part| part.samples.is_empty()) {
        let quarantine = reader.quarantine;
        return Err(VocError::NoImages { path: root.to_owned(), quarantine });
    }
    Ok(Listing {
        name: own_name(root),
        root: root.to_owned(),
        format: Format::Voc,
        class_names,
        class_ids: Vec::new(),
        parts: listed,
        ignored: 0,
        quarantine: reader.quarantine,
    })
}

struct PartList {
    split: Split,
    /// `train`, `val`, `trainval` or `test`.
    list: &'static str,
    images: Vec<Listed>,
}

struct Image {
    id: String,
    path: PathBuf,
    annotation: Option<VocAnnotation>,
    mask: Option<PathBuf>,
}

fn find_parts(folder: &Path, options: &VocOptions) -> Result<Vec<PartList>, VocError> {
    let kind = match options.task {
        VocTask::Images | VocTask::Objects => "Main",
        VocTask::Segmentation => "Segmentation",
    };
    let folder = folder.join("ImageSets").join(kind);
    let path = |list: &str| folder.join(format!("{list}.txt"));
    let trainval = [(Split::Train, "trainval"), (Split::Test, "test")];
    let separate = [(Split::Train, "train"), (Split::Validation, "val"), (Split::Test, "test")];
    let lists = match options.lists {
        VocLists::TrainVal => &trainval[..],
        VocLists::TrainAndVal
            if path("trainval").is_file() && !path("train").is_file() && !path("val").is_file() =>
        {
            &trainval[..]
        }
        VocLists::TrainAndVal => &separate[..],
    };
    let mut parts = Vec::new();
    let mut part_of: BTreeMap<String, Split> = BTreeMap::new();
    for &(split, list) in lists.iter().filter(|(_, list)| path(list).is_file()) {
        let images = read_list(&path(list))?;
        for Listed { id, line } in &images {
            if let Some(other) = part_of.insert(id.clone(), split) {
                let (path, line, id) = (path(list), *line, id.clone());
                return Err(VocError::InTwoParts { path, line, split, id, other });
            }
        }
        parts.push(PartList { split, list, images });
    }
    if parts.is_empty() {
        let expected = lists.iter().map(|(_, list)| format!("{list}.txt")).collect();
        return Err(VocError::NoLists { path: folder, expected });
    }
    Ok(parts)
}

struct Reader {
    folder: PathBuf,
    class_folder: PathBuf,
    quarantine: Vec<Quarantined>,
}

impl Reader {
    fn set_aside(&mut self, name: String, reason: String) {
        self.quarantine.push(Quarantined { name, reason });
    }

    /// The images of a part that are there and whose annotation can be read or is not there.
    fn annotations(&mut self, part: &PartList) -> Vec<Image> {
        let mut images = Vec::new();
        for Listed { id, line } in &part.images {
            let jpeg = format!("{id}.jpg");
            let path = self.folder.join("JPEGImages").join(&jpeg);
            if !path.is_file() {
                let reason = format!(
                    "expected the image of line {line} of {}.txt in JPEGImages, found none",
                    part.list
                );
                self.set_aside(jpeg, reason);
                continue;
            }
            let xml = self.folder.join("Annotations").join(format!("{id}.xml"));
            let annotation = match read_xml(&xml) {
                Ok(annotation) => annotation,
                Err(reason) => {
                    self.set_aside(jpeg, format!("Annotations/{id}.xml: {reason}"));
                    continue;
                }
            };
            let mask = self.folder.join("SegmentationClass").join(format!("{id}.png"));
            let mask = mask.is_file().then_some(mask);
            images.push(Image { id: id.clone(), path, annotation, mask });
        }
        images
    }

    fn samples(
        &mut self,
        part: &PartList,
        images: Vec<Image>,
        classes: &BTreeMap<&str, usize>,
        options: &VocOptions,
    ) -> Result<Vec<Sample>, VocError> {
        let lists = ClassLists::read(&self.class_folder, part, classes)?;
        let some_annotated = images.iter().any(|image| image.annotation.is_some());
        let mut samples = Vec::new();
        for image in images {
            let name = format!("{}.jpg", image.id);
            if options.task == VocTask::Segmentation && image.mask.is_none() {
                let reason = "expected a mask in SegmentationClass, found none".to_owned();
                self.set_aside(name, reason);
                continue;
            }
            let target = match &image.annotation {
                Some(annotation) => {
                    let presence = self.presence(&image.id, annotation, classes)?;
                    lists.check(&image.id, &presence)?;
                    target(&presence)
                }
                None if !lists.lists.is_empty() => target(&lists.presence(&image.id)?),
                None if !some_annotated => Target::Unlabelled,
                None => {
                    let reason = format!("expected Annotations/{}.xml, found none", image.id);
                    self.set_aside(name, reason);
                    continue;
                }
            };
            if options.task == VocTask::Objects {
                samples.extend(objects(image, classes, options.objects));
            } else {
                let mask = image.mask;
                samples.push(Sample { mask, ..Sample::of_file(name, image.path, target) });
            }
        }
        Ok(samples)
    }

    /// The presence of every class by the annotation, `[classes]`.
    fn presence(
        &self,
        id: &str,
        annotation: &VocAnnotation,
        classes: &BTreeMap<&str, usize>,
    ) -> Result<Vec<Presence>, VocError> {
        let mut presence = vec![Presence::Absent; classes.len()];
        for object in &annotation.objects {
            let class = *classes.get(object.class.as_str()).ok_or_else(|| VocError::Class {
                path: self.folder.join("Annotations").join(format!("{id}.xml")),
                classes: classes.len(),
                found: object.class.clone(),
            })?;
            if !object.difficult {
                presence[class] = Presence::Present;
            } else if presence[class] == Presence::Absent {
                presence[class] = Presence::Difficult;
            }
        }
        Ok(presence)
    }
}

/// What the lists of the classes say of the images of one part.
struct ClassLists {
    /// Class, file, and what it says.
    lists: Vec<(usize, PathBuf, ClassList)>,
    classes: usize,
}

impl ClassLists {
    fn read(
        folder: &Path,
        part: &PartList,
        classes: &BTreeMap<&str, usize>,
    ) -> Result<Self, VocError> {
        let mut lists = Vec::new();
        for (class, &index) in classes {
            let path = folder.join(format!("{class}_{}.txt", part.list));
            if path.is_file() {
                let list = read_class_list(&path)?;
                lists.push((index, path, list));
            }
        }
        Ok(Self { lists, classes: classes.len() })
    }

    fn check(&self, id: &str, presence: &[Presence]) -> Result<(), VocError> {
        for (class, path, list) in &self.lists {
            let &(found, line) = list.get(id).ok_or_else(|| self.not_listed(path, id))?;
            if found != presence[*class] {
                return Err(VocError::Disagrees {
                    path: path.clone(),
                    line,
                    id: id.to_owned(),
                    expected: presence[*class].as_str(),
                    found: found.as_str(),
                });
            }
        }
        Ok(())
    }

    fn presence(&self, id: &str) -> Result<Vec<Presence>, VocError> {
        let mut presence = vec![Presence::Absent; self.classes];
        for (class, path, list) in &self.lists {
            let &(found, _) = list.get(id).ok_or_else(|| self.not_listed(path, id))?;
            presence[*class] = found;
        }
        Ok(presence)
    }

    fn not_listed(&self, path: &Path, id: &str) -> VocError {
        VocError::NotListed { path: path.to_owned(), id: id.to_owned() }
    }
}

fn target(presence: &[Presence]) -> Target {
    let with = |asked: Presence| -> Vec<usize> {
        (0..presence.len()).filter(|&class| presence[class] == asked).collect()
    };
    Target::Classes { present: with(Presence::Present), difficult: with(Presence::Difficult) }
}

/// A sample for each object that is wanted, named by its place in the annotation, from 0.
fn objects(image: Image, classes: &BTreeMap<&str, usize>, wanted: VocObjects) -> Vec<Sample> {
    let keep = |object: &VocObject| match wanted {
        VocObjects::KeepAll => true,
        VocObjects::DropDifficult => !object.difficult,
        VocObjects::DropDifficultAndTruncated => !object.difficult && !object.truncated,
    };
    let Image { id, path, annotation, .. } = image;
    let objects = annotation.map(|annotation| annotation.objects).unwrap_or_default();
    let kept = objects.into_iter().enumerate().filter(|(_, object)| keep(object));
    let sample = |(index, object): (usize, VocObject)| {
        let class = *classes.get(object.class.as_str())?;
        let name = format!("{id}.jpg#{index}");
        let whole = Sample::of_file(name, path.clone(), Target::Class(class));
        Some(Sample { region: Some(object.region), ..whole })
    };
    kept.filter_map(sample).collect()
}

/// The annotation, `None` if there is no file, or the reason why it is of no use.
fn read_xml(path: &Path) -> Result<Option<VocAnnotation>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let mut bytes = Vec::new();
    file.take(MAX_XML_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_XML_BYTES {
        return Err(format!("expected at most {MAX_XML_BYTES} bytes, found more"));
    }
    let text = String::from_utf8_lossy(&bytes);
    VocAnnotation::parse(text.trim_start_matches('\u{feff}')).map(Some).map_err(|e| e.to_string())
}
