//! Which helper reads what: the one place where readers are made.

use std::time::Duration;

use turnpike_conntrack::tuple::Proto;

use crate::ftp::Ftp;
use crate::helper::{Helper, Reader};
use crate::tftp::Tftp;

/// What configuration says of helpers, as far as readers ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `sip-direct-media`: media go between the two ends of the signalling only.
    pub sip_direct_media: bool,
    /// `sip-timeout`: for how long a registration is remembered.
    pub sip_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sip_direct_media: true,
            sip_timeout: Duration::from_secs(3_600),
        }
    }
}

impl Reader {
    /// A reader at the start of a connection; `None` for a protocol that cannot be read yet.
    pub fn start(self, _options: &Options) -> Option<Box<dyn Helper>> {
        match self {
            Self::Ftp => Some(Box::new(Ftp::new())),
            Self::Tftp => Some(Box::new(Tftp)),
            Self::CallSignalling
            | Self::Irc
            | Self::Pptp
            | Self::Sip
            | Self::Rtsp
            | Self::Registration
            | Self::MediaControl => None,
        }
    }

    /// Whether it reads what this protocol carries.
    pub const fn reads(self, proto: Proto) -> bool {
        let (tcp, udp) = match self {
            Self::Ftp
            | Self::CallSignalling
            | Self::Irc
            | Self::Pptp
            | Self::Rtsp
            | Self::MediaControl => (true, false),
            Self::Sip => (true, true),
            Self::Tftp | Self::Registration => (false, true),
        };
        tcp && proto.0 == Proto::TCP.0 || udp && proto.0 == Proto::UDP.0
    }
}
