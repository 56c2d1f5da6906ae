//! Edges from a table: a Parquet file with a column for either end.

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use bytes::Bytes;

use super::{Collector, NodeNames, OutsideEdges, OutsideError, Unknown, checked_weight};

/// Which columns hold an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParquetColumns<'a> {
    /// The name of the source: text, or an integer that stands for its decimal digits.
    pub source: &'a str,
    /// The name of the target, likewise.
    pub target: &'a str,
    /// The weight, float or double. Where the file has no such column, and where it is null, the weight is 1.
    pub weight: &'a str,
}

impl Default for ParquetColumns<'_> {
    /// `source`, `target`, `weight`.
    fn default() -> Self {
        Self { source: "source", target: "target", weight: "weight" }
    }
}

/// Reads arcs by the names of their ends from a Parquet file, uncompressed or with Snappy or gzip.
///
/// The rules are those of [`crate::read_tsv_edges`], lines in errors are rows. Other columns are not read.
///
/// - `bytes`: the file's content.
/// - `names`: which name is which node.
///
/// # Errors
/// [`OutsideError`], with the row; [`OutsideError::Parquet`] for a file that is none, is broken, or is
/// compressed otherwise.
pub fn read_parquet_edges(
    bytes: Vec<u8>,
    names: &NodeNames<'_>,
    columns: ParquetColumns<'_>,
    unknown: Unknown,
) -> Result<OutsideEdges, OutsideError> {
    // The reader's own checks leave a few panics to files broken on purpose; none may get out.
    let read = std::panic::AssertUnwindSafe(|| read(bytes, names, columns, unknown));
    std::panic::catch_unwind(read)
        .unwrap_or_else(|_| Err(ParquetError::General("the file is broken".to_owned()).into()))
}

fn read(
    bytes: Vec<u8>,
    names: &NodeNames<'_>,
    columns: ParquetColumns<'_>,
    unknown: Unknown,
) -> Result<OutsideEdges, OutsideError> {
    let reader = SerializedFileReader::new(Bytes::from(bytes))?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted = projection(schema, columns)?;
    let mut edges = Collector::new(names, unknown);
    for (row, line) in reader.get_row_iter(Some(wanted))?.zip(1..) {
        let row = row?;
        let source = name(&row, line, columns.source)?;
        let target = name(&row, line, columns.target)?;
        edges.push(line, [&source, &target], weight(&row, line, columns.weight)?)?;
    }
    edges.finish()
}

/// The schema with nothing but the columns of an edge.
fn projection(schema: &Type, columns: ParquetColumns<'_>) -> Result<Type, OutsideError> {
    let fields = schema.get_fields();
    for column in [columns.source, columns.target] {
        if !fields.iter().any(|field| field.name() == column) {
            let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
            return Err(OutsideError::Column {
                row: 0,
                column: column.to_owned(),
                expected: "a column of that name",
                found: names.join(", "),
            });
        }
    }
    let wanted = [columns.source, columns.target, columns.weight];
    let kept = fields.iter().filter(|field| wanted.contains(&field.name())).cloned().collect();
    Ok(Type::group_type_builder(schema.name()).with_fields(kept).build()?)
}

fn field<'a>(row: &'a Row, column: &str) -> Option<&'a Field> {
    row.get_column_iter().find(|(name, _)| *name == column).map(|(_, field)| field)
}

fn name(row: &Row, line: usize, column: &str) -> Result<String, OutsideError> {
    let wrong = |found: String| OutsideError::Column {
        row: line,
        column: column.to_owned(),
        expected: "text or an integer",
        found,
    };
    Ok(match field(row, column) {
        Some(Field::Str(text)) => text.clone(),
        // Text of writers that leave the column unmarked.
        Some(Field::Bytes(bytes)) => match str::from_utf8(bytes.data()) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err(wrong("bytes that are not UTF-8".to_owned())),
        },
        Some(Field::Byte(v)) => v.to_string(),
        Some(Field::Short(v)) => v.to_string(),
        Some(Field::Int(v)) => v.to_string(),
        Some(Field::Long(v)) => v.to_string(),
        Some(Field::UByte(v)) => v.to_string(),
        Some(Field::UShort(v)) => v.to_string(),
        Some(Field::UInt(v)) => v.to_string(),
        Some(Field::ULong(v)) => v.to_string(),
        Some(other) => return Err(wrong(other.to_string())),
        None => return Err(wrong("nothing".to_owned())),
    })
}

fn weight(row: &Row, line: usize, column: &str) -> Result<f32, OutsideError> {
    let weight = match field(row, column) {
        None | Some(Field::Null) => 1.0,
        Some(Field::Float(weight)) => f64::from(*weight),
        Some(Field::Double(weight)) => *weight,
        Some(other) => {
            return Err(OutsideError::Column {
                row: line,
                column: column.to_owned(),
                expected: "a float or double",
                found: other.to_string(),
            });
        }
    };
    checked_weight(weight).ok_or_else(|| OutsideError::Weight { line, found: weight.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::basic::Compression;
    use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use std::sync::Arc as Shared;

    const NAMES: [&str; 3] = ["7", "8", "9"];

    /// A file of texts, integers and weights; a NaN becomes null.
    fn file(
        sources: &[&str],
        targets: &[i64],
        weights: &[f64],
        compression: Compression,
    ) -> Vec<u8> {
        let schema = "message edges { required binary source (UTF8); required double noise; \
                      required int64 target; optional double weight; }";
        let schema = Shared::new(parse_message_type(schema).unwrap());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut bytes = Vec::new();
        let mut file =
            SerializedFileWriter::new(&mut bytes, schema, Shared::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        let texts: Vec<ByteArray> = sources.iter().map(|&text| ByteArray::from(text)).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&vec![0.5; targets.len()], None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(targets, None, None).unwrap();
        column.close().unwrap();
        let levels: Vec<i16> = weights.iter().map(|w| i16::from(!w.is_nan())).collect();
        let present: Vec<f64> = weights.iter().copied().filter(|w| !w.is_nan()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&present, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        bytes
    }

    fn read(bytes: Vec<u8>, unknown: Unknown) -> Result<OutsideEdges, OutsideError> {
        let names = NodeNames::new(&NAMES).unwrap();
        read_parquet_edges(bytes, &names, ParquetColumns::default(), unknown)
    }

    #[test]
    fn texts_and_integers_name_nodes_and_a_null_weight_is_1() {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
            let bytes =
                file(&["7", "8", "8", "x"], &[9, 7, 8, 7], &[0.5, f64::NAN, 1.0, 1.0], compression);
            let edges = read(bytes, Unknown::Count).unwrap();
            assert_eq!((edges.unknown, edges.loops), (1, 1));
            assert_eq!(edges.graph.view().weight(0, 2), Some(0.5));
            assert_eq!(edges.graph.view().weight(1, 0), Some(1.0));
            assert_eq!(edges.graph.view().arc_count(), 2);
        }
    }

    #[test]
    fn errors_say_the_row_and_the_column() {
        let written =
            |weight| file(&["7", "x"], &[8, 7], &[weight, 1.0], Compression::UNCOMPRESSED);
        let error = read(written(1.0), Unknown::Refuse).unwrap_err();
        assert_eq!(error.to_string(), "line 2: expected the name of a node, found \"x\"");
        let error = read(written(-1.0), Unknown::Count).unwrap_err();
        assert!(
            error.to_string().starts_with("line 1, weight: expected a finite number"),
            "{error}"
        );
        let names = NodeNames::new(&NAMES).unwrap();
        let from = |columns| {
            read_parquet_edges(written(1.0), &names, columns, Unknown::Count).unwrap_err()
        };
        let error = from(ParquetColumns { source: "from", ..ParquetColumns::default() });
        assert_eq!(
            error.to_string(),
            "row 0, column \"from\": expected a column of that name, found source, noise, target, weight"
        );
        let error = from(ParquetColumns { source: "noise", ..ParquetColumns::default() });
        assert!(
            error.to_string().starts_with("row 1, column \"noise\": expected text or an integer"),
            "{error}"
        );
        let error = from(ParquetColumns { weight: "target", ..ParquetColumns::default() });
        assert!(error.to_string().contains("expected a float or double, found 8"), "{error}");
    }

    #[test]
    fn broken_files_are_refused_without_a_panic() {
        let whole = file(&["7", "8"], &[9, 7], &[0.5, 1.0], Compression::SNAPPY);
        assert!(read(Vec::new(), Unknown::Count).is_err());
        for length in 0..whole.len() {
            assert!(read(whole[..length].to_vec(), Unknown::Count).is_err(), "{length} bytes");
        }
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << bit;
                // Parquet has no checksum by default: what comes out may be wrong, but does come out.
                let _ = read(bytes, Unknown::Count);
            }
        }
    }
}
