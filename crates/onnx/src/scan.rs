//! Finds fields that [`crate::proto`] does not list, so that none is dropped in silence.
//!
//! A protobuf decoder skips what it does not know. A file of a newer ONNX would lose those parts
//! when it is written again, so the reader walks the wire format first and refuses such a file by
//! the message and the field's number. It deliberately checks no meaning.

use prost::bytes::Buf;

/// A message type as the scanner knows it: its name, and for each field the message it holds, if any.
struct Message {
    name: &'static str,
    plain: &'static [u32],
    nested: &'static [(u32, &'static Message)],
}

static ENTRY: Message = Message { name: "StringStringEntryProto", plain: &[1, 2], nested: &[] };
static OPSET: Message = Message { name: "OperatorSetIdProto", plain: &[1, 2], nested: &[] };
static SEGMENT: Message = Message { name: "TensorProto.Segment", plain: &[1, 2], nested: &[] };
static TENSOR: Message = Message {
    name: "TensorProto",
    plain: &[1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14],
    nested: &[(3, &SEGMENT), (13, &ENTRY), (16, &ENTRY)],
};
static SPARSE: Message =
    Message { name: "SparseTensorProto", plain: &[3], nested: &[(1, &TENSOR), (2, &TENSOR)] };
static DIMENSION: Message =
    Message { name: "TensorShapeProto.Dimension", plain: &[1, 2, 3], nested: &[] };
static SHAPE: Message =
    Message { name: "TensorShapeProto", plain: &[], nested: &[(1, &DIMENSION)] };
static TENSOR_TYPE: Message =
    Message { name: "TypeProto.Tensor", plain: &[1], nested: &[(2, &SHAPE)] };
static ELEMENT: Message = Message { name: "TypeProto.Sequence", plain: &[], nested: &[(1, &TYPE)] };
static MAP: Message = Message { name: "TypeProto.Map", plain: &[1], nested: &[(2, &TYPE)] };
static OPAQUE: Message = Message { name: "TypeProto.Opaque", plain: &[1, 2], nested: &[] };
static TYPE: Message = Message {
    name: "TypeProto",
    plain: &[6],
    nested: &[
        (1, &TENSOR_TYPE),
        (4, &ELEMENT),
        (5, &MAP),
        (7, &OPAQUE),
        (8, &TENSOR_TYPE),
        (9, &ELEMENT),
    ],
};
static VALUE_INFO: Message =
    Message { name: "ValueInfoProto", plain: &[1, 3], nested: &[(2, &TYPE), (4, &ENTRY)] };
static ANNOTATION: Message =
    Message { name: "TensorAnnotation", plain: &[1], nested: &[(2, &ENTRY)] };
static ATTRIBUTE: Message = Message {
    name: "AttributeProto",
    plain: &[1, 2, 3, 4, 7, 8, 9, 13, 20, 21],
    nested: &[
        (5, &TENSOR),
        (6, &GRAPH),
        (10, &TENSOR),
        (11, &GRAPH),
        (14, &TYPE),
        (15, &TYPE),
        (22, &SPARSE),
        (23, &SPARSE),
    ],
};
static NODE_DEVICE: Message =
    Message { name: "NodeDeviceConfigurationProto", plain: &[1, 2, 3], nested: &[] };
static NODE: Message = Message {
    name: "NodeProto",
    plain: &[1, 2, 3, 4, 6, 7, 8],
    nested: &[(5, &ATTRIBUTE), (9, &ENTRY), (10, &NODE_DEVICE)],
};
static GRAPH: Message = Message {
    name: "GraphProto",
    plain: &[2, 10],
    nested: &[
        (1, &NODE),
        (5, &TENSOR),
        (11, &VALUE_INFO),
        (12, &VALUE_INFO),
        (13, &VALUE_INFO),
        (14, &ANNOTATION),
        (15, &SPARSE),
        (16, &ENTRY),
    ],
};
static TRAINING: Message = Message {
    name: "TrainingInfoProto",
    plain: &[],
    nested: &[(1, &GRAPH), (2, &GRAPH), (3, &ENTRY), (4, &ENTRY)],
};
static FUNCTION: Message = Message {
    name: "FunctionProto",
    plain: &[1, 4, 5, 6, 8, 10, 13],
    nested: &[(7, &NODE), (9, &OPSET), (11, &ATTRIBUTE), (12, &VALUE_INFO), (14, &ENTRY)],
};
static DEVICES: Message =
    Message { name: "DeviceConfigurationProto", plain: &[1, 2, 3], nested: &[] };
static MODEL: Message = Message {
    name: "ModelProto",
    plain: &[1, 2, 3, 4, 5, 6],
    nested: &[
        (7, &GRAPH),
        (8, &OPSET),
        (14, &ENTRY),
        (20, &TRAINING),
        (25, &FUNCTION),
        (26, &DEVICES),
    ],
};

/// Nesting deeper than this is refused (the decoder's own limit is 100 messages).
const MAX_DEPTH: usize = 96;

/// What the scan met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The bytes are not protobuf at this offset.
    Malformed { offset: usize },
    /// A field that this crate does not know.
    Unknown { message: &'static str, field: u32, offset: usize },
}

/// Walks `bytes` as a `ModelProto` and returns the first thing that is wrong or unknown.
pub(crate) fn check_model(bytes: &[u8]) -> Result<(), Finding> {
    walk(bytes, 0, &MODEL, 0)
}

fn walk(bytes: &[u8], base: usize, message: &Message, depth: usize) -> Result<(), Finding> {
    if depth > MAX_DEPTH {
        return Err(Finding::Malformed { offset: base });
    }
    let mut rest = bytes;
    // Reported only if the whole message is protobuf: other files look like unknown fields at first.
    let mut unknown = None;
    while !rest.is_empty() {
        let offset = base + bytes.len() - rest.len();
        let malformed = || Finding::Malformed { offset };
        let key = varint(&mut rest).ok_or_else(malformed)?;
        let field = u32::try_from(key >> 3).map_err(|_| malformed())?;
        if field == 0 {
            return Err(malformed());
        }
        let nested = message.nested.iter().find(|(number, _)| *number == field);
        if nested.is_none() && !message.plain.contains(&field) {
            unknown.get_or_insert(Finding::Unknown { message: message.name, field, offset });
        }
        let skip = match key & 7 {
            0 => {
                varint(&mut rest).ok_or_else(malformed)?;
                0
            }
            1 => 8,
            2 => {
                let length = varint(&mut rest).ok_or_else(malformed)?;
                usize::try_from(length).map_err(|_| malformed())?
            }
            5 => 4,
            _ => return Err(malformed()),
        };
        if skip > rest.len() {
            return Err(malformed());
        }
        if let Some((_, inner)) = nested {
            if key & 7 != 2 {
                return Err(malformed());
            }
            walk(&rest[..skip], base + bytes.len() - rest.len(), inner, depth + 1)?;
        }
        rest.advance(skip);
    }
    unknown.map_or(Ok(()), Err)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_named_with_its_message() {
        let bytes = [0x08, 0x08, 0xf8, 0x06, 0x01]; // ir_version = 8, then field 111 = 1
        assert_eq!(
            check_model(&bytes),
            Err(Finding::Unknown { message: "ModelProto", field: 111, offset: 2 })
        );
    }

    #[test]
    fn a_truncated_message_is_malformed_at_its_offset() {
        assert_eq!(
            check_model(&[0x08, 0x08, 0x3a, 0x05, 0x12]),
            Err(Finding::Malformed { offset: 2 })
        );
        assert_eq!(check_model(b"\x89PNG\r\n"), Err(Finding::Malformed { offset: 0 }));
    }
}
