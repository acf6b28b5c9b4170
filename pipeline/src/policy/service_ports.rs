//! Which helpers read which connections.

use turnpike_conntrack::tuple::Proto;
use turnpike_helpers::helper::Reader;
use turnpike_helpers::readers::Options;

/// A helper as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// What it is called.
    pub helper: &'static str,
    /// The ports of servers whose connections it reads.
    pub ports: Vec<(Reader, u16)>,
    /// `disabled: yes`.
    pub disabled: bool,
    /// What becomes of its packets while the slow path has no room for them.
    pub when_full: WhenFull,
}

/// What becomes of a packet that a helper should read while there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// It is dropped: whoever sent it sends it again.
    #[default]
    Drop,
    /// It passes unread, if nothing in it or of its numbers could have to be changed.
    Pass,
}

/// Every helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePorts {
    /// In the order in which they are listed.
    pub helpers: Vec<ServicePort>,
    /// What else is configured of them.
    pub options: Options,
}

impl Default for ServicePorts {
    /// RouterOS's.
    fn default() -> Self {
        let helper = |helper, ports: &[(Reader, u16)]| ServicePort {
            helper,
            ports: ports.to_vec(),
            disabled: matches!(helper, "irc" | "rtsp"),
            when_full: WhenFull::Drop,
        };
        let h323 = [
            (Reader::CallSignalling, 1_720),
            (Reader::Registration, 1_719),
        ];
        Self {
            helpers: vec![
                helper("ftp", &[(Reader::Ftp, 21)]),
                helper("h323", &h323),
                helper("irc", &[(Reader::Irc, 6_667)]),
                helper("pptp", &[(Reader::Pptp, 1_723)]),
                helper("rtsp", &[(Reader::Rtsp, 554)]),
                helper("sip", &[(Reader::Sip, 5_060), (Reader::Sip, 5_061)]),
                helper("tftp", &[(Reader::Tftp, 69)]),
            ],
            options: Options::default(),
        }
    }
}

impl ServicePorts {
    /// No helper.
    pub fn none() -> Self {
        let mut none = Self::default();
        none.helpers
            .iter_mut()
            .for_each(|helper| helper.disabled = true);
        none
    }

    /// Who reads a new connection to this port.
    pub fn reader(&self, proto: Proto, port: u16) -> Option<Reader> {
        let enabled = self.helpers.iter().filter(|helper| !helper.disabled);
        enabled
            .flat_map(|helper| &helper.ports)
            .find(|(reader, at)| *at == port && reader.reads(proto))
            .map(|(reader, _)| *reader)
    }

    /// How the helper of this reader is configured.
    pub fn of(&self, reader: Reader) -> Option<&ServicePort> {
        self.helpers
            .iter()
            .find(|helper| helper.helper == reader.helper())
    }

    /// Whether a connection to `port` that `reader` reads, as configured in `before`, is read on.
    pub fn reads_on(&self, before: &Self, reader: Reader, proto: Proto, port: u16) -> bool {
        let enabled = self.of(reader).is_some_and(|helper| !helper.disabled);
        // One that was announced has a port that nobody configured.
        let by_port = before.reader(proto, port) == Some(reader);
        enabled && (!by_port || self.reader(proto, port) == Some(reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_routeros() {
        let ports = ServicePorts::default();
        assert_eq!(ports.reader(Proto::TCP, 21), Some(Reader::Ftp));
        assert_eq!(ports.reader(Proto::UDP, 21), None);
        assert_eq!(ports.reader(Proto::UDP, 69), Some(Reader::Tftp));
        for proto in [Proto::TCP, Proto::UDP] {
            assert_eq!(ports.reader(proto, 5_061), Some(Reader::Sip));
        }
        assert_eq!(ports.reader(Proto::UDP, 1_719), Some(Reader::Registration));
        assert_eq!(ports.reader(Proto::TCP, 6_667), None, "irc is disabled");
        assert_eq!(ports.reader(Proto::TCP, 554), None, "rtsp is disabled");
    }

    #[test]
    fn a_disabled_helper_reads_nothing_any_more() {
        let (all, none) = (ServicePorts::default(), ServicePorts::none());
        assert_eq!(none.reader(Proto::TCP, 21), None);
        let on = |now: &ServicePorts, reader, port| now.reads_on(&all, reader, Proto::TCP, port);
        assert!(on(&all, Reader::Ftp, 21) && !on(&none, Reader::Ftp, 21));
        assert!(on(&all, Reader::MediaControl, 40_000), "it was announced");
        assert!(!on(&none, Reader::MediaControl, 40_000));
        let mut moved = ServicePorts::default();
        moved.helpers[0].ports = vec![(Reader::Ftp, 2_121)];
        assert!(!on(&moved, Reader::Ftp, 21), "its port was removed");
    }
}
