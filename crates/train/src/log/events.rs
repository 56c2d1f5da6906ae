//! TensorBoard's event files: records framed as TFRecord, each an `Event` message.
//!
//! A record is its length (u64), the masked CRC-32C of the length, the bytes, their masked CRC-32C, all
//! little-endian: <https://www.tensorflow.org/tutorials/load_data/tfrecord>.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::LogError;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1 is START: TensorBoard then drops what it has at this step and later.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An event file that is being written; TensorBoard shows it while it grows.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`, for a run that goes on after `step` steps.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn create(folder: &Path, step: u64) -> Result<Self, LogError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!(
            "events.out.tfevents.{:010}.{:09}.{}.nearkin",
            now.as_secs(),
            now.subsec_nanos(),
            std::process::id()
        );
        let path = folder.join(name);
        let file = File::create(&path).map_err(|source| LogError { path: path.clone(), source })?;
        let mut events = Self { path, file };
        events
            .write(Event { file_version: Some("brain.Event:2".to_owned()), ..Event::default() })?;
        if step > 0 {
            let session_log = Some(SessionLog { status: 1 });
            events.write(Event { step: step as i64 + 1, session_log, ..Event::default() })?;
        }
        Ok(events)
    }

    /// Writes numbers of one step.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn scalars(&mut self, step: u64, values: &[(String, f64)]) -> Result<(), LogError> {
        let value = values
            .iter()
            .map(|(tag, value)| Scalar { tag: tag.clone(), simple_value: Some(*value as f32) });
        let summary = Some(Summary { value: value.collect() });
        self.write(Event { step: step as i64, summary, ..Event::default() })
    }

    fn write(&mut self, event: Event) -> Result<(), LogError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let bytes = Event { wall_time: now.as_secs_f64(), ..event }.encode_to_vec();
        let length = (bytes.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(&bytes);
        record.extend(masked(&bytes).to_le_bytes());
        self.file.write_all(&record).map_err(|source| LogError { path: self.path.clone(), source })
    }
}

/// CRC-32C, turned and shifted as TFRecord wants it.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's CRC-32, bit by bit: records are small.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let carry = 0u32.wrapping_sub(crc & 1);
            crc = (crc >> 1) ^ (0x82f6_3b78 & carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zeros, 32 of ones; and the customary check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn records_are_framed_and_hold_their_scalars() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 0).unwrap();
        events.scalars(3, &[("train/loss".to_owned(), 0.25)]).unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let length: [u8; 8] = bytes[at..at + 8].try_into().unwrap();
            let data = &bytes[at + 12..at + 12 + u64::from_le_bytes(length) as usize];
            assert_eq!(bytes[at + 8..at + 12], masked(&length).to_le_bytes());
            at += 12 + data.len();
            assert_eq!(bytes[at..at + 4], masked(data).to_le_bytes());
            at += 4;
            found.push(Event::decode(data).unwrap());
        }
        assert_eq!(found[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!(found[1].step, 3);
        let scalar = &found[1].summary.as_ref().unwrap().value[0];
        assert_eq!((scalar.tag.as_str(), scalar.simple_value), ("train/loss", Some(0.25)));
    }
}
