//! Searching the first data of connections for many patterns at once.

use std::ffi::CString;
use std::sync::Arc;

use hs_sys::{Database, NoMemory, Scanner, Stream};

use super::BUFFER_MAX;
use super::pattern::Pattern;

/// Patterns, compiled together; equal ones look for the same in the same order.
#[derive(Debug)]
pub struct Patterns {
    all: Vec<Pattern>,
    database: Arc<Database>,
    asks_end: bool,
}

impl Patterns {
    /// Compiles patterns, the one that wins over others first.
    ///
    /// # Errors
    /// Why they cannot be searched for together, though each can.
    pub fn compile(all: Vec<Pattern>) -> Result<Self, String> {
        let texts: Vec<CString> = all.iter().map(|p| p.carried().clone()).collect();
        let database = Database::compile(&texts).map_err(|refused| refused.reason)?;
        Ok(Self {
            asks_end: all.iter().any(Pattern::asks_end),
            database: Arc::new(database),
            all,
        })
    }

    /// The patterns, in their order.
    pub fn all(&self) -> &[Pattern] {
        &self.all
    }

    /// How many bytes a connection takes while it is read.
    pub fn reading_bytes(&self) -> usize {
        self.database.stream_bytes() + size_of::<Reading>()
    }

    /// How many bytes the compiled patterns take.
    pub fn bytes(&self) -> usize {
        self.database.bytes()
    }
}

/// How far a connection has been read.
#[derive(Debug)]
pub struct Reading {
    stream: Stream,
    bytes: usize,
}

/// What became of a connection with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// This pattern, by its place, was found: the reading is done with.
    Found(usize),
    /// Nothing yet.
    More,
    /// Nothing in all the data that is searched: the reading is done with.
    Full,
}

/// Reads connections, on one thread.
#[derive(Debug)]
pub struct Reader {
    scanner: Scanner,
    patterns: Arc<Patterns>,
    /// A payload without its NUL bytes; kept, so that its memory is.
    clean: Vec<u8>,
}

impl Reader {
    /// Takes the room that reading takes.
    ///
    /// # Errors
    /// [`NoMemory`] if there is none.
    pub fn new(patterns: &Arc<Patterns>) -> Result<Self, NoMemory> {
        Ok(Self {
            scanner: Scanner::new(&patterns.database)?,
            patterns: Arc::clone(patterns),
            clean: Vec::with_capacity(BUFFER_MAX),
        })
    }

    /// What is looked for.
    pub fn patterns(&self) -> &Arc<Patterns> {
        &self.patterns
    }

    /// Begins with a connection.
    ///
    /// # Errors
    /// [`NoMemory`] if there is none for it.
    pub fn open(&self) -> Result<Reading, NoMemory> {
        let stream = self.scanner.open()?;
        Ok(Reading { stream, bytes: 0 })
    }

    /// Reads the payload of a connection's next packet.
    pub fn read(&mut self, reading: &mut Reading, payload: &[u8]) -> Progress {
        let room = BUFFER_MAX - reading.bytes;
        self.clean.clear();
        let bytes = payload.iter().copied().filter(|byte| *byte != 0);
        self.clean.extend(bytes.take(room));
        reading.bytes += self.clean.len();
        let found = if self.clean.is_empty() {
            None
        } else {
            self.scanner.scan(&mut reading.stream, &self.clean)
        };
        let at_end = if self.patterns.asks_end && reading.bytes > 0 {
            self.scanner.scan_end(&reading.stream)
        } else {
            None
        };
        match found.into_iter().chain(at_end).min() {
            Some(place) => Progress::Found(place as usize),
            None if reading.bytes >= BUFFER_MAX => Progress::Full,
            None => Progress::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::bytes::{Regex, RegexBuilder};

    fn reader(texts: &[&str]) -> Reader {
        let read = |text: &&str| Pattern::read(text).unwrap();
        let patterns = Patterns::compile(texts.iter().map(read).collect()).unwrap();
        Reader::new(&Arc::new(patterns)).unwrap()
    }

    /// What becomes of a connection with these payloads.
    fn read_all<'a>(reader: &mut Reader, pieces: impl IntoIterator<Item = &'a [u8]>) -> Progress {
        let mut reading = reader.open().unwrap();
        for piece in pieces {
            match reader.read(&mut reading, piece) {
                Progress::More => {}
                done @ (Progress::Found(_) | Progress::Full) => return done,
            }
        }
        Progress::More
    }

    #[test]
    fn letters_match_in_either_case_a_dot_a_newline_and_nul_bytes_are_not_there() {
        let mut reader = reader(&["^get.*host: example", "^\\x16\\x03.\\x01"]);
        let request: [&[u8]; 2] = [b"G\0ET / HTTP/1.1\r\n", b"Host: EXAMPLE.net\r\n"];
        assert_eq!(read_all(&mut reader, request), Progress::Found(0));
        let hello: [&[u8]; 2] = [b"\x16\x03\x01\0\0", b"\0\x01"];
        assert_eq!(read_all(&mut reader, hello), Progress::Found(1));
    }

    #[test]
    fn of_what_one_packet_completes_the_first_pattern_wins_and_an_earlier_packet_before_that() {
        let mut reader = reader(&["http/1\\.1 200.*video", "http/1\\.1 [0-9]+", "nothing"]);
        let at_once: [&[u8]; 1] = [b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"];
        assert_eq!(read_all(&mut reader, at_once), Progress::Found(0));
        let in_turn: [&[u8]; 2] = [b"HTTP/1.1 200 OK\r\n", b"Content-Type: video/mp4\r\n"];
        assert_eq!(read_all(&mut reader, in_turn), Progress::Found(1));
    }

    #[test]
    fn only_the_first_two_kilobytes_are_searched() {
        let mut reader = reader(&["needle"]);
        let within = [&[b' '; BUFFER_MAX - 6][..], b"needle"];
        assert_eq!(read_all(&mut reader, within), Progress::Found(0));
        let across = [&[b' '; BUFFER_MAX - 5][..], b"needle"];
        assert_eq!(read_all(&mut reader, across), Progress::Full);
        let padded = [&[0; BUFFER_MAX][..], b"needle"];
        assert_eq!(
            read_all(&mut reader, padded),
            Progress::Found(0),
            "NULs do not count"
        );
    }

    #[test]
    fn the_end_is_that_of_what_has_arrived() {
        let mut reader = reader(&["^ab$", "^abc+$"]);
        let pieces: [&[u8]; 2] = [b"a", b"b"];
        assert_eq!(read_all(&mut reader, pieces), Progress::Found(0));
        let pieces: [&[u8]; 2] = [b"a", b"bcc"];
        assert_eq!(read_all(&mut reader, pieces), Progress::Found(1));
        let pieces: [&[u8]; 2] = [b"x", b"ab"];
        assert_eq!(read_all(&mut reader, pieces), Progress::More);
    }

    /// Patterns in a syntax that both engines have, over an alphabet that meets them.
    const MODELLED: [&str; 6] = [
        "^ab",
        "b[a-c]+d",
        "(aa|bb).{2,4}c$",
        "c.*dd",
        "^(a|b)*d",
        "[^a]aaa",
    ];

    /// Those without an end, which moves with every packet.
    const CUT_ANYWHERE: [&str; 5] = ["^ab", "b[a-c]+d", "c.*dd", "^(a|b)*d", "[^a]aaa"];

    /// The meaning, spelt out: each packet, the whole buffer, the patterns in their order.
    fn model(texts: &[&str], pieces: &[Vec<u8>]) -> Progress {
        let regex = |text: &&str| -> Regex {
            let mut builder = RegexBuilder::new(&text.replace('$', "\\z"));
            let builder = builder.case_insensitive(true).dot_matches_new_line(true);
            builder.unicode(false).build().unwrap()
        };
        let regexes: Vec<Regex> = texts.iter().map(regex).collect();
        let mut buffer = Vec::new();
        for piece in pieces {
            buffer.extend(piece.iter().copied().filter(|byte| *byte != 0));
            buffer.truncate(BUFFER_MAX);
            if let Some(place) = regexes.iter().position(|r| r.is_match(&buffer)) {
                return Progress::Found(place);
            }
        }
        Progress::More
    }

    fn data() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop::sample::select(&b"aAbBcd\n\0"[..]), 0..40)
    }

    proptest! {
        #[test]
        fn any_number_of_patterns_means_what_the_buffer_does_packet_by_packet(
            pieces in proptest::collection::vec(data(), 0..8),
            order in Just(MODELLED.to_vec()).prop_shuffle(),
            kept in 1..=MODELLED.len(),
        ) {
            let texts = &order[..kept];
            let mut reader = reader(texts);
            let pieces_of = pieces.iter().map(Vec::as_slice);
            prop_assert_eq!(read_all(&mut reader, pieces_of), model(texts, &pieces));
        }

        #[test]
        fn any_cut_of_the_data_into_packets_is_labelled_the_same(
            data in data(),
            cuts in proptest::collection::vec(0usize..40, 0..9),
            pattern in prop::sample::select(&CUT_ANYWHERE[..]),
        ) {
            let mut reader = reader(&[pattern]);
            let whole = read_all(&mut reader, [&data[..]]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(data.len())).collect();
            cuts.push(0);
            cuts.push(data.len());
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &data[cut[0]..cut[1]]);
            prop_assert_eq!(read_all(&mut reader, pieces), whole);
        }
    }
}
