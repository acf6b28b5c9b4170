//! TCP options, read when somebody asks.

use super::bytes::{array_at, u8_at, u16_at};
use super::headers::TCP_LEN;
use super::parse::{Parsed, Transport};

/// The options connection tracking and MSS rules care about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale, at most 14 (RFC 7323 section 2.3).
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgements are permitted.
    pub sack_permitted: bool,
    /// The highest right edge of the selective acknowledgements.
    pub sack_end: Option<u32>,
}

/// The options of the TCP segment in `head`; none for other packets.
///
/// Reading stops at the first option whose length does not fit, as hosts do.
pub fn tcp_options(head: &[u8], parsed: &Parsed) -> TcpOptions {
    let mut found = TcpOptions::default();
    for_each_option(head, parsed, |_, option| found.take(option));
    found
}

/// Where the TCP segment in `head` says its maximum segment size.
pub fn mss_at(head: &[u8], parsed: &Parsed) -> Option<usize> {
    let mut found = None;
    for_each_option(head, parsed, |at, option| {
        if let [2, 4, _, _] = option {
            found = Some(at + 2);
        }
    });
    found
}

/// Calls `visit` with the place of each option, and its bytes.
fn for_each_option(head: &[u8], parsed: &Parsed, mut visit: impl FnMut(usize, &[u8])) {
    let Transport::Tcp(_) = parsed.transport else {
        return;
    };
    let end = usize::from(parsed.payload);
    let start = usize::from(parsed.l4) + TCP_LEN;
    let mut rest = head.get(start..end).unwrap_or_default();
    while let [kind, behind @ ..] = rest {
        let len = match (kind, behind.first()) {
            (0, _) => break,
            (1, _) => 1,
            (_, Some(len)) if *len >= 2 => usize::from(*len),
            (_, _) => break,
        };
        let Some((option, after)) = rest.split_at_checked(len) else {
            break;
        };
        visit(end - rest.len(), option);
        rest = after;
    }
}

impl TcpOptions {
    /// Takes one option, its kind and length included; one of an unusual length is ignored.
    fn take(&mut self, option: &[u8]) {
        match option {
            [2, 4, ..] => self.mss = u16_at(option, 2),
            [3, 3, ..] => self.window_scale = u8_at(option, 2).map(|shift| shift.min(14)),
            [4, 2] => self.sack_permitted = true,
            [5, _, blocks @ ..] => {
                for block in blocks.as_chunks::<8>().0 {
                    let end = array_at(block, 4).map_or(0, u32::from_be_bytes);
                    self.sack_end = Some(match self.sack_end {
                        Some(highest) if !is_after(end, highest) => highest,
                        Some(_) | None => end,
                    });
                }
            }
            _ => {}
        }
    }
}

/// Whether sequence number `a` comes after `b`, over the wrap.
const fn is_after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}
