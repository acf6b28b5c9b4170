//! Writing Ethernet captures in the pcap format.

use std::io::{self, Write};

use super::{Precision, Stamp};

const MAGIC_MICRO: u32 = 0xa1b2_c3d4;
const MAGIC_NANO: u32 = 0xa1b2_3c4d;
const SNAPLEN: u32 = 262_144;
const ETHERNET: u32 = 1;

/// An Ethernet pcap file being written, little-endian on every machine.
#[derive(Debug)]
pub struct CaptureWriter<W: Write> {
    sink: W,
    precision: Precision,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the file header and takes packets from then on.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn new(mut sink: W, precision: Precision) -> io::Result<Self> {
        let magic = match precision {
            Precision::Micro => MAGIC_MICRO,
            Precision::Nano => MAGIC_NANO,
        };
        sink.write_all(&magic.to_le_bytes())?;
        sink.write_all(&2_u16.to_le_bytes())?;
        sink.write_all(&4_u16.to_le_bytes())?;
        // Time zone and accuracy, which nobody uses.
        sink.write_all(&[0; 8])?;
        sink.write_all(&SNAPLEN.to_le_bytes())?;
        sink.write_all(&ETHERNET.to_le_bytes())?;
        Ok(Self { sink, precision })
    }

    /// Appends one whole frame; a stamp beyond the year 2106 is written as the last one the
    /// format can hold.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn write(&mut self, stamp: Stamp, frame: &[u8]) -> io::Result<()> {
        let nanos = u32::try_from(stamp.0 % 1_000_000_000).unwrap_or(0);
        let fraction = match self.precision {
            Precision::Micro => nanos / 1_000,
            Precision::Nano => nanos,
        };
        let seconds = u32::try_from(stamp.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        for word in [seconds, fraction, length, length] {
            self.sink.write_all(&word.to_le_bytes())?;
        }
        self.sink.write_all(frame)
    }

    /// Hands everything to the sink and gives it back.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcap::PcapReader;
    use std::time::Duration;

    fn read_back(precision: Precision) -> (Duration, u32, Vec<u8>) {
        let mut writer = CaptureWriter::new(Vec::new(), precision).unwrap();
        writer
            .write(Stamp(1_700_000_000_123_456_789), &[7; 60])
            .unwrap();
        let bytes = writer.finish().unwrap();
        let mut reader = PcapReader::new(&bytes[..]).unwrap();
        let packet = reader.next_packet().unwrap().unwrap();
        (packet.timestamp, packet.orig_len, packet.data.into_owned())
    }

    #[test]
    fn another_implementation_reads_what_was_written() {
        let nano = Duration::new(1_700_000_000, 123_456_789);
        assert_eq!(read_back(Precision::Nano), (nano, 60, vec![7; 60]));
        let micro = Duration::new(1_700_000_000, 123_456_000);
        assert_eq!(read_back(Precision::Micro), (micro, 60, vec![7; 60]));
    }

    #[test]
    fn an_empty_file_is_its_header() {
        let bytes = CaptureWriter::new(Vec::new(), Precision::Micro)
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(bytes.len(), 24);
        assert!(PcapReader::new(&bytes[..]).unwrap().next_packet().is_none());
    }
}
