//! One annotation file: the objects of an image.

use roxmltree::{Document, Node, ParsingOptions};
use thiserror::Error;

use crate::Region;

/// Elements that an annotation may have; VOC's have a few hundred.
const MAX_NODES: u32 = 1 << 17;

/// The objects of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VocAnnotation {
    /// Height and width in pixels.
    pub size: (usize, usize),
    /// The objects, in the file's order.
    pub objects: Vec<VocObject>,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VocObject {
    /// The name of its class.
    pub class: String,
    /// Its bounding box, from 0. The file counts from 1 and includes the last row and column.
    pub region: Region,
    /// Hard to recognise: it counts neither as present nor as absent.
    pub difficult: bool,
    /// The box shows only a part of the object.
    pub truncated: bool,
}

/// Why an annotation was refused.
#[derive(Debug, Error)]
pub enum VocXmlError {
    /// Not well-formed XML, or with a document type or too many elements.
    #[error("expected XML without a document type: {0}")]
    Xml(#[from] roxmltree::Error),
    /// An element is not there.
    #[error("line {line}: expected <{expected}> in <{inside}>, found none")]
    Missing {
        /// Line of the element around it.
        line: u32,
        /// The element's name.
        expected: &'static str,
        /// The name of the element around it.
        inside: String,
    },
    /// An element's text is of no use.
    #[error("line {line}: <{element}>: expected {expected}, found {found:?}")]
    Value {
        /// Line of the element.
        line: u32,
        /// The element's name.
        element: &'static str,
        /// What would have been read.
        expected: String,
        /// Its text.
        found: String,
    },
}

impl VocAnnotation {
    /// Reads an annotation. Parts of objects (heads, hands, feet) are not taken for objects.
    ///
    /// Coordinates with decimals, as later years have them, are rounded.
    ///
    /// # Errors
    /// [`VocXmlError`]: broken XML, a missing element, a box that is empty or outside the image.
    ///
    /// # Examples
    /// ```
    /// let xml = "<annotation><size><width>9</width><height>8</height></size>
    ///     <object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>
    ///     <xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>";
    /// let cat = &nearkin_data::VocAnnotation::parse(xml)?.objects[0];
    /// assert_eq!((cat.region.left, cat.region.top), (0, 1));
    /// assert_eq!((cat.region.width, cat.region.height), (9, 7));
    /// # Ok::<(), nearkin_data::VocXmlError>(())
    /// ```
    pub fn parse(xml: &str) -> Result<Self, VocXmlError> {
        let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(xml, options)?;
        let root = document.root_element();
        if root.tag_name().name() != "annotation" {
            let inside = root.tag_name().name().to_owned();
            return Err(VocXmlError::Missing { line: 1, expected: "annotation", inside });
        }
        let size = child(root, "size")?;
        let side = |name| integer(child(size, name)?, name, (1, i64::from(u32::MAX)));
        let (height, width) = (side("height")?, side("width")?);
        let objects = root.children().filter(|node| node.has_tag_name("object"));
        let objects = objects.map(|node| object(node, (height, width)));
        let objects = objects.collect::<Result<_, _>>()?;
        Ok(Self { size: (height as usize, width as usize), objects })
    }
}

fn object(node: Node<'_, '_>, (height, width): (i64, i64)) -> Result<VocObject, VocXmlError> {
    let class = text(child(node, "name")?);
    if class.is_empty() {
        return Err(value(child(node, "name")?, "name", "the name of a class".to_owned()));
    }
    let bounds = child(node, "bndbox")?;
    let xmin = integer(child(bounds, "xmin")?, "xmin", (1, width))?;
    let ymin = integer(child(bounds, "ymin")?, "ymin", (1, height))?;
    let xmax = integer(child(bounds, "xmax")?, "xmax", (xmin, width))?;
    let ymax = integer(child(bounds, "ymax")?, "ymax", (ymin, height))?;
    let flag = |name| match child(node, name) {
        Ok(node) => integer(node, name, (0, 1)).map(|flag| flag == 1),
        // Some tools leave out what is 0.
        Err(_) => Ok(false),
    };
    Ok(VocObject {
        class,
        // All are at least 1, and each end is at least its start.
        region: Region {
            top: (ymin - 1) as usize,
            left: (xmin - 1) as usize,
            height: (ymax - ymin + 1) as usize,
            width: (xmax - xmin + 1) as usize,
        },
        difficult: flag("difficult")?,
        truncated: flag("truncated")?,
    })
}

fn child<'a, 'b>(node: Node<'a, 'b>, name: &'static str) -> Result<Node<'a, 'b>, VocXmlError> {
    node.children().find(|child| child.has_tag_name(name)).ok_or_else(|| VocXmlError::Missing {
        line: line(node),
        expected: name,
        inside: node.tag_name().name().to_owned(),
    })
}

fn integer(
    node: Node<'_, '_>,
    element: &'static str,
    (least, most): (i64, i64),
) -> Result<i64, VocXmlError> {
    let number = text(node).parse::<f64>().ok().filter(|number| number.is_finite());
    // A cast of a float saturates.
    let number = number.map(|number| number.round() as i64);
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let expected = format!("a number of {least} to {most}");
        value(node, element, expected)
    })
}

fn value(node: Node<'_, '_>, element: &'static str, expected: String) -> VocXmlError {
    VocXmlError::Value { line: line(node), element, expected, found: text(node) }
}

fn text(node: Node<'_, '_>) -> String {
    node.text().unwrap_or_default().trim().to_owned()
}

fn line(node: Node<'_, '_>) -> u32 {
    node.document().text_pos_at(node.range().start).row
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn annotation(object: &str) -> String {
        format!(
            "<annotation>\n<size><width>20</width><height>10</height></size>\n\
             <object>\n<name>dog</name>{object}</object></annotation>"
        )
    }

    fn bounds(xmin: &str, ymin: &str, xmax: &str, ymax: &str) -> String {
        format!(
            "<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax>\
             <ymax>{ymax}</ymax></bndbox>"
        )
    }

    fn check(xml: &str, expected_error: &str) {
        let error = VocAnnotation::parse(xml).unwrap_err().to_string();
        assert!(error.starts_with(expected_error), "{error}\nexpected: {expected_error}");
    }

    #[test]
    fn boxes_count_from_1_and_include_their_end() {
        let whole = VocAnnotation::parse(&annotation(&bounds("1", "1", "20", "10"))).unwrap();
        assert_eq!(whole.size, (10, 20));
        let expected = Region { top: 0, left: 0, height: 10, width: 20 };
        assert_eq!(whole.objects[0].region, expected);
        let pixel = VocAnnotation::parse(&annotation(&bounds("3.4", "2", "3", "2"))).unwrap();
        let expected = Region { top: 1, left: 2, height: 1, width: 1 };
        assert_eq!(pixel.objects[0].region, expected);
    }

    #[test]
    fn the_parts_of_a_person_are_no_objects() {
        let head = "<part><name>head</name>".to_owned() + &bounds("4", "4", "5", "5") + "</part>";
        let xml = annotation(&(head + &bounds("1", "1", "20", "10")));
        let read = VocAnnotation::parse(&xml).unwrap();
        assert_eq!((read.objects.len(), read.objects[0].region.width), (1, 20));
    }

    #[test]
    fn faults_name_their_line() {
        check("<annotation>", "expected XML");
        check("no XML", "expected XML");
        check("<html/>", "line 1: expected <annotation> in <html>");
        check("<annotation/>", "line 1: expected <size> in <annotation>, found none");
        check(&annotation(""), "line 3: expected <bndbox> in <object>, found none");
        let outside = annotation(&bounds("1", "1", "21", "10"));
        check(&outside, "line 4: <xmax>: expected a number of 1 to 20, found \"21\"");
        let from_zero = annotation(&bounds("0", "1", "20", "10"));
        check(&from_zero, "line 4: <xmin>: expected a number of 1 to 20, found \"0\"");
        let turned = annotation(&bounds("1", "5", "2", "4"));
        check(&turned, "line 4: <ymax>: expected a number of 5 to 10, found \"4\"");
        check(&annotation(&bounds("1", "nan", "2", "4")), "line 4: <ymin>: expected a number");
    }

    #[test]
    fn entities_that_grow_and_deep_nesting_are_refused() {
        check("<!DOCTYPE a [<!ENTITY b \"bb\">]><annotation>&b;</annotation>", "expected XML");
        check(&"<annotation>".repeat(200_000), "expected XML");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(xml in "[<>/a-z&;\"=! 0-9]{0,200}") {
            drop(VocAnnotation::parse(&xml));
            drop(VocAnnotation::parse(&annotation(&xml)));
        }
    }
}
