//! What a rule asks of a packet's content.

use std::fmt;

use memchr::memmem::Finder;
use turnpike_helpers::glob::Glob;

/// The longest text that `content` looks for, in bytes.
pub const CONTENT_MAX: usize = 128;

/// A question about what a packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadAsk {
    /// `content`: these bytes are somewhere in the packet, from its IP header on.
    Content(Content),
    /// `tls-host`: the packet completes the server name of a TLS ClientHello, which is this one.
    TlsHost(Glob),
}

impl PayloadAsk {
    /// The property name of the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Content(_) => "content",
            Self::TlsHost(_) => "tls-host",
        }
    }
}

/// The value in canonical form, as a rule's text has it.
impl fmt::Display for PayloadAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(content) => write!(f, "{content}"),
            Self::TlsHost(glob) => write!(f, "{glob}"),
        }
    }
}

/// Bytes to look for, 1 to [`CONTENT_MAX`], with what makes finding them fast.
#[derive(Debug, Clone)]
pub struct Content(Box<Finder<'static>>);

impl Content {
    /// These bytes; `None` if there are none or too many.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = (1..=CONTENT_MAX).contains(&bytes.len());
        fits.then(|| Self(Box::new(Finder::new(bytes).into_owned())))
    }

    /// What is looked for.
    pub fn bytes(&self) -> &[u8] {
        self.0.needle()
    }

    /// Whether it is in `bytes`.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.find(bytes).is_some()
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Content {}

/// Printable ASCII as it is; all else, backslashes, and `!` in front as `\` and two digits.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.bytes().iter().enumerate() {
            match byte {
                b'!' if at == 0 => f.write_str("\\21")?,
                b'\\' => f.write_str("\\5C")?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\{byte:02X}")?,
            }
        }
        Ok(())
    }
}
