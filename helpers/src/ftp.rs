//! FTP's control connection: PORT and EPRT of clients, 227 and 229 of servers (RFC 959, RFC 2428).
//!
//! A stream is read from its start. A client says nothing before the first word of FTP, and a
//! server greets with a reply code; whatever begins otherwise is no FTP and is left alone, so that
//! a browser's request with `PORT` somewhere in its body opens nothing (NAT slipstreaming). Lines
//! inside of a server's long replies are text. Behind `234` a connection is encrypted and left.
//!
//! A data connection is announced for the sender's own address only, towards whom the control
//! connection is with; what names anybody else (FXP) passes as it is and opens nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use turnpike_conntrack::expect::{ChildLife, Class, Uses};
use turnpike_conntrack::ids::Direction;

use crate::helper::{Call, Desk, Helper, Opener, Ports, Progress, Refusal, Transport, Wanted};

/// Data connections of one control connection that can be announced at a time.
const DATA: Class = Class {
    number: 1,
    max_expected: 4,
    timeout: Duration::from_secs(300),
};

/// The longest line; RFC 959 has none longer than a path, and servers take 4 KiB.
const LINE_MAX: usize = 4_096;

/// Passive openings that may be asked for before the first is answered.
const ASKED_MAX: u8 = 64;

/// Commands that a client may begin with: those of RFC 959, 2228, 2389, 2428, 2640, 3659 and 7151.
const FIRST_WORDS: &[&str] = &[
    "USER", "PASS", "ACCT", "AUTH", "ADAT", "FEAT", "HELP", "HOST", "CLNT", "LANG", "NOOP", "OPTS",
    "PBSZ", "PROT", "QUIT", "SITE", "STAT", "SYST", "REIN", "CSID", "ABOR",
];

/// Reads one control connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ftp {
    client: Client,
    server: Server,
    /// Passive openings that the client has asked for and the server has not answered.
    asked: u8,
}

/// Where the client's stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Client {
    /// Nothing has come.
    #[default]
    Silent,
    /// It speaks FTP.
    Speaks,
}

/// Where the server's stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Server {
    /// Nothing has come.
    #[default]
    Silent,
    /// The next line begins a reply.
    Between,
    /// In a reply of several lines, which one with this code and a space ends.
    Inside([u8; 3]),
}

/// An endpoint that a line names: where it stands, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    endpoint: SocketAddr,
    range: Range<usize>,
    form: Form,
}

/// How an endpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Six decimal bytes with commas: address and port, high byte first.
    Numbers,
    /// Family, address and port, with this character around each.
    Extended(u8),
    /// The port alone.
    Port,
}

/// What one line comes to.
enum Line {
    /// It goes on.
    Passed,
    /// It names an endpoint that data is awaited at.
    Names(Named),
    /// This is no FTP, or none that can be read from here on.
    Over,
}

impl Ftp {
    /// A reader at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    fn command(&mut self, line: &[u8]) -> Line {
        // Telnet's interrupt and data mark may stand before a command (RFC 959, section 4.1.3).
        let telnet = line.iter().take_while(|byte| **byte >= 0xf0).count();
        let text = line.get(telnet..).unwrap_or_default();
        let end = text.iter().position(|byte| *byte == b' ');
        let (word, argument) = text.split_at(end.unwrap_or(text.len()));
        let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
        if self.client == Client::Silent {
            if !FIRST_WORDS.iter().any(|known| is(known)) {
                return Line::Over;
            }
            self.client = Client::Speaks;
        }
        let blank = argument.iter().take_while(|byte| **byte == b' ').count();
        let at = telnet + word.len() + blank;
        let value = argument.get(blank..).unwrap_or_default();
        let named = if is("PASV") || is("EPSV") {
            self.asked = self.asked.saturating_add(1).min(ASKED_MAX);
            None
        } else if is("PORT") {
            six_numbers(value, at)
        } else if is("EPRT") {
            extended(value, at)
        } else {
            None
        };
        named.map_or(Line::Passed, Line::Names)
    }

    fn reply(&mut self, line: &[u8], server: IpAddr) -> Line {
        let found = code(line);
        if let Server::Inside(first) = self.server {
            if found == Some((first, Behind::End)) {
                self.server = Server::Between;
            }
            return Line::Passed;
        }
        let Some((code, behind)) = found else {
            return Line::Over;
        };
        self.server = match behind {
            Behind::More => Server::Inside(code),
            Behind::End => Server::Between,
        };
        let passive = matches!(&code, b"227" | b"229") && self.asked > 0;
        match &code {
            // From here on it is encrypted (RFC 4217).
            b"234" => Line::Over,
            _ if !passive || behind == Behind::More => Line::Passed,
            _ => {
                self.asked -= 1;
                let named = if &code == b"227" {
                    passive_numbers(line)
                } else {
                    passive_port(line, server)
                };
                named.map_or(Line::Passed, Line::Names)
            }
        }
    }

    /// Reads every whole line: how many bytes they are.
    fn lines(
        &mut self,
        from: Direction,
        bytes: &[u8],
        desk: &mut dyn Desk,
    ) -> Result<Progress, Refusal> {
        let mut read = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else {
                if line.len() > LINE_MAX {
                    return Ok(Progress::Leave);
                }
                break;
            };
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let said = match from {
                Direction::Original => self.command(text),
                Direction::Reply => self.reply(text, desk.session().server.own.ip()),
            };
            match said {
                Line::Passed => {}
                Line::Names(named) => announce(from, &named, read, desk)?,
                Line::Over => return Ok(Progress::Leave),
            }
            read += line.len();
        }
        Ok(Progress::Read(read))
    }
}

impl Helper for Ftp {
    fn read(&mut self, from: Direction, bytes: &[u8], desk: &mut dyn Desk) -> Progress {
        let sound = match from {
            Direction::Original => self.client == Client::Speaks || may_begin(bytes),
            Direction::Reply => self.server != Server::Silent || may_greet(bytes),
        };
        if !sound {
            return Progress::Leave;
        }
        let before = *self;
        self.lines(from, bytes, desk).unwrap_or_else(|refusal| {
            // The same bytes come again.
            *self = before;
            Progress::Refuse(refusal)
        })
    }
}

/// Whether a client's stream may begin like this.
fn may_begin(bytes: &[u8]) -> bool {
    let telnet = bytes.iter().take_while(|byte| **byte >= 0xf0).count();
    let bytes = bytes.get(telnet..).unwrap_or_default();
    let len = bytes.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let (word, behind) = bytes.split_at(len);
    FIRST_WORDS.iter().any(|known| {
        let known = known.as_bytes();
        let begun = known
            .get(..len)
            .is_some_and(|part| part.eq_ignore_ascii_case(word));
        begun && (behind.is_empty() || len == known.len())
    })
}

/// Whether a server's stream may begin like this: with a reply's code.
fn may_greet(bytes: &[u8]) -> bool {
    let digits = bytes.iter().take(3);
    bytes
        .first()
        .is_none_or(|first| (b'1'..=b'5').contains(first))
        && digits.copied().all(|byte| byte.is_ascii_digit())
}

/// What stands behind a reply's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// More lines follow.
    More,
    /// This is the last line.
    End,
}

/// The code that a line begins with.
fn code(line: &[u8]) -> Option<([u8; 3], Behind)> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    let behind = match rest.first() {
        Some(b'-') => Behind::More,
        Some(b' ') | None => Behind::End,
        Some(_) => return None,
    };
    code.iter()
        .all(u8::is_ascii_digit)
        .then_some((*code, behind))
}

/// Six numbers at the start of a text that begins at `at` of its line.
fn six_numbers(text: &[u8], at: usize) -> Option<Named> {
    let is_part = |byte: &&u8| byte.is_ascii_digit() || **byte == b',';
    let len = text.iter().take_while(is_part).count();
    let mut numbers = [0; 6];
    let mut parts = text.get(..len)?.split(|byte| *byte == b',');
    for number in &mut numbers {
        *number = u8::try_from(decimal(parts.next()?)?).ok()?;
    }
    if parts.next().is_some() {
        return None;
    }
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    Some(Named {
        endpoint: SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)),
        range: at..at + len,
        form: Form::Numbers,
    })
}

/// The six numbers of a 227 reply: in parentheses, or where the first number stands (RFC 1123,
/// section 4.1.2.6 has clients look for them so).
fn passive_numbers(line: &[u8]) -> Option<Named> {
    let behind = line.get(4..)?;
    let open = behind
        .iter()
        .position(|byte| *byte == b'(')
        .map(|at| at + 1);
    let first = || behind.iter().position(u8::is_ascii_digit);
    let at = 4 + open.or_else(first)?;
    six_numbers(line.get(at..)?, at)
}

/// The family, address and port of EPRT, whose text begins at `at` of its line.
fn extended(text: &[u8], at: usize) -> Option<Named> {
    let delimiter = *text.first().filter(|byte| (33..=126).contains(*byte))?;
    let mut parts = text.get(1..)?.split(|byte| *byte == delimiter);
    let (family, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    // Behind the port stands the delimiter once more.
    parts.next()?;
    let address: IpAddr = std::str::from_utf8(address).ok()?.parse().ok()?;
    let fits = matches!(
        (family, address),
        (b"1", IpAddr::V4(_)) | (b"2", IpAddr::V6(_))
    );
    let port = u16::try_from(decimal(port)?).ok()?;
    let len = text
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == delimiter)
        .nth(3)?
        .0
        + 1;
    fits.then_some(Named {
        endpoint: SocketAddr::new(address, port),
        range: at..at + len,
        form: Form::Extended(delimiter),
    })
}

/// The port of a 229 reply, which is the server's own.
fn passive_port(line: &[u8], server: IpAddr) -> Option<Named> {
    let open = 4 + line.get(4..)?.iter().position(|byte| *byte == b'(')? + 1;
    let [d1, d2, d3, rest @ ..] = line.get(open..)? else {
        return None;
    };
    let len = rest.iter().position(|byte| byte == d1)?;
    let port = u16::try_from(decimal(rest.get(..len)?)?).ok()?;
    let (start, alike) = (open + 3, d1 == d2 && d2 == d3);
    alike.then_some(Named {
        endpoint: SocketAddr::new(server, port),
        range: start..start + len,
        form: Form::Port,
    })
}

/// A decimal number of one to five digits.
fn decimal(text: &[u8]) -> Option<u32> {
    let fits = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let digits = text.iter().map(|byte| u32::from(byte - b'0'));
    fits.then(|| digits.fold(0, |number, digit| number * 10 + digit))
}

/// Announces the data connection that a line names, and writes by what the receiver knows it.
fn announce(
    from: Direction,
    named: &Named,
    line_at: usize,
    desk: &mut dyn Desk,
) -> Result<(), Refusal> {
    let session = desk.session();
    let (own, outside) = (
        session.sender(from).own.ip(),
        session.receiver(from).peer.ip(),
    );
    let mut listener = named.endpoint;
    if listener.ip() == outside {
        // A sender that knows how it is known means itself.
        listener.set_ip(own);
    }
    let wanted = Wanted {
        transport: Transport::Tcp,
        listener,
        ports: Ports::One,
        opener: Opener::Receiver,
        answers_to: None,
        uses: Uses::Once,
        life: ChildLife::Own,
        class: DATA,
        reader: None,
        call: Call::default(),
    };
    let known_as = match desk.expect(from, &wanted) {
        Ok(known_as) => known_as,
        // It names somebody else or a service: what it says is not for us to change.
        Err(Refusal::ForeignAddress | Refusal::LowPort | Refusal::Malformed) => return Ok(()),
        Err(refusal @ (Refusal::NoPort | Refusal::Full | Refusal::Ended)) => return Err(refusal),
    };
    let same = match named.form {
        Form::Port => known_as.port() == named.endpoint.port(),
        Form::Numbers | Form::Extended(_) => known_as == named.endpoint,
    };
    if !same {
        let range = line_at + named.range.start..line_at + named.range.end;
        desk.replace(range, written(known_as, named.form).as_bytes());
    }
    Ok(())
}

/// An endpoint in one of the forms.
fn written(endpoint: SocketAddr, form: Form) -> String {
    let port = endpoint.port();
    match (form, endpoint.ip()) {
        (Form::Numbers, IpAddr::V4(ip)) => {
            let ([a, b, c, d], [high, low]) = (ip.octets(), port.to_be_bytes());
            format!("{a},{b},{c},{d},{high},{low}")
        }
        (Form::Extended(delimiter), ip) => {
            let (d, family) = (char::from(delimiter), if ip.is_ipv4() { 1 } else { 2 });
            format!("{d}{family}{d}{ip}{d}{port}{d}")
        }
        (Form::Port, _) | (Form::Numbers, IpAddr::V6(_)) => port.to_string(),
    }
}

#[cfg(test)]
mod tests;
