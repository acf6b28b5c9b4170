//! The server name that a TLS client asks for, read from the bytes of its stream as they come.
//!
//! Promises: reading takes a fixed amount of memory and one step per field, wherever the stream is
//! cut; bytes that are no ClientHello are seen to be none at the first one that differs. The name
//! is known with its own last byte, before the message ends. Nothing is decrypted and nothing else
//! is checked: what a server would refuse may still have a name here.
//! RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3.

use arrayvec::ArrayVec;

/// The longest server name that is read; DNS has no longer ones.
pub const NAME_MAX: usize = 255;

/// A server name in lower case.
pub type ServerName = ArrayVec<u8, NAME_MAX>;

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// The name is there, see [`ClientHello::name`].
    Named,
    /// Nothing yet: more bytes are needed.
    Unfinished,
    /// This is no ClientHello, or one without a name.
    Nameless,
}

/// What the next bytes of the message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Kind,
    Length,
    /// Version and random.
    Fixed,
    SessionLength,
    Session,
    SuitesLength,
    Suites,
    MethodsLength,
    Methods,
    ExtensionsLength,
    ExtensionKind,
    ExtensionLength(Extension),
    Extension,
    ListLength,
    NameKind,
    NameLength,
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    ServerName,
    Other,
}

/// A ClientHello on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    progress: Progress,
    /// What has been read of the record's header; empty within a record.
    header: ArrayVec<u8, RECORD_HEADER>,
    /// Bytes of the record that are still to come.
    record: u16,
    field: Field,
    /// Bytes of the field that are still to come.
    need: u32,
    /// Those that came, as a number.
    number: u32,
    /// Bytes of the message behind the field.
    left: u32,
    /// Bytes of the extension behind the field.
    extension: u32,
    name: ServerName,
}

/// Length of a record's header: type, version, length.
const RECORD_HEADER: usize = 5;
/// The most bytes that a record may have: RFC 8446 section 5.1, and room for older ciphers.
const RECORD_MAX: u16 = (1 << 14) + 2048;
/// The type of a record with handshake messages.
const HANDSHAKE: u8 = 22;
/// The type of a ClientHello.
const CLIENT_HELLO: u32 = 1;

impl Default for ClientHello {
    fn default() -> Self {
        Self {
            progress: Progress::Unfinished,
            header: ArrayVec::new(),
            record: 0,
            field: Field::Kind,
            need: 1,
            number: 0,
            left: 3,
            extension: 0,
            name: ServerName::new(),
        }
    }
}

impl ClientHello {
    /// The name, whole once reading it has ended with [`Progress::Named`].
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Reads on in `bytes`: how far it has come, and how many of them it took.
    pub fn read(&mut self, bytes: &[u8]) -> (Progress, usize) {
        let mut rest = bytes;
        while self.progress == Progress::Unfinished && !rest.is_empty() {
            let most = if self.record == 0 {
                1
            } else {
                u32::from(self.record).min(self.need)
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at(most.min(rest.len()));
            rest = behind;
            if self.record == 0 {
                part.iter().for_each(|byte| self.take_header(*byte));
            } else {
                self.take(part);
            }
        }
        (self.progress, bytes.len() - rest.len())
    }

    fn take_header(&mut self, byte: u8) {
        // There is room: a full header is emptied below.
        let _ = self.header.try_push(byte);
        self.progress = match self.header.as_slice() {
            [HANDSHAKE] | [HANDSHAKE, 3, ..] => Progress::Unfinished,
            _ => Progress::Nameless,
        };
        if let [_, _, _, high, low] = *self.header.as_slice() {
            self.header.clear();
            self.record = u16::from_be_bytes([high, low]);
            if self.record == 0 || self.record > RECORD_MAX {
                self.progress = Progress::Nameless;
            }
        }
    }

    /// Takes bytes of one record and one field.
    fn take(&mut self, part: &[u8]) {
        let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
        self.need = self.need.saturating_sub(len);
        // No part is longer than what its record still has.
        self.record = self
            .record
            .saturating_sub(u16::try_from(len).unwrap_or(u16::MAX));
        match self.field {
            Field::Fixed | Field::Session | Field::Suites | Field::Methods | Field::Extension => {}
            Field::Name => self.name.extend(part.iter().map(u8::to_ascii_lowercase)),
            Field::Kind
            | Field::Length
            | Field::SessionLength
            | Field::SuitesLength
            | Field::MethodsLength
            | Field::ExtensionsLength
            | Field::ExtensionKind
            | Field::ExtensionLength(_)
            | Field::ListLength
            | Field::NameKind
            | Field::NameLength => {
                for byte in part {
                    self.number = self.number << 8 | u32::from(*byte);
                }
            }
        }
        while self.need == 0 && self.progress == Progress::Unfinished {
            let number = std::mem::take(&mut self.number);
            self.progress = match self.next(number) {
                Some(progress) => progress,
                None => Progress::Nameless,
            };
        }
    }

    /// Goes on behind a whole field that said `number`; `None` if it cannot be.
    fn next(&mut self, number: u32) -> Option<Progress> {
        match self.field {
            Field::Kind if number == CLIENT_HELLO => self.expect(Field::Length, 3),
            Field::Kind => None,
            Field::Length => {
                self.left = number;
                self.expect(Field::Fixed, 34)
            }
            Field::Fixed => self.expect(Field::SessionLength, 1),
            Field::SessionLength => self.expect(Field::Session, number),
            Field::Session => self.expect(Field::SuitesLength, 2),
            Field::SuitesLength => self.expect(Field::Suites, number),
            Field::Suites => self.expect(Field::MethodsLength, 1),
            Field::MethodsLength => self.expect(Field::Methods, number),
            Field::Methods => self.expect(Field::ExtensionsLength, 2),
            Field::ExtensionsLength | Field::Extension => self.expect(Field::ExtensionKind, 2),
            Field::ExtensionKind => {
                let extension = match number {
                    0 => Extension::ServerName,
                    _ => Extension::Other,
                };
                self.expect(Field::ExtensionLength(extension), 2)
            }
            Field::ExtensionLength(Extension::Other) => self.expect(Field::Extension, number),
            Field::ExtensionLength(Extension::ServerName) => {
                self.extension = number;
                self.expect_within(Field::ListLength, 2)
            }
            Field::ListLength => self.expect_within(Field::NameKind, 1),
            // Host names are the only kind there is.
            Field::NameKind if number == 0 => self.expect_within(Field::NameLength, 2),
            Field::NameKind => None,
            Field::NameLength => {
                let fits = usize::try_from(number).is_ok_and(|len| (1..=NAME_MAX).contains(&len));
                fits.then_some(())?;
                self.expect_within(Field::Name, number)
            }
            Field::Name => Some(Progress::Named),
        }
    }

    /// The next field, which has to lie within the message.
    fn expect(&mut self, field: Field, len: u32) -> Option<Progress> {
        self.left = self.left.checked_sub(len)?;
        self.field = field;
        self.need = len;
        Some(Progress::Unfinished)
    }

    /// The same for a field that has to lie within the extension, too.
    fn expect_within(&mut self, field: Field, len: u32) -> Option<Progress> {
        self.extension = self.extension.checked_sub(len)?;
        self.expect(field, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    /// A ClientHello for `name` behind other extensions, in records of at most `record` bytes.
    fn hello(name: &[u8], before: usize, record: usize) -> Vec<u8> {
        let sized = |bytes: &[u8]| {
            let len = u16::try_from(bytes.len()).unwrap();
            [&len.to_be_bytes(), bytes].concat()
        };
        let host = [&[0][..], &sized(name)].concat();
        let server_name = [&[0, 0][..], &sized(&sized(&host))].concat();
        let other = [&[0, 21][..], &sized(&vec![0; before])].concat();
        let extensions = sized(&[other, server_name, vec![0, 23, 0, 0]].concat());
        let fixed = [
            &[3, 3][..],
            &[7; 32],
            &[4, 1, 2, 3, 4],
            &[0, 2, 19, 1],
            &[1, 0],
        ]
        .concat();
        let body = [fixed, extensions].concat();
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1][..], &len[1..], &body].concat();
        let records = message.chunks(record);
        records
            .flat_map(|part| [&[22, 3, 1][..], &sized(part)].concat())
            .collect()
    }

    fn read_in_pieces(bytes: &[u8], cuts: &[usize]) -> (Progress, Vec<u8>, usize) {
        let mut reading = ClientHello::default();
        let (mut rest, mut taken, mut progress) = (bytes, 0, Progress::Unfinished);
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() && progress == Progress::Unfinished {
            let (part, behind) = rest.split_at(cuts.next().unwrap_or(1).clamp(1, rest.len()));
            let (now, took) = reading.read(part);
            (progress, rest, taken) = (now, behind, taken + took);
        }
        (progress, reading.name().to_vec(), taken)
    }

    #[test]
    fn the_name_is_read_in_lower_case_and_with_its_last_byte() {
        let bytes = hello(b"WWW.Example.org", 9, 9_000);
        let (progress, name, taken) = read_in_pieces(&bytes, &[bytes.len()]);
        assert_eq!(
            (progress, &*name),
            (Progress::Named, &b"www.example.org"[..])
        );
        assert!(bytes[..taken].ends_with(b"WWW.Example.org"));
        for len in 0..taken {
            let (progress, ..) = read_in_pieces(&bytes[..len], &[len]);
            assert_eq!(progress, Progress::Unfinished, "{len} bytes are not enough");
        }
    }

    #[test]
    fn what_is_no_client_hello_is_seen_at_the_first_byte_that_differs() {
        let sound = hello(b"example.org", 0, 9_000);
        let taken = |at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            let (progress, _, taken) = read_in_pieces(&bytes, &[bytes.len()]);
            (progress, taken)
        };
        assert_eq!(taken(0, 23), (Progress::Nameless, 1), "application data");
        assert_eq!(taken(1, 2), (Progress::Nameless, 2));
        assert_eq!(taken(3, 0xff), (Progress::Nameless, 5), "too long a record");
        assert_eq!(taken(5, 2), (Progress::Nameless, 6), "a ServerHello");
        assert_eq!(
            read_in_pieces(&[22, 3, 1, 0, 0], &[5]).0,
            Progress::Nameless
        );
    }

    #[test]
    fn a_message_that_ends_before_its_name_is_nameless() {
        // The length of the message is cut short, then that of the extension.
        for (at, value) in [(8, 40), (8, 60)] {
            let mut bytes = hello(b"example.org", 0, 9_000);
            bytes[at] = value;
            assert_eq!(read_in_pieces(&bytes, &[7]).0, Progress::Nameless);
        }
        let empty = hello(b"", 0, 9_000);
        assert_eq!(read_in_pieces(&empty, &[7]).0, Progress::Nameless);
        let long = hello(&[b'a'; NAME_MAX + 1], 0, 9_000);
        assert_eq!(read_in_pieces(&long, &[700]).0, Progress::Nameless);
    }

    proptest! {
        #[test]
        fn wherever_stream_and_records_are_cut_the_name_is_the_same(
            name in proptest::collection::vec(b'a'..=b'z', 1..=NAME_MAX),
            before in 0..3_000_usize,
            record in 1..2_000_usize,
            cuts in proptest::collection::vec(1..2_000_usize, 1..8),
        ) {
            let bytes = hello(&name, before, record);
            let whole = read_in_pieces(&bytes, &[bytes.len()]);
            prop_assert_eq!((whole.0, &whole.1), (Progress::Named, &name));
            prop_assert_eq!(read_in_pieces(&bytes, &cuts), whole);
        }

        #[test]
        fn any_bytes_end_or_wait_and_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            flips in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..6),
            cuts in proptest::collection::vec(1..50_usize, 1..4),
        ) {
            read_in_pieces(&bytes, &cuts);
            let mut near = hello(b"www.example.org", 20, 100);
            for (at, byte) in flips {
                let at = at.index(near.len());
                near[at] = byte;
            }
            let whole = read_in_pieces(&near, &[near.len()]);
            prop_assert!(whole.1.len() <= NAME_MAX && whole.2 <= near.len());
            prop_assert_eq!(read_in_pieces(&near, &cuts), whole);
        }
    }
}
