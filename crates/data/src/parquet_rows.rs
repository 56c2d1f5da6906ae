//! The rows of a Parquet manifest, without Arrow.
//!
//! Compression: none, Snappy or gzip. Others name their codec in the error.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::page::Page;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use crate::manifest::{Columns, ManifestFault, ManifestRow, row};

/// Reads the rows of a Parquet table; columns as in [`crate::read_manifest_rows`]. Labels may be
/// text, whole numbers, or lists of either.
///
/// # Errors
/// [`ManifestFault`].
pub fn read_parquet_rows(
    table: impl ChunkReader + 'static,
) -> Result<Vec<ManifestRow>, ManifestFault> {
    // The library has asserts on what it reads; a damaged file must not end a run.
    catch_unwind(AssertUnwindSafe(|| read(table))).unwrap_or(Err(ManifestFault::Damaged))
}

/// A file, or a place in it, beyond whose end a read is an error: the library skips what a page header
/// claims, billions of values, without noticing that there are none left.
struct Ending<R>(R);

impl<R: ChunkReader> Length for Ending<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for Ending<R> {
    type T = Ending<R::T>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        self.0.get_read(start).map(Ending)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // Before anything is allocated for them.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.0.get_bytes(start, length)
    }
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

/// The library reserves memory for as many values as a dictionary claims, before it reads one; here
/// a claim of more values than bytes, of which each takes one at least, is refused.
fn refuse_lying_dictionaries<R: ChunkReader + 'static>(
    reader: &SerializedFileReader<R>,
    wanted: &[usize],
) -> Result<(), ManifestFault> {
    let schema = reader.metadata().file_metadata().schema_descr();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        let leaves = (0..schema.num_columns().min(group.num_columns()))
            .filter(|&leaf| wanted.contains(&schema.get_column_root_idx(leaf)));
        for leaf in leaves {
            let mut pages = group.get_column_page_reader(leaf)?;
            while let Some(next) = pages.peek_next_page()? {
                if !next.is_dict {
                    pages.skip_next_page()?;
                    continue;
                }
                if let Some(Page::DictionaryPage { buf, num_values, .. }) = pages.get_next_page()?
                    && num_values as usize > buf.len()
                {
                    return Err(ManifestFault::Damaged);
                }
            }
        }
    }
    Ok(())
}

fn read(table: impl ChunkReader + 'static) -> Result<Vec<ManifestRow>, ManifestFault> {
    let reader = SerializedFileReader::new(Ending(table))?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
    let fields = schema.get_fields();
    let header: Vec<String> = fields.iter().map(|field| field.name().to_owned()).collect();
    let Columns { path, label, split } = Columns::find(&header)?;
    // Only these columns are read; they keep the file's order.
    let mut wanted: Vec<usize> = [Some(path), label, split].into_iter().flatten().collect();
    wanted.sort_unstable();
    refuse_lying_dictionaries(&reader, &wanted)?;
    let projected = Type::group_type_builder(schema.name())
        .with_fields(wanted.iter().map(|&column| Arc::clone(&fields[column])).collect())
        .build()?;
    let place = |column: usize| wanted.iter().position(|&wanted| wanted == column);
    let mut rows = Vec::new();
    for (index, record) in
        RowIter::from_file_into(Box::new(reader)).project(Some(projected))?.enumerate()
    {
        let record = record?;
        let line = index as u64 + 1;
        let cells: Vec<&Field> = record.get_column_iter().map(|(_, field)| field).collect();
        let texts = |column: Option<usize>, name: &'static str| {
            let field = column.and_then(place).and_then(|place| cells.get(place));
            field.map_or(Ok(Vec::new()), |field| texts(field, line, name))
        };
        let one = |column, name| Ok(texts(column, name)?.into_iter().next().unwrap_or_default());
        let path: Result<String, ManifestFault> = one(Some(path), "path");
        let split: Result<String, ManifestFault> = one(split, "split");
        let labels = texts(label, "label")?;
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        rows.push(row(line, &path?, &labels, &split?)?);
    }
    Ok(rows)
}

fn texts(field: &Field, line: u64, column: &'static str) -> Result<Vec<String>, ManifestFault> {
    Ok(vec![match field {
        Field::Null => return Ok(Vec::new()),
        Field::Str(text) => text.clone(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        Field::Byte(number) => number.to_string(),
        Field::Short(number) => number.to_string(),
        Field::Int(number) => number.to_string(),
        Field::Long(number) => number.to_string(),
        Field::UByte(number) => number.to_string(),
        Field::UShort(number) => number.to_string(),
        Field::UInt(number) => number.to_string(),
        Field::ULong(number) => number.to_string(),
        Field::ListInternal(list) => {
            let texts = list.elements().iter().map(|element| texts(element, line, column));
            return Ok(texts.collect::<Result<Vec<_>, _>>()?.concat());
        }
        other => {
            let mut found = other.to_string();
            found = found.chars().take(80).collect();
            let expected = "text or whole numbers";
            return Err(ManifestFault::Cell { line, column, expected, found });
        }
    }])
}
