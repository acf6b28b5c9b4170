//! Where messages of RTSP begin and end, and what of their heads matters.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::text;

/// The longest head of a message that is waited for.
pub(super) const HEAD_MAX: usize = 8 * 1024;
/// The most Transport headers of a message.
const TRANSPORTS_MAX: usize = 4;
/// The longest method there is.
const METHOD_MAX: usize = 32;
/// What data within the control connection begins with.
const DATA: u8 = b'$';
/// The length of what stands before such data.
const DATA_HEAD: usize = 4;
/// What every message has in its first line.
const VERSION: &[u8] = b"RTSP/";

/// What the next bytes of a stream are.
#[derive(Debug)]
pub(super) enum Next {
    /// Data of this many bytes, its own head included.
    Data(u64),
    /// An empty line between messages, of this many bytes.
    Blank(usize),
    /// The head of a message, up to and with the empty line.
    Head(Head),
    /// The beginning of something.
    Unfinished,
    /// Not RTSP.
    Foreign,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request to set up a stream.
    SetUp,
    /// A request to let it play or record.
    Play,
    /// A request to end it.
    TearDown,
    /// Any other request.
    Other,
    /// A response with this status.
    Response(u16),
}

/// The head of a message.
#[derive(Debug)]
pub(super) struct Head {
    /// What it is.
    pub(super) kind: Kind,
    /// What a request is about, as a hash of its URL.
    pub(super) url: u64,
    /// The number that ties a response to its request.
    pub(super) sequence: Option<u64>,
    /// The session, as a hash of its name.
    pub(super) session: Option<u64>,
    /// The values of its Transport headers.
    pub(super) transports: ArrayVec<Range<usize>, TRANSPORTS_MAX>,
    /// How many bytes of body follow.
    pub(super) body: u64,
    /// Where it ends.
    pub(super) end: usize,
}

/// What stands at `at`. The first message has nothing before it.
pub(super) fn next(bytes: &[u8], at: usize, is_first: bool) -> Next {
    let rest = text::of(bytes, at..bytes.len());
    match rest {
        [] => return Next::Unfinished,
        [DATA, _, high, low, ..] if !is_first => {
            let length = u16::from_be_bytes([*high, *low]);
            return Next::Data(u64::from(length) + DATA_HEAD as u64);
        }
        [DATA, ..] if !is_first => return Next::Unfinished,
        [b'\r', b'\n', ..] if !is_first => return Next::Blank(2),
        [b'\n', ..] if !is_first => return Next::Blank(1),
        [b'\r'] if !is_first => return Next::Unfinished,
        _ => {}
    }
    let Some((first, behind)) = text::line(bytes, at) else {
        return match may_begin(rest) {
            true => Next::Unfinished,
            false => Next::Foreign,
        };
    };
    let Some((kind, url)) = start(bytes, first) else {
        return Next::Foreign;
    };
    let mut head = Head {
        kind,
        url,
        sequence: None,
        session: None,
        transports: ArrayVec::new(),
        body: 0,
        end: behind,
    };
    while let Some((line, behind)) = text::line(bytes, head.end) {
        if behind - at > HEAD_MAX {
            return Next::Foreign;
        }
        if line.is_empty() {
            head.end = behind;
            return Next::Head(head);
        }
        let Some((header, behind)) = folded(bytes, line.clone(), behind) else {
            break;
        };
        if head.note(bytes, line, header).is_none() {
            return Next::Foreign;
        }
        head.end = behind;
    }
    match rest.len() > HEAD_MAX {
        true => Next::Foreign,
        false => Next::Unfinished,
    }
}

/// A header with the lines that go on with it, which begin with a blank, and where the next one
/// begins; `None` if that is not known yet.
fn folded(bytes: &[u8], line: Range<usize>, mut behind: usize) -> Option<(Range<usize>, usize)> {
    let mut end = line.end;
    while matches!(bytes.get(behind)?, b' ' | b'\t') {
        let (more, next) = text::line(bytes, behind)?;
        (end, behind) = (more.end, next);
    }
    Some((line.start..end, behind))
}

/// Whether a message may begin like this, of which no line is whole.
fn may_begin(start: &[u8]) -> bool {
    let is_version = |word: &[u8]| VERSION.starts_with(word) || word.starts_with(VERSION);
    let blank = start.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    let method = text::of(start, 0..blank.unwrap_or(start.len()));
    start.len() <= HEAD_MAX && (is_version(method) || is_method(method))
}

fn is_method(word: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-');
    (1..=METHOD_MAX).contains(&word.len()) && word.iter().all(is_letter)
}

/// What the first line of a message says: its kind and the hash of its URL.
fn start(bytes: &[u8], line: Range<usize>) -> Option<(Kind, u64)> {
    let (first, rest) = text::word(bytes, line)?;
    let (second, rest) = text::word(bytes, rest)?;
    let (first, second) = (text::of(bytes, first), text::of(bytes, second));
    if text::starts_with(first, VERSION) {
        let status = u16::try_from(text::number(second)?).ok()?;
        return Some((Kind::Response(status), 0));
    }
    let (version, _) = text::word(bytes, rest)?;
    if !is_method(first) || !text::starts_with(text::of(bytes, version), VERSION) {
        return None;
    }
    let is = |method: &[u8]| first.eq_ignore_ascii_case(method);
    let kind = if is(b"SETUP") {
        Kind::SetUp
    } else if is(b"PLAY") || is(b"RECORD") {
        Kind::Play
    } else if is(b"TEARDOWN") {
        Kind::TearDown
    } else {
        Kind::Other
    };
    Some((kind, hash(second)))
}

impl Head {
    /// Takes note of a header; `None` if the message cannot be followed because of it. Its line is
    /// the first one of the header.
    fn note(&mut self, bytes: &[u8], line: Range<usize>, header: Range<usize>) -> Option<()> {
        let colon = text::of(bytes, line.clone())
            .iter()
            .position(|b| *b == b':');
        // A line without a name is none that matters.
        let Some(colon) = colon.map(|length| line.start + length) else {
            return Some(());
        };
        let name = text::of(bytes, text::trimmed(bytes, line.start..colon));
        let range = text::trimmed(bytes, colon + 1..header.end);
        let value = text::of(bytes, range.clone());
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"CSeq") {
            self.sequence = text::number(value);
        } else if is(b"Session") {
            let name = value.split(|byte| *byte == b';').next();
            self.session = name.map(|name| hash(name.trim_ascii()));
        } else if is(b"Content-Length") {
            self.body = text::number(value)?;
        } else if is(b"Transport") {
            self.transports.try_push(range).ok()?;
        }
        Some(())
    }
}

/// A number that stands for a text (FNV-1a). Who finds two texts with one number has confused
/// nobody else's sessions.
fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
