//! What a rule asks of a packet's content.

use turnpike_helpers::glob::Glob;
use turnpike_pipeline::policy::{CONTENT_MAX, Content, Match, PacketAsk, PayloadAsk};

use super::super::super::section::{Item, or_report};
use super::super::matchers::Reader;
use crate::problem::Problems;

/// Reads every question about content.
pub fn decode(reader: &mut Reader<'_, '_>) -> Vec<Match<PacketAsk>> {
    let asked = [
        reader.one("content", content),
        reader.one("tls-host", |item, problems| {
            let read = Glob::read(item.text)
                .map_err(|e| format!("{e}; write a host name, for example \"*.example.org\""));
            or_report(read, item.span, problems).map(PayloadAsk::TlsHost)
        }),
    ];
    let asked = asked.into_iter().flatten();
    asked
        .map(|asked| Match {
            value: PacketAsk::Payload(asked.value),
            negated: asked.negated,
        })
        .collect()
}

fn content(item: Item<'_>, problems: &mut Problems) -> Option<PayloadAsk> {
    let read = unescaped(item.text).and_then(|bytes| {
        Content::new(&bytes).ok_or_else(|| {
            format!(
                "the content has {} bytes; write 1 to {CONTENT_MAX}",
                bytes.len()
            )
        })
    });
    or_report(read, item.span, problems).map(PayloadAsk::Content)
}

/// The bytes of a text in which `\` begins an escape, as in RouterOS.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        let (byte, behind) = match (byte, behind) {
            (b'\\', [b'n', behind @ ..]) => (b'\n', behind),
            (b'\\', [b'r', behind @ ..]) => (b'\r', behind),
            (b'\\', [b't', behind @ ..]) => (b'\t', behind),
            (b'\\', [plain @ (b'\\' | b'"' | b'$' | b'?' | b'!'), behind @ ..]) => (*plain, behind),
            (b'\\', [high, low, behind @ ..]) => {
                let digit = |byte: &u8| match byte {
                    b'0'..=b'9' => Some(byte - b'0'),
                    b'A'..=b'F' => Some(byte - b'A' + 10),
                    _ => None,
                };
                let (high, low) = digit(high).zip(digit(low)).ok_or_else(wrong_escape)?;
                (high << 4 | low, behind)
            }
            (b'\\', _) => return Err(wrong_escape()),
            (byte, behind) => (*byte, behind),
        };
        bytes.push(byte);
        rest = behind;
    }
    Ok(bytes)
}

fn wrong_escape() -> String {
    "a `\\` begins \\n, \\r, \\t, \\\\, \\\", \\$, \\?, \\! or two digits 0-9 A-F, such as \\0D; \
     write \\\\ for a backslash"
        .to_owned()
}
