//! Reading capture files of either format, compressed or not.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{
    Block, InterfaceDescriptionBlock, LegacyPcapReader, PcapBlockOwned, PcapError, PcapHeader,
    PcapNGReader,
};

use super::{Link, Precision, Stamp};

/// The longest block a file may hold; a longer one is damage.
const BLOCK_MAX: usize = 1 << 20;
/// The most interfaces one section of a pcapng file may describe.
const SECTION_INTERFACES_MAX: usize = 4096;

/// Why a capture file cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It cannot be opened or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It starts like neither format.
    #[error(
        "{path}: not a capture; pcap and pcapng are read, each also compressed with gzip",
        path = path.display()
    )]
    NotACapture {
        /// The file.
        path: PathBuf,
    },
    /// Its packets cannot become Ethernet frames.
    #[error(
        "{path}: link type {number} is not supported; Ethernet, raw IP, Linux cooked and \
         null/loop are",
        path = path.display()
    )]
    LinkType {
        /// The file.
        path: PathBuf,
        /// The number in the registry of link types.
        number: u32,
    },
}

/// One packet of a capture, as an Ethernet frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// When it was captured; a packet without a stamp has that of the one before it.
    pub stamp: Stamp,
    /// Its number in the file, from 1, packets passed over included.
    pub index: u64,
    /// The frame, as much of it as was kept.
    pub frame: Vec<u8>,
}

/// Packets that were passed over because nothing could be made of their link type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passed {
    /// How many.
    pub packets: u64,
    /// The numbers of the link types they had; a packet of an interface that the file does not
    /// describe adds none.
    pub link_types: BTreeSet<u32>,
}

/// A capture file being read, one packet at a time.
pub struct CaptureFile {
    path: PathBuf,
    blocks: Box<dyn PcapReaderIterator + Send>,
    layout: Layout,
    damage: Option<String>,
    ended: bool,
}

impl std::fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureFile")
            .field("path", &self.path)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl CaptureFile {
    /// Opens a pcap or pcapng file, compressed with gzip or not.
    ///
    /// # Errors
    /// The file cannot be opened, is no capture, or is a pcap of a link type that cannot become
    /// Ethernet.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let io = |source| CaptureError::Io {
            path: path.to_owned(),
            source,
        };
        let file = BufReader::new(File::open(path).map_err(io)?);
        let (head, plain) = peek::<2>(file).map_err(io)?;
        if head == [0x1f, 0x8b] {
            let unpacked = MultiGzDecoder::new(BufReader::new(plain));
            Self::read_from(path, unpacked)
        } else {
            Self::read_from(path, plain)
        }
    }

    /// Reads a capture that is not compressed; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`CaptureFile::open`].
    pub fn read_from(
        path: &Path,
        source: impl Read + Send + 'static,
    ) -> Result<Self, CaptureError> {
        let refused = |_| CaptureError::NotACapture {
            path: path.to_owned(),
        };
        let io = |source| CaptureError::Io {
            path: path.to_owned(),
            source,
        };
        let (head, source) = peek::<4>(source).map_err(io)?;
        let source = Greedy {
            source,
            pending: None,
        };
        let blocks: Box<dyn PcapReaderIterator + Send> = if head == [0x0a, 0x0d, 0x0d, 0x0a] {
            Box::new(PcapNGReader::new(BLOCK_MAX, source).map_err(refused)?)
        } else {
            Box::new(LegacyPcapReader::new(BLOCK_MAX, source).map_err(refused)?)
        };
        let mut file = Self {
            path: path.to_owned(),
            blocks,
            layout: Layout::default(),
            damage: None,
            ended: false,
        };
        file.read_header()?;
        Ok(file)
    }

    /// The next packet, `None` at the end of the file or of what can be read of it.
    pub fn next_packet(&mut self) -> Option<Captured> {
        while !self.ended {
            match self.step() {
                Step::Packet(packet) => return Some(packet),
                Step::Nothing => {}
                Step::End(damage) => {
                    self.ended = true;
                    self.damage = damage;
                }
            }
        }
        None
    }

    /// What was found wrong with the file, once its end has been reached.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// The packets passed over so far.
    pub fn passed(&self) -> &Passed {
        &self.layout.passed
    }

    /// How fine the stamps are, of the interfaces described so far.
    pub fn precision(&self) -> Precision {
        self.layout.precision
    }

    /// The file as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A pcap's header decides whether the file can be used.
    fn read_header(&mut self) -> Result<(), CaptureError> {
        let Ok((length, block)) = self.blocks.next() else {
            return Err(CaptureError::NotACapture {
                path: self.path.clone(),
            });
        };
        if let PcapBlockOwned::LegacyHeader(header) = block {
            let interface = Interface::of_pcap(&header);
            if interface.link.is_none() {
                let number = interface.number;
                return Err(CaptureError::LinkType {
                    path: self.path.clone(),
                    number,
                });
            }
            self.layout.describe(interface);
            self.blocks.consume(length);
        }
        Ok(())
    }

    /// Takes one block off the file.
    fn step(&mut self) -> Step {
        let wrong = match self.blocks.next() {
            Ok((length, block)) => {
                let step = self.layout.take(&block);
                drop(block);
                self.blocks.consume(length);
                return step;
            }
            Err(PcapError::Incomplete(_)) => None,
            Err(PcapError::Eof) => return Step::End(None),
            Err(PcapError::UnexpectedEof) => Some("the file ends in the middle of a block"),
            Err(PcapError::BufferTooSmall) => Some("a block is longer than any packet can be"),
            Err(PcapError::ReadError) => Some("the file cannot be read further"),
            Err(
                PcapError::HeaderNotRecognized
                | PcapError::NomError(..)
                | PcapError::OwnedNomError(..),
            ) => Some("a block contradicts the format"),
        };
        match wrong {
            Some(what) => Step::End(Some(self.layout.after_last(what))),
            None => match self.blocks.refill() {
                Ok(()) => Step::Nothing,
                Err(_) => Step::End(Some(
                    self.layout.after_last("the file cannot be read further"),
                )),
            },
        }
    }
}

/// What one block of a file comes to.
enum Step {
    Packet(Captured),
    Nothing,
    /// The end, and what was wrong if it came early.
    End(Option<String>),
}

/// What has to be remembered from block to block.
#[derive(Debug, Default)]
struct Layout {
    /// The interfaces of the section; a pcap has one.
    interfaces: Vec<Interface>,
    big_endian: bool,
    /// Packets so far.
    index: u64,
    last: Stamp,
    precision: Precision,
    passed: Passed,
}

impl Layout {
    fn take(&mut self, block: &PcapBlockOwned<'_>) -> Step {
        match block {
            PcapBlockOwned::LegacyHeader(_) => Step::Nothing,
            PcapBlockOwned::Legacy(record) => {
                let fraction = match self.precision {
                    Precision::Micro => u64::from(record.ts_usec) * 1_000,
                    Precision::Nano => u64::from(record.ts_usec),
                };
                let nanos = u64::from(record.ts_sec) * 1_000_000_000 + fraction;
                self.packet(0, Some(Stamp(nanos)), record.data)
            }
            PcapBlockOwned::NG(block) => self.take_ng(block),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum; every other kind of block is about something else than packets"
    )]
    fn take_ng(&mut self, block: &Block<'_>) -> Step {
        match block {
            Block::SectionHeader(section) => {
                self.big_endian = section.big_endian();
                self.interfaces.clear();
                Step::Nothing
            }
            Block::InterfaceDescription(described) => {
                if self.interfaces.len() >= SECTION_INTERFACES_MAX {
                    return Step::End(Some(self.after_last("too many interfaces are described")));
                }
                self.describe(Interface::of_pcapng(described, self.big_endian));
                Step::Nothing
            }
            Block::EnhancedPacket(packet) => {
                let count = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let stamp = interface_at(&self.interfaces, packet.if_id)
                    .map(|i| Stamp::from_units(count, i.per_second, i.offset_s));
                self.packet(packet.if_id, stamp, packet.packet_data())
            }
            Block::SimplePacket(packet) => self.packet(0, None, packet.packet_data()),
            _ => Step::Nothing,
        }
    }

    fn describe(&mut self, interface: Interface) {
        self.precision = self.precision.max(interface.precision());
        self.interfaces.push(interface);
    }

    /// A packet of an interface; without a stamp it has that of the packet before it.
    fn packet(&mut self, interface: u32, stamp: Option<Stamp>, data: &[u8]) -> Step {
        self.index += 1;
        self.last = stamp.unwrap_or(self.last);
        let described = interface_at(&self.interfaces, interface);
        match described.and_then(|i| i.link) {
            Some(link) => Step::Packet(Captured {
                stamp: self.last,
                index: self.index,
                frame: link.to_ethernet(data),
            }),
            None => {
                self.passed.packets += 1;
                self.passed.link_types.extend(described.map(|i| i.number));
                Step::Nothing
            }
        }
    }

    fn after_last(&self, what: &str) -> String {
        format!("{what}, after packet {}", self.index)
    }
}

fn interface_at(interfaces: &[Interface], index: u32) -> Option<&Interface> {
    interfaces.get(usize::try_from(index).ok()?)
}

/// What a file says about the packets of one interface.
#[derive(Debug, Clone, Copy)]
struct Interface {
    number: u32,
    link: Option<Link>,
    /// Units of its stamps in a second.
    per_second: u64,
    /// What its stamps lack, in seconds.
    offset_s: i64,
}

impl Interface {
    fn of_pcap(header: &PcapHeader) -> Self {
        // The upper half of the field tells about a trailing check sequence, which the packet's
        // own length cuts off.
        let number = header.network.0.cast_unsigned() & 0xffff;
        let nano = header.is_nanosecond_precision();
        Self {
            number,
            link: Link::from_number(number),
            per_second: if nano { 1_000_000_000 } else { 1_000_000 },
            offset_s: 0,
        }
    }

    fn of_pcapng(described: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        let number = described.linktype.0.cast_unsigned();
        // The library reads the offset as little-endian always.
        let offset = described.if_tsoffset;
        Self {
            number,
            link: Link::from_number(number),
            per_second: units_per_second(described.if_tsresol),
            offset_s: if big_endian {
                offset.swap_bytes()
            } else {
                offset
            },
        }
    }

    const fn precision(&self) -> Precision {
        if self.per_second > 1_000_000 {
            Precision::Nano
        } else {
            Precision::Micro
        }
    }
}

/// `if_tsresol`: a negative power of ten, or of two when the highest bit is set. Powers beyond
/// what 64 bits hold become the largest that fits.
const fn units_per_second(resolution: u8) -> u64 {
    const POWER_OF_TWO: u8 = 0x80;
    let exponent = (resolution & !POWER_OF_TWO) as u32;
    if resolution & POWER_OF_TWO == 0 {
        10_u64.saturating_pow(exponent)
    } else {
        2_u64.saturating_pow(exponent)
    }
}

/// Reads the first bytes and gives them back with a reader that starts with them; a shorter file
/// reads as if zeros followed here, and only here.
fn peek<const N: usize>(mut source: impl Read) -> io::Result<([u8; N], impl Read)> {
    let mut head = Vec::with_capacity(N);
    Read::by_ref(&mut source)
        .take(N as u64)
        .read_to_end(&mut head)?;
    let mut first = [0; N];
    for (to, from) in first.iter_mut().zip(&head) {
        *to = *from;
    }
    Ok((first, Cursor::new(head).chain(source)))
}

/// Fills the buffer as far as the source goes: the parsers take a short first read for a file
/// that ends there.
struct Greedy<R> {
    source: R,
    /// An error that came after some bytes: they are handed out first.
    pending: Option<io::Error>,
}

impl<R: Read> Read for Greedy<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if filled > 0 => {
                    self.pending = Some(e);
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}
