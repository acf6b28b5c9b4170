//! Which helper reads what: the one place where readers are made.

use std::time::Duration;

use turnpike_conntrack::tuple::Proto;

use crate::ftp::Ftp;
use crate::h323::{CallSignalling, MediaControl, Registration};
use crate::helper::{Helper, Reader};
use crate::irc::Irc;
use crate::pptp::Pptp;
use crate::rtsp::Rtsp;
use crate::sip::{self, Sip};
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
    /// A reader at the start of a connection.
    pub fn start(self, options: &Options) -> Box<dyn Helper> {
        match self {
            Self::Ftp => Box::new(Ftp::new()),
            Self::CallSignalling => Box::new(CallSignalling::new()),
            Self::Irc => Box::new(Irc::new()),
            Self::Pptp => Box::new(Pptp::new()),
            Self::Sip => Box::new(Sip::new(sip::Options {
                direct_media: options.sip_direct_media,
                timeout: options.sip_timeout,
            })),
            Self::Tftp => Box::new(Tftp),
            Self::Rtsp => Box::new(Rtsp::new()),
            Self::Registration => Box::new(Registration::new()),
            Self::MediaControl => Box::new(MediaControl::new()),
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
