//! The system log: datagrams to a daemon on this host, or by UDP to one elsewhere.
//!
//! On this host a line is `<priority>turnpike[pid]: topic: message`, which every daemon on
//! `/dev/log` takes and to which it adds time and host. Elsewhere it is RFC 5424 over UDP
//! (RFC 5426), with the topic as message identifier.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::Topic;
use super::outlet::{Entry, Sink};
use crate::config::logging::{SyslogConfig, SyslogTo};
use crate::daytime;
use crate::problem::one_line;

/// The longest datagram: what every receiver should take (RFC 5424, section 6.1).
pub const DATAGRAM_MAX: usize = 2_048;
/// How long a daemon may take over one line.
const PATIENCE: Duration = Duration::from_millis(200);

/// A system log, connected or to be connected with the next line.
pub(super) struct Syslog {
    config: SyslogConfig,
    link: Option<Link>,
    host: String,
    pid: u32,
}

enum Link {
    Here(UnixDatagram),
    Elsewhere(UdpSocket),
}

impl Syslog {
    /// A system log that is not connected yet.
    pub(super) fn new(config: SyslogConfig) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let plain: String = host.chars().filter(char::is_ascii_graphic).collect();
        Self {
            config,
            link: None,
            host: if plain.is_empty() { "-".into() } else { plain },
            pid: std::process::id(),
        }
    }

    /// Who takes it, for people.
    pub(super) fn to(&self) -> String {
        match &self.config.to {
            SyslogTo::Socket(path) => path.display().to_string(),
            SyslogTo::Remote(address) => address.to_string(),
        }
    }

    fn datagram(&self, entry: &Entry) -> String {
        let severity = match entry.topic {
            Topic::Firewall => 6,
            Topic::System => 5,
        };
        let priority = self.config.facility * 8 + severity;
        let (pid, topic) = (self.pid, entry.topic.name());
        let mut text = match &self.config.to {
            SyslogTo::Socket(_) => format!("<{priority}>turnpike[{pid}]: {topic}: "),
            SyslogTo::Remote(_) => {
                let time = daytime::utc(entry.time_ms).replacen(' ', "T", 1);
                let host = &self.host;
                format!("<{priority}>1 {time}Z {host} turnpike {pid} {topic} - ")
            }
        };
        // Writing to a string cannot fail.
        let _ = text.write_str(&one_line(&entry.message));
        let end = (0..=DATAGRAM_MAX.min(text.len())).rev();
        let end = end.into_iter().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text
    }

    fn connect(&self) -> io::Result<Link> {
        match &self.config.to {
            SyslogTo::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Link::Here(socket))
            }
            SyslogTo::Remote(address) => {
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Link::Elsewhere(socket))
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let link = match self.link.take() {
            Some(link) => link,
            None => self.connect()?,
        };
        match &link {
            Link::Here(socket) => socket.send(datagram)?,
            Link::Elsewhere(socket) => socket.send(datagram)?,
        };
        self.link = Some(link);
        Ok(())
    }
}

impl Sink for Syslog {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let datagram = self.datagram(entry);
        let connected = self.link.is_some();
        match self.send(datagram.as_bytes()) {
            // The daemon may have been restarted since the last line.
            Err(error) if connected && error.kind() != io::ErrorKind::WouldBlock => {
                self.send(datagram.as_bytes())
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(topic: Topic, message: &str) -> Entry {
        Entry {
            time_ms: 1_795_269_296_789,
            topic,
            message: message.to_owned(),
        }
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4_096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_daemon_on_this_host_gets_priority_name_and_line_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut syslog = Syslog::new(SyslogConfig {
            to: SyslogTo::Socket(path.clone()),
            facility: 16,
        });
        let line = entry(Topic::Firewall, "API Drop: input: in:wan");
        let missing = syslog.write(&line).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let pid = std::process::id();
        for _ in 0..2 {
            let daemon = UnixDatagram::bind(&path).unwrap();
            syslog.write(&line).unwrap();
            assert_eq!(
                received(&daemon),
                format!("<134>turnpike[{pid}]: firewall: API Drop: input: in:wan")
            );
            drop(daemon);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_daemon_elsewhere_gets_rfc_5424() {
        let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut syslog = Syslog::new(SyslogConfig {
            to: SyslogTo::Remote(daemon.local_addr().unwrap()),
            facility: 3,
        });
        syslog.host = "gw".to_owned();
        syslog.pid = 42;
        syslog
            .write(&entry(Topic::System, "reloaded\nas 2"))
            .unwrap();
        let mut bytes = [0; 4_096];
        let length = daemon.recv(&mut bytes).unwrap();
        assert_eq!(
            std::str::from_utf8(&bytes[..length]).unwrap(),
            "<29>1 2026-11-21T13:54:56.789Z gw turnpike 42 system - reloaded?as 2"
        );
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let mut syslog = Syslog::new(SyslogConfig::default());
        for pid in [1, 12, 123] {
            syslog.pid = pid;
            let text = syslog.datagram(&entry(Topic::System, &"ä".repeat(3_000)));
            assert!((DATAGRAM_MAX - 1..=DATAGRAM_MAX).contains(&text.len()));
        }
    }

    #[test]
    fn a_daemon_that_does_not_read_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(SyslogConfig {
            to: SyslogTo::Socket(path),
            facility: 3,
        });
        let line = entry(Topic::Firewall, &"x".repeat(1_000));
        let failed = (0..100_000).find_map(|_| syslog.write(&line).err());
        assert_eq!(failed.map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
    }
}
