//! Packets in words: `PROTO SRC[:PORT] > DST[:PORT] [syn|ack|…] [type N] [code N] [len N] [ttl N]
//! [state S]`.
//!
//! What is not said is what the first packet of a connection would be: a TCP segment without flags
//! is a SYN (an ACK where `state` says that there was one before), an ICMP message an echo request,
//! the source port 40000. `len` is the length of the IP packet, which is what `packet-size` asks
//! for. Sequence numbers are such that packets in words follow each other: either side starts at
//! `FIRST_SEQ` and nothing it sends moves the next one on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use turnpike_conntrack::ids::ConnState;
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::catalogue::{PROTOCOLS, SERVICES, protocol_name, services_named};
use turnpike_pipeline::packet::craft::{Craft, DccpSpec, IcmpSpec, TcpSpec};
use turnpike_pipeline::packet::headers::{
    ETHERNET_LEN, ICMP_ECHO_REQUEST, ICMPV6_ECHO_REQUEST, TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST,
    TCP_SYN, TCP_URG,
};
use turnpike_pipeline::packet::parse::inspect;

use crate::problem::did_you_mean;

/// The source port where none is given.
const SOURCE_PORT: u16 = 40_000;
/// The sequence number of a SYN of either side.
const FIRST_SEQ: u32 = 1_000;
/// The longest packet in words, in characters.
const WORDS_MAX: usize = 300;

/// The flags of TCP by name, lowest bit first.
const FLAGS: [(&str, u8); 8] = [
    ("fin", TCP_FIN),
    ("syn", TCP_SYN),
    ("rst", TCP_RST),
    ("psh", TCP_PSH),
    ("ack", TCP_ACK),
    ("urg", TCP_URG),
    ("ece", 0x40),
    ("cwr", 0x80),
];

/// A packet that was described in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// Its protocol.
    pub proto: Proto,
    /// Where it comes from; the port is zero for a protocol without ports.
    pub src: SocketAddr,
    /// Where it goes.
    pub dst: SocketAddr,
    /// TCP's flags.
    pub flags: Option<u8>,
    /// The type of an ICMP message.
    pub kind: Option<u8>,
    /// Its code.
    pub code: Option<u8>,
    /// The length of the IP packet.
    pub len: Option<u16>,
    /// The time to live, or hop limit.
    pub ttl: Option<u8>,
    /// The state in which it is to find its connection.
    pub state: Option<ConnState>,
}

/// Why words are no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct WordsError {
    /// Where in the text, in characters from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// One word and where it begins.
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    column: usize,
}

impl Word<'_> {
    fn error(self, message: impl Into<String>) -> WordsError {
        WordsError {
            column: self.column,
            message: message.into(),
        }
    }
}

const EXAMPLE: &str = "write, for example, `tcp 10.0.0.2:40000 > 1.1.1.1:443 syn`";

impl Words {
    /// Reads a packet.
    ///
    /// # Errors
    /// The first thing that is wrong, with its column.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let end = Word {
            text: "",
            column: text.chars().count() + 1,
        };
        if end.column > WORDS_MAX {
            return Err(end.error(format!("a packet has at most {WORDS_MAX} characters")));
        }
        let mut words = words(text).into_iter();
        let first = expect(&mut words, end, "a protocol")?;
        let proto = protocol(first)?;
        let src = endpoint(expect(&mut words, end, "the source")?)?;
        let arrow = expect(&mut words, end, "`>`")?;
        if arrow.text != ">" {
            let found = arrow.text;
            return Err(arrow.error(format!("`>` belongs here, not `{found}`; {EXAMPLE}")));
        }
        let dst = endpoint(expect(&mut words, end, "the destination")?)?;
        let mut packet = Self::between(first, proto, src, dst)?;
        while let Some(word) = words.next() {
            packet.option(word, &mut words, end)?;
        }
        match packet.frame(None) {
            Some(_) => Ok(packet),
            None => Err(first.error("a packet like this is longer than its `len`, or than any")),
        }
    }

    /// A packet of which nothing is known but its endpoints.
    fn between(
        first: Word<'_>,
        proto: Proto,
        (at_src, src, src_port): Endpoint<'_>,
        (at_dst, dst, dst_port): Endpoint<'_>,
    ) -> Result<Self, WordsError> {
        if src.is_ipv4() != dst.is_ipv4() {
            return Err(at_dst.error("source and destination are of two families"));
        }
        match (proto, src.is_ipv4()) {
            (Proto::ICMP, false) => return Err(first.error("IPv6 has `icmpv6` instead of `icmp`")),
            (Proto::ICMPV6, true) => return Err(first.error("IPv4 has `icmp` instead of `icmpv6`")),
            (_, _) => {}
        }
        let named = protocol_name(proto).unwrap_or(first.text);
        let (src_port, dst_port) = if has_ports(proto) {
            let missing = || {
                let column = at_dst.column + at_dst.text.chars().count();
                Word { text: "", column }.error(format!(
                    "{named} has ports; write the destination's, as in :443"
                ))
            };
            (
                src_port.unwrap_or(SOURCE_PORT),
                dst_port.ok_or_else(missing)?,
            )
        } else {
            for (at, port) in [(at_src, src_port), (at_dst, dst_port)] {
                if port.is_some() {
                    return Err(at.error(format!("{named} has no ports; leave this one out")));
                }
            }
            (0, 0)
        };
        Ok(Self {
            proto,
            src: SocketAddr::new(src, src_port),
            dst: SocketAddr::new(dst, dst_port),
            flags: None,
            kind: None,
            code: None,
            len: None,
            ttl: None,
            state: None,
        })
    }

    /// Reads one option, with its value if it has one.
    fn option<'a>(
        &mut self,
        word: Word<'a>,
        words: &mut impl Iterator<Item = Word<'a>>,
        end: Word<'a>,
    ) -> Result<(), WordsError> {
        if let Some((name, flag)) = FLAGS.iter().find(|(name, _)| *name == word.text) {
            if self.proto != Proto::TCP {
                return Err(word.error(format!("only tcp has `{name}`")));
            }
            let flags = self.flags.unwrap_or_default();
            if flags & flag != 0 {
                return Err(word.error(format!("`{name}` is there twice")));
            }
            self.flags = Some(flags | flag);
            return Ok(());
        }
        if !OPTIONS.contains(&word.text) {
            let known = FLAGS.map(|(name, _)| name).into_iter().chain(OPTIONS);
            let near = did_you_mean(word.text, known.clone());
            let known: Vec<&str> = known.collect();
            let found = word.text;
            let known = known.join(", ");
            return Err(word.error(format!("`{found}` is not known{near}; there are {known}")));
        }
        if matches!(word.text, "type" | "code") && !is_icmp(self.proto) {
            return Err(word.error(format!("only icmp and icmpv6 have a {}", word.text)));
        }
        let what = format!("a value for `{}`", word.text);
        let value = expect(words, end, &what)?;
        match word.text {
            "type" => once(&mut self.kind, word, number(value, 0, u8::MAX)?),
            "code" => once(&mut self.code, word, number(value, 0, u8::MAX)?),
            "ttl" => once(&mut self.ttl, word, number(value, 0, u8::MAX)?),
            "state" => once(&mut self.state, word, state(value)?),
            // What is left is `len`.
            _ => {
                let len = number(value, self.shortest(), u16::MAX)?;
                once(&mut self.len, word, len)
            }
        }
    }

    /// The length of the shortest packet like this.
    fn shortest(&self) -> u16 {
        let plain = Self { len: None, ..*self };
        let frame = plain.frame(None).unwrap_or_default();
        let parsed = inspect(&frame, frame.len());
        let bytes = parsed.map_or(0, |parsed| parsed.ip_len);
        u16::try_from(bytes).unwrap_or(u16::MAX)
    }

    /// The flags it has, given or not.
    fn tcp_flags(&self) -> u8 {
        self.flags.unwrap_or(match self.state {
            None | Some(ConnState::New) => TCP_SYN,
            Some(
                ConnState::Established
                | ConnState::Related
                | ConnState::Invalid
                | ConnState::Untracked,
            ) => TCP_ACK,
        })
    }

    /// The type of ICMP message it is, given or not.
    fn icmp_kind(&self) -> u8 {
        self.kind.unwrap_or(match self.proto {
            Proto::ICMP => ICMP_ECHO_REQUEST,
            _ => ICMPV6_ECHO_REQUEST,
        })
    }

    /// Whether it is an ICMP message about another packet, which it quotes.
    pub fn is_icmp_error(&self) -> bool {
        match self.proto {
            Proto::ICMP => matches!(self.icmp_kind(), 3 | 4 | 5 | 11 | 12),
            Proto::ICMPV6 => matches!(self.icmp_kind(), 1..=4),
            _ => false,
        }
    }

    /// The packet that would answer it, as far as there is a usual one.
    pub fn answer(&self) -> Self {
        let syn = self.tcp_flags() & TCP_SYN != 0;
        let kind = match (self.proto, self.icmp_kind()) {
            (Proto::ICMP, ICMP_ECHO_REQUEST) => Some(0),
            (Proto::ICMPV6, ICMPV6_ECHO_REQUEST) => Some(129),
            (_, _) => self.kind,
        };
        Self {
            src: self.dst,
            dst: self.src,
            flags: (self.proto == Proto::TCP).then_some(if syn {
                TCP_SYN | TCP_ACK
            } else {
                TCP_ACK
            }),
            kind,
            code: None,
            len: None,
            ttl: None,
            state: None,
            ..*self
        }
    }

    /// Its Ethernet frame; an ICMP message about another packet quotes `quoted`, an IP packet.
    ///
    /// `None` if it would be longer than `len`, or than any packet can be.
    pub fn frame(&self, quoted: Option<&[u8]>) -> Option<Vec<u8>> {
        self.framed(quoted, self.numbers())
    }

    /// The frame of a TCP segment of a connection whose next sequence number and acknowledgement
    /// these are.
    pub fn segment_at(&self, numbers: (u32, u32)) -> Option<Vec<u8>> {
        self.framed(None, numbers)
    }

    /// Sequence number and acknowledgement of a segment that follows others in words.
    fn numbers(&self) -> (u32, u32) {
        let first = self.tcp_flags() & TCP_SYN != 0;
        (if first { FIRST_SEQ } else { FIRST_SEQ + 1 }, FIRST_SEQ + 1)
    }

    fn framed(&self, quoted: Option<&[u8]>, numbers: (u32, u32)) -> Option<Vec<u8>> {
        let craft = self.craft(quoted, numbers)?;
        let craft = match self.ttl {
            Some(ttl) => craft.ttl(ttl),
            None => craft,
        };
        let (craft, own) = match self.payload(quoted) {
            own if own.is_empty() => (craft, own),
            own => (craft.payload(&own), own),
        };
        let frame = craft.frame()?;
        let Some(len) = self.len.map(usize::from) else {
            return Some(frame);
        };
        let missing = (len + ETHERNET_LEN).checked_sub(frame.len())?;
        let mut payload = own;
        payload.resize(payload.len() + missing, 0);
        craft.payload(&payload).frame()
    }

    fn craft(&self, quoted: Option<&[u8]>, (seq, ack): (u32, u32)) -> Option<Craft> {
        let (src, dst) = (self.src, self.dst);
        match self.proto {
            Proto::TCP => {
                let flags = self.tcp_flags();
                let acks = flags & TCP_ACK != 0;
                let tcp = TcpSpec {
                    flags,
                    seq,
                    ack: if acks { ack } else { 0 },
                    ..TcpSpec::default()
                };
                Craft::tcp(src, dst, tcp)
            }
            Proto::UDP => Craft::udp(src, dst),
            Proto::UDPLITE => Craft::udp_lite(src, dst, 0),
            Proto::DCCP => Craft::dccp(src, dst, DccpSpec::default()),
            Proto::SCTP => Craft::sctp(src, dst, 0),
            Proto::ICMP | Proto::ICMPV6 => {
                // What quotes has nothing where a query has its identifier.
                let id = u16::from(quoted.is_none() && !self.is_icmp_error());
                let icmp = IcmpSpec {
                    kind: self.icmp_kind(),
                    code: self.code.unwrap_or_default(),
                    id,
                    seq: id,
                };
                Craft::icmp(src.ip(), dst.ip(), icmp)
            }
            proto => Craft::other(src.ip(), dst.ip(), proto),
        }
    }

    /// What has to be behind the header that it is crafted with.
    fn payload(&self, quoted: Option<&[u8]>) -> Vec<u8> {
        match self.proto {
            // An INIT chunk: tag 1, a window, one stream either way, the first number.
            Proto::SCTP => {
                let words: [u32; 5] = [0x0100_0014, 1, 0xffff, 0x0001_0001, FIRST_SEQ];
                words.map(u32::to_be_bytes).concat()
            }
            Proto::GRE => vec![0, 0, 0x08, 0x00],
            _ if self.is_icmp_error() => quoted.unwrap_or_default().to_vec(),
            _ => Vec::new(),
        }
    }
}

/// What comes back as it was put in words, whatever was left out.
impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol_name(self.proto) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{}", self.proto.0)?,
        }
        let ports = has_ports(self.proto);
        write!(
            f,
            " {} > {}",
            shown(self.src, ports),
            shown(self.dst, ports)
        )?;
        if self.proto == Proto::TCP {
            let flags = self.tcp_flags();
            for (name, _) in FLAGS.iter().filter(|(_, flag)| flags & flag != 0) {
                write!(f, " {name}")?;
            }
        }
        if is_icmp(self.proto) {
            write!(
                f,
                " type {} code {}",
                self.icmp_kind(),
                self.code.unwrap_or_default()
            )?;
        }
        if let Some(len) = self.len {
            write!(f, " len {len}")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, " ttl {ttl}")?;
        }
        match self.state {
            Some(state) => write!(f, " state {}", state.name()),
            None => Ok(()),
        }
    }
}

/// The packet in a frame, in words; `None` if it is none that words can say.
pub fn of_frame(frame: &[u8]) -> Option<Words> {
    let parsed = inspect(frame, frame.len()).ok()?;
    let (src, dst) = (parsed.src_ip(frame)?, parsed.dst_ip(frame)?);
    let tuple_proto = parsed.proto;
    let (src_port, dst_port) = parsed.ports().map_or((0, 0), |(src, dst)| (src.0, dst.0));
    Some(Words {
        proto: tuple_proto,
        src: SocketAddr::new(src, src_port),
        dst: SocketAddr::new(dst, dst_port),
        flags: parsed.tcp().map(|tcp| tcp.flags),
        kind: parsed.icmp().map(|(kind, _)| kind),
        code: parsed.icmp().map(|(_, code)| code),
        len: u16::try_from(parsed.ip_len).ok(),
        ttl: Some(parsed.ttl),
        state: None,
    })
}

/// An endpoint as it is written, with its port if the protocol has ports.
pub fn shown(endpoint: SocketAddr, with_port: bool) -> String {
    match (with_port, endpoint.ip()) {
        (true, _) => endpoint.to_string(),
        (false, IpAddr::V4(ip)) => ip.to_string(),
        (false, IpAddr::V6(ip)) => format!("[{ip}]"),
    }
}

/// Whether packets of the protocol have ports.
pub fn has_ports(proto: Proto) -> bool {
    proto.has_ports()
}

fn is_icmp(proto: Proto) -> bool {
    matches!(proto, Proto::ICMP | Proto::ICMPV6)
}

const OPTIONS: [&str; 5] = ["type", "code", "len", "ttl", "state"];

/// The words of a text, each with its column; `>` is one even between two others.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let mut start: Option<(usize, usize)> = None;
    let mut close = |start: &mut Option<(usize, usize)>, end: usize| {
        if let Some((from, column)) = start.take() {
            let text = text.get(from..end).unwrap_or_default();
            found.push(Word { text, column });
        }
    };
    for (column, (at, c)) in (1..).zip(text.char_indices()) {
        if c.is_whitespace() {
            close(&mut start, at);
        } else if c == '>' {
            close(&mut start, at);
            start = Some((at, column));
            close(&mut start, at + 1);
        } else if start.is_none() {
            start = Some((at, column));
        }
    }
    close(&mut start, text.len());
    found
}

fn expect<'a>(
    words: &mut impl Iterator<Item = Word<'a>>,
    end: Word<'a>,
    what: &str,
) -> Result<Word<'a>, WordsError> {
    words
        .next()
        .ok_or_else(|| end.error(format!("{what} is missing; {EXAMPLE}")))
}

fn once<T>(place: &mut Option<T>, word: Word<'_>, value: T) -> Result<(), WordsError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(word.error(format!("`{}` is there twice", word.text))),
    }
}

fn protocol(word: Word<'_>) -> Result<Proto, WordsError> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == word.text);
    if let Some((_, proto)) = named {
        return Ok(*proto);
    }
    if word.text.bytes().all(|b| b.is_ascii_digit()) {
        return number(word, 0, u8::MAX).map(Proto);
    }
    let near = did_you_mean(word.text, PROTOCOLS.iter().map(|(name, _)| *name));
    let found = word.text;
    Err(word.error(format!(
        "`{found}` is no protocol{near}; write a name or a number"
    )))
}

/// A word, the address that it is and the port behind it.
type Endpoint<'a> = (Word<'a>, IpAddr, Option<u16>);

fn endpoint(word: Word<'_>) -> Result<Endpoint<'_>, WordsError> {
    let bad = || {
        word.error(format!(
            "`{}` is no address; write 192.0.2.1, 192.0.2.1:443, [2001:db8::1] or \
             [2001:db8::1]:443",
            word.text
        ))
    };
    if let Some(rest) = word.text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']').ok_or_else(bad)?;
        let ip = address.parse().map(IpAddr::V6).map_err(|_| bad())?;
        return match behind.strip_prefix(':') {
            Some(text) => Ok((word, ip, Some(port(word, text)?))),
            None if behind.is_empty() => Ok((word, ip, None)),
            None => Err(bad()),
        };
    }
    if word.text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(word.error(format!(
            "an IPv6 address stands in brackets: [{}]",
            word.text
        )));
    }
    let (address, port) = match word.text.split_once(':') {
        Some((address, text)) => (address, Some(port(word, text)?)),
        None => (word.text, None),
    };
    let ip = address.parse().map(IpAddr::V4).map_err(|_| bad())?;
    Ok((word, ip, port))
}

/// The port behind an address; what is wrong with it is said at its own place.
fn port(word: Word<'_>, text: &str) -> Result<u16, WordsError> {
    let before = word.text.chars().count() - text.chars().count();
    let at = Word {
        text,
        column: word.column + before,
    };
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return number(at, 0, u16::MAX);
    }
    let mut named: Vec<u16> = services_named(text)
        .filter(|service| service.first == service.last)
        .map(|service| service.first)
        .collect();
    named.dedup();
    if let [only] = *named {
        return Ok(only);
    }
    let near = did_you_mean(text, SERVICES.iter().map(|service| service.name));
    Err(at.error(format!(
        "`{text}` is no port{near}; write a number or a service with one port"
    )))
}

fn number<T: TryFrom<u64> + Into<u64> + Copy>(
    word: Word<'_>,
    min: T,
    max: T,
) -> Result<T, WordsError> {
    let read = crate::config::number(word.text, min.into(), max.into());
    let number = read.map_err(|message| word.error(message))?;
    T::try_from(number).map_err(|_| word.error("it is too large"))
}

fn state(word: Word<'_>) -> Result<ConnState, WordsError> {
    let named = ConnState::ALL
        .into_iter()
        .find(|state| state.name() == word.text);
    named.ok_or_else(|| {
        let names = ConnState::ALL.map(ConnState::name);
        let near = did_you_mean(word.text, names);
        let found = word.text;
        let names = names.join(", ");
        word.error(format!(
            "`{found}` is no connection state{near}; write one of {names}"
        ))
    })
}
