//! The values of a filter's questions, from text.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use turnpike_conntrack::entry::Flags;
use turnpike_conntrack::ids::{ConnState, HelperId, WORKERS_MAX};
use turnpike_conntrack::states::{STATE_NAMES, TCP_STATE_NAMES};
use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::catalogue::protocol_named;
use turnpike_helpers::names::{HELPER_NAMES, helper_named};

use super::{Ask, End, VALUES_MAX};
use crate::config::port::ranges;
use crate::config::section::Word;
use crate::config::value::{Name, choice, number};
use crate::running::StateName;

/// The states that a tracked connection can have in a rule.
const CONNECTION_STATES: [(&str, ConnState); 3] = [
    ("new", ConnState::New),
    ("established", ConnState::Established),
    ("related", ConnState::Related),
];

const FAMILIES: [(&str, u8); 2] = [("ipv4", 4), ("ipv6", 6)];

const NAT_SIDES: [(&str, Flags); 2] = [("srcnat", Flags::SRCNAT), ("dstnat", Flags::DSTNAT)];

/// The flags that have a letter.
const FLAGS: [Flags; 8] = [
    Flags::SEEN_REPLY,
    Flags::ASSURED,
    Flags::CONFIRMED,
    Flags::DYING,
    Flags::FASTTRACKED,
    Flags::SRCNAT,
    Flags::DSTNAT,
    Flags::EXPECTED,
];

/// The question called `name` with the value `text`.
pub(super) fn read(name: &'static str, text: &str) -> Result<Ask, String> {
    let address = |end| list(text, network).map(|nets| Ask::Address(end, nets));
    let port = |end| list(text, ranges).map(|found| Ask::Port(end, found.concat()));
    match name {
        "src-address" => address(End::Src),
        "dst-address" => address(End::Dst),
        "reply-src-address" => address(End::ReplySrc),
        "reply-dst-address" => address(End::ReplyDst),
        "any-address" => address(End::Any),
        "src-port" => port(End::Src),
        "dst-port" => port(End::Dst),
        "reply-src-port" => port(End::ReplySrc),
        "reply-dst-port" => port(End::ReplyDst),
        "any-port" => port(End::Any),
        "protocol" => list(text, protocol).map(Ask::Protocol),
        "family" => {
            let family = |word: &str| choice(word, "an address family", &FAMILIES);
            list(text, family).map(Ask::Family)
        }
        "connection-state" => {
            let state = |word: &str| choice(word, "a tracked state", &CONNECTION_STATES);
            list(text, state).map(Ask::ConnectionState)
        }
        "state" => list(text, state).map(Ask::State),
        "tcp-state" => list(text, tcp_state).map(Ask::TcpState),
        "connection-mark" => mark(text),
        "connection-nat-state" => {
            let side = |word: &str| choice(word, "a side of a translation", &NAT_SIDES);
            list(text, side).map(Ask::Nat)
        }
        "flags" => flags(text),
        "helper" => list(text, helper).map(Ask::Helper),
        "timeout-less" => Duration::read(text).map(Ask::TimeoutLess),
        "timeout-greater" => Duration::read(text).map(Ask::TimeoutGreater),
        "worker" => list(text, worker).map(Ask::Worker),
        other => Err(format!("nothing is known of `{other}`")),
    }
}

/// Reads each word of a list.
pub(super) fn list<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    if words.len() > VALUES_MAX {
        return Err(format!("more than {VALUES_MAX} values"));
    }
    if words.iter().any(|word| word.is_empty()) {
        return Err("a value is empty".to_owned());
    }
    words.into_iter().map(read).collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().map(|net| net.trunc());
    net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("`{text}` is neither an address nor a prefix"))
}

fn protocol(text: &str) -> Result<Proto, String> {
    let numbered = || number(text, 0, 255).ok().and_then(|n| u8::try_from(n).ok());
    protocol_named(text)
        .or_else(|| numbered().map(Proto))
        .ok_or_else(|| format!("`{text}` is not a protocol; write a name (tcp) or a number"))
}

fn state(text: &str) -> Result<StateName, String> {
    StateName::named(text).ok_or_else(|| {
        let known = STATE_NAMES.join(", ");
        format!("`{text}` is no connection state; there are: {known}")
    })
}

fn tcp_state(text: &str) -> Result<StateName, String> {
    let found = StateName::named(text).filter(|_| TCP_STATE_NAMES.contains(&text));
    found.ok_or_else(|| {
        let known = TCP_STATE_NAMES.join(", ");
        format!("`{text}` is no state of TCP; there are: {known}")
    })
}

/// A name, `7`, `0x10/0xf0`, or `no-mark`.
fn mark(text: &str) -> Result<Ask, String> {
    if text == "no-mark" {
        let mask = u32::MAX;
        return Ok(Ask::Mark { value: 0, mask });
    }
    let numeric = text.starts_with("0x") || text.contains('/');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric && !digits && Name::read(text).is_ok() {
        return Ok(Ask::NamedMark(text.to_owned()));
    }
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (bits(value)?, bits(mask)?),
        None => (bits(text)?, u32::MAX),
    };
    Ok(Ask::Mark { value, mask })
}

fn bits(text: &str) -> Result<u32, String> {
    let hex = |digits: &str| {
        let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    };
    let read = match text.strip_prefix("0x") {
        Some(digits) => hex(digits),
        None => number(text, 0, u64::from(u32::MAX))
            .ok()
            .and_then(|n| u32::try_from(n).ok()),
    };
    read.ok_or_else(|| {
        format!(
            "`{text}` is not a mark; write its name, a number (7, 0x10), a number/mask, or no-mark"
        )
    })
}

/// Letters that must be set, and behind a `!` one that must not.
fn flags(text: &str) -> Result<Ask, String> {
    let wrong = |what: &str| {
        format!("{what}; write letters of SACDFsdE, each behind a `!` if it must not be set")
    };
    let (mut set, mut clear) = (Flags::empty(), Flags::empty());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let negated = letter == '!';
        let letter = if negated {
            letters.next().ok_or_else(|| wrong("no flag behind `!`"))?
        } else {
            letter
        };
        let known = FLAGS
            .into_iter()
            .find(|flag| flag.letters().eq([letter]))
            .ok_or_else(|| wrong(&format!("`{letter}` is no flag")))?;
        if negated {
            clear = clear.with(known);
        } else {
            set = set.with(known);
        }
    }
    if set == Flags::empty() && clear == Flags::empty() {
        return Err(wrong("no flag"));
    }
    Ok(Ask::Flags { set, clear })
}

fn helper(text: &str) -> Result<HelperId, String> {
    helper_named(text).ok_or_else(|| {
        let known = HELPER_NAMES.join(", ");
        format!("`{text}` is no helper; there are: {known}")
    })
}

fn worker(text: &str) -> Result<u8, String> {
    let number = number(text, 0, WORKERS_MAX as u64 - 1)?;
    u8::try_from(number).map_err(|e| e.to_string())
}
