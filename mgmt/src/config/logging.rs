//! `logging`: where the lines of the log go.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::section::{Keys, Section, items, or_report, scalar};
use super::value::{choice, number};
use crate::problem::Problems;
use crate::yaml::Node;

/// How many lines are kept in memory where no number is written.
pub const MEMORY_LINES_DEFAULT: usize = 4_096;
/// The most lines kept in memory.
pub const MEMORY_LINES_MAX: usize = 1_000_000;
/// The log file where none is written.
pub const FILE_DEFAULT: &str = "/var/log/turnpike.log";
/// How large the log file grows where no size is written, in bytes.
pub const FILE_SIZE_DEFAULT: u64 = 10 << 20;
/// How many old log files are kept where no number is written.
pub const FILE_ROTATE_DEFAULT: u32 = 5;
/// The most old log files.
pub const FILE_ROTATE_MAX: u32 = 1_000;
/// The socket of the system log on this host.
pub const SYSLOG_SOCKET_DEFAULT: &str = "/dev/log";
/// The port of a system log elsewhere (RFC 5426, section 3.3).
pub const SYSLOG_PORT_DEFAULT: u16 = 514;

const LOGGING: Keys = Keys {
    of: "`logging`",
    known: &["targets", "memory", "file", "syslog"],
    later: &[],
    elsewhere: &[],
};

const MEMORY: Keys = Keys {
    of: "`memory`",
    known: &["lines"],
    later: &[],
    elsewhere: &[],
};

const FILE: Keys = Keys {
    of: "`file`",
    known: &["path", "size", "rotate"],
    later: &[],
    elsewhere: &[],
};

const SYSLOG: Keys = Keys {
    of: "`syslog`",
    known: &["socket", "remote", "remote-port", "facility"],
    later: &[],
    elsewhere: &[],
};

/// A place where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Memory,
    Stderr,
    File,
    Syslog,
}

const TARGETS: [(&str, Target); 4] = [
    ("memory", Target::Memory),
    ("stderr", Target::Stderr),
    ("file", Target::File),
    ("syslog", Target::Syslog),
];

/// The system log's facilities by name (RFC 5424, section 6.2.1).
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// Where the lines of the log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// How many lines are kept in memory for `turnpike log`; zero keeps none.
    pub memory_lines: usize,
    /// Whether standard error gets lines about packets; it gets those about the gateway anyway.
    pub stderr: super::Switch,
    /// The log file.
    pub file: Option<FileConfig>,
    /// The system log.
    pub syslog: Option<SyslogConfig>,
}

/// A log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    /// Where it is.
    pub path: PathBuf,
    /// How large it grows, in bytes.
    pub size: u64,
    /// How many old ones are kept beside it, as `PATH.1`, `PATH.2` …
    pub rotate: u32,
}

/// A system log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogConfig {
    /// Who takes it.
    pub to: SyslogTo,
    /// Its number.
    pub facility: u8,
}

/// Who takes a system log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogTo {
    /// A daemon on this host, by its datagram socket.
    Socket(PathBuf),
    /// A host elsewhere, by UDP.
    Remote(SocketAddr),
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self {
            memory_lines: MEMORY_LINES_DEFAULT,
            stderr: super::Switch::On,
            file: None,
            syslog: None,
        }
    }
}

/// Reads `logging:`.
pub fn decode(node: Option<&Node>, problems: &mut Problems) -> LoggingConfig {
    let Some(section) = node.and_then(|n| Section::open(n, &LOGGING, problems)) else {
        return LoggingConfig::default();
    };
    let targets = match section.field("targets") {
        Some(node) => targets(node, problems),
        None => vec![Target::Memory, Target::Stderr],
    };
    for (name, target) in TARGETS {
        if let (Some(entry), false) = (section.entry(name), targets.contains(&target)) {
            problems.warning(
                entry.key_span,
                format!("`{name}` is no target, so this does nothing; add it to `targets`"),
            );
        }
    }
    let memory_lines = section.read("memory", problems, memory);
    let file = section.read("file", problems, file);
    let syslog = section.read("syslog", problems, syslog);
    let wanted = |target| targets.contains(&target);
    LoggingConfig {
        memory_lines: if wanted(Target::Memory) {
            memory_lines.unwrap_or(MEMORY_LINES_DEFAULT)
        } else {
            0
        },
        stderr: if wanted(Target::Stderr) {
            super::Switch::On
        } else {
            super::Switch::Off
        },
        file: wanted(Target::File).then(|| file.unwrap_or_default()),
        syslog: wanted(Target::Syslog).then(|| syslog.unwrap_or_default()),
    }
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            path: FILE_DEFAULT.into(),
            size: FILE_SIZE_DEFAULT,
            rotate: FILE_ROTATE_DEFAULT,
        }
    }
}

impl Default for SyslogConfig {
    fn default() -> Self {
        Self {
            to: SyslogTo::Socket(SYSLOG_SOCKET_DEFAULT.into()),
            facility: 3,
        }
    }
}

fn targets(node: &Node, problems: &mut Problems) -> Vec<Target> {
    let words = items(node, problems).unwrap_or_default();
    let read = words.iter().filter(|item| !item.text.is_empty());
    let read = read.map(|item| {
        let target = choice(item.text, "a target of the log", &TARGETS);
        or_report(target, item.span, problems)
    });
    read.flatten().collect()
}

fn memory(node: &Node, problems: &mut Problems) -> Option<usize> {
    let section = Section::open(node, &MEMORY, problems)?;
    let lines = whole(section, "lines", (1, MEMORY_LINES_MAX as u64), problems)?;
    usize::try_from(lines).ok()
}

fn file(node: &Node, problems: &mut Problems) -> Option<FileConfig> {
    let section = Section::open(node, &FILE, problems)?;
    let default = FileConfig::default();
    let size = section.read("size", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        or_report(size(text), n.span, problems)
    });
    let rotate = whole(section, "rotate", (0, FILE_ROTATE_MAX.into()), problems);
    Some(FileConfig {
        path: section
            .read("path", problems, absolute)
            .unwrap_or(default.path),
        size: size.unwrap_or(default.size),
        rotate: rotate
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(default.rotate),
    })
}

fn syslog(node: &Node, problems: &mut Problems) -> Option<SyslogConfig> {
    let section = Section::open(node, &SYSLOG, problems)?;
    let facility = section.read("facility", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        or_report(
            choice(text, "a facility of the system log", &FACILITIES),
            n.span,
            problems,
        )
    });
    let socket = section.read("socket", problems, absolute);
    let remote = section.read("remote", problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        let address = text.parse::<IpAddr>();
        let address = address.map_err(|_| {
            format!("`{text}` is not an address; write, for example, 192.0.2.9 or 2001:db8::9")
        });
        or_report(address, n.span, problems)
    });
    let port = whole(section, "remote-port", (1, 65_535), problems);
    let port = port.and_then(|n| u16::try_from(n).ok());
    if let (Some(entry), None) = (section.entry("remote-port"), section.field("remote")) {
        problems.warning(
            entry.key_span,
            "`remote-port` does nothing without `remote`; add it, or remove the port",
        );
    }
    if let (Some(entry), Some(_)) = (section.entry("socket"), section.field("remote")) {
        problems.error(
            entry.key_span,
            "the system log has a `socket` on this host or is `remote`; remove one of the two",
        );
    }
    let default = SyslogConfig::default();
    let to = match (remote, socket) {
        (Some(address), _) => {
            let port = port.unwrap_or(SYSLOG_PORT_DEFAULT);
            SyslogTo::Remote(SocketAddr::new(address, port))
        }
        (None, Some(path)) => SyslogTo::Socket(path),
        (None, None) => default.to,
    };
    Some(SyslogConfig {
        to,
        facility: facility.unwrap_or(default.facility),
    })
}

fn whole(
    section: Section<'_>,
    key: &str,
    (min, max): (u64, u64),
    problems: &mut Problems,
) -> Option<u64> {
    section.read(key, problems, |n, problems| {
        let text = &scalar(n, problems)?.text;
        or_report(number(text, min, max), n.span, problems)
    })
}

fn absolute(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let text = &scalar(node, problems)?.text;
    let good = text.starts_with('/') && !text.ends_with('/') && !text.contains('\0');
    if !good {
        problems.error(
            node.span,
            format!("`{text}` cannot be a file here; write an absolute path"),
        );
    }
    good.then(|| PathBuf::from(text))
}

/// Bytes: a whole number, with `k`, `M` or `G` for 2^10, 2^20 or 2^30 of them.
fn size(text: &str) -> Result<u64, String> {
    const SIZE_MAX: u64 = 1 << 40;
    let (digits, unit) = match text.chars().next_back() {
        Some('k') => (text.trim_end_matches('k'), 10),
        Some('M') => (text.trim_end_matches('M'), 20),
        Some('G') => (text.trim_end_matches('G'), 30),
        Some(_) | None => (text, 0),
    };
    let bytes = number(digits, 1, SIZE_MAX >> unit).map(|n| n << unit);
    bytes
        .ok()
        .filter(|bytes| *bytes >= 1_024)
        .ok_or_else(|| format!("`{text}` is not a size; write, for example, 512k, 10M or 1G"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Switch;
    use crate::yaml;

    /// What the text means, and what is said about it.
    fn read(text: &str) -> (LoggingConfig, Vec<String>) {
        let mut problems = Problems::new("t".into());
        let tree = yaml::parse(text, &mut problems).unwrap();
        let config = decode(Some(&tree), &mut problems);
        let said = problems.into_sorted().0;
        (config, said.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_target_has_defaults_that_work_alone() {
        let (config, said) = read("targets: [memory, file, syslog]");
        assert_eq!(said, Vec::<String>::new());
        assert_eq!(config.memory_lines, MEMORY_LINES_DEFAULT);
        assert_eq!(config.stderr, Switch::Off);
        assert_eq!(config.file, Some(FileConfig::default()));
        assert_eq!(config.syslog, Some(SyslogConfig::default()));
        assert_eq!(read("targets: [stderr]").0.memory_lines, 0);
    }

    #[test]
    fn settings_reach_their_target() {
        let (config, said) = read(
            "targets: \"memory,file,syslog\"\nmemory: { lines: 10 }\nfile: { path: /tmp/x.log, \
             size: 64k, rotate: 0 }\nsyslog: { remote: 192.0.2.9, remote-port: 5514, facility: \
             local3 }",
        );
        assert_eq!(said, Vec::<String>::new());
        assert_eq!(config.memory_lines, 10);
        let file = config.file.unwrap();
        assert_eq!((file.size, file.rotate), (65_536, 0));
        assert_eq!(file.path, PathBuf::from("/tmp/x.log"));
        let syslog = config.syslog.unwrap();
        assert_eq!(syslog.facility, 19);
        let remote = SyslogTo::Remote("192.0.2.9:5514".parse().unwrap());
        assert_eq!(syslog.to, remote);
    }

    #[test]
    fn settings_of_what_is_no_target_are_said_to_do_nothing() {
        let (config, said) = read("targets: [memory]\nfile: { path: /tmp/x.log }");
        assert_eq!(config.file, None);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("warning: `file` is no target"), "{said:?}");
        let (_, said) = read("targets: [syslog]\nsyslog: { remote-port: 99 }");
        assert!(said[0].contains("does nothing without `remote`"));
    }

    #[test]
    fn what_cannot_be_is_refused_at_its_place() {
        for (text, place) in [
            ("targets: [disk]", "t:1:11: error: `disk` is not a target"),
            ("memory: { lines: 0 }", "t:1:18: error"),
            ("file: { path: turnpike.log }", "write an absolute path"),
            ("file: { size: 10MB }", "is not a size"),
            ("file: { size: 1 }", "is not a size"),
            ("file: { rotate: -1 }", "not a whole number"),
            ("syslog: { facility: local9 }", "did you mean `local"),
            ("syslog: { remote: loghost }", "is not an address"),
            (
                "syslog: { socket: /dev/log, remote: 192.0.2.9 }",
                "remove one of the two",
            ),
            ("tragets: [memory]", "did you mean `targets`"),
        ] {
            let said = read(text).1.join("\n");
            assert!(said.contains(place), "{text}: {said}");
        }
    }
}
