//! The log file: lines appended, and old files kept beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::outlet::{Entry, Sink};
use crate::config::logging::FileConfig;
use crate::daytime;
use crate::problem::one_line;

/// A log file, open or to be opened with the next line.
pub(super) struct LogFile {
    config: FileConfig,
    open: Option<Open>,
    /// A line broke off in the middle, as on a full disk: the next one begins on its own.
    torn: bool,
}

struct Open {
    file: File,
    size: u64,
    /// Whether it can be moved away: a device or a pipe stays where it is.
    movable: bool,
}

impl LogFile {
    /// A log file that is not open yet.
    pub(super) fn new(config: FileConfig) -> Self {
        Self {
            config,
            open: None,
            torn: false,
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let too_large = |open: &Open, max: u64| {
            open.movable && open.size > 0 && open.size + line.len() as u64 > max
        };
        if let Some(open) = &self.open
            && too_large(open, self.config.size)
        {
            self.open = None;
            self.rotate()?;
            self.open = Some(self.open()?);
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if self.torn {
            open.file.write_all(b"\n")?;
            self.torn = false;
        }
        self.torn = true;
        open.file.write_all(line)?;
        self.torn = false;
        open.size += line.len() as u64;
        Ok(())
    }

    fn open(&self) -> io::Result<Open> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.config.path)?;
        let metadata = file.metadata()?;
        Ok(Open {
            file,
            size: metadata.len(),
            movable: metadata.is_file(),
        })
    }

    /// Moves the file away, and older ones one further; the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        let path = &self.config.path;
        if self.config.rotate == 0 {
            return fs::remove_file(path);
        }
        for n in (1..self.config.rotate).rev() {
            match fs::rename(self.numbered(n), self.numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(path, self.numbered(1))
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.config.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }
}

impl Sink for LogFile {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let line = format!(
            "{} {}: {}\n",
            daytime::utc(entry.time_ms),
            entry.topic.name(),
            one_line(&entry.message)
        );
        let written = self.append(line.as_bytes());
        if written.is_err() {
            self.open = None;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Topic;

    fn entry(message: &str) -> Entry {
        Entry {
            time_ms: 0,
            topic: Topic::Firewall,
            message: message.to_owned(),
        }
    }

    /// A log file of `size` bytes that keeps `rotate` old ones, in a directory of its own.
    fn log(size: u64, rotate: u32) -> (tempfile::TempDir, PathBuf, LogFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.log");
        let config = FileConfig {
            path: path.clone(),
            size,
            rotate,
        };
        (dir, path, LogFile::new(config))
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn lines_carry_time_and_topic_and_are_appended_to_what_is_there() {
        let (_dir, path, mut log) = log(1 << 20, 1);
        fs::write(&path, "before\n").unwrap();
        log.write(&entry("API Drop: input\nforged: line")).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "before\n1970-01-01 00:00:00.000 firewall: API Drop: input?forged: line\n"
        );
    }

    #[test]
    fn a_full_file_is_moved_away_and_the_oldest_goes() {
        let (dir, path, mut log) = log(100, 2);
        let line = "x".repeat(60);
        for n in 0..5 {
            log.write(&entry(&format!("{n}{line}"))).unwrap();
        }
        assert_eq!(names(&dir), ["t.log", "t.log.1", "t.log.2"]);
        let has = |name: &str, n: &str| {
            let text = fs::read_to_string(path.with_file_name(name)).unwrap();
            assert!(text.contains(&format!("firewall: {n}x")), "{name}: {text}");
            assert_eq!(text.lines().count(), 1);
        };
        has("t.log", "4");
        has("t.log.1", "3");
        has("t.log.2", "2");
    }

    #[test]
    fn without_old_files_a_full_one_begins_anew() {
        let (dir, path, mut log) = log(100, 0);
        for n in 0..3 {
            log.write(&entry(&format!("{n}{}", "x".repeat(60))))
                .unwrap();
        }
        assert_eq!(names(&dir), ["t.log"]);
        assert!(fs::read_to_string(path).unwrap().contains("2xxx"));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut log = LogFile::new(FileConfig {
            path: "/dev/full".into(),
            size: 1_024,
            rotate: 3,
        });
        for _ in 0..50 {
            let error = log.write(&entry(&"x".repeat(100))).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn what_is_no_file_is_never_moved_away() {
        let (dir, path, mut log) = log(100, 2);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let mut reading = OpenOptions::new();
        let _reader = reading.read(true).write(true).open(&path).unwrap();
        for _ in 0..5 {
            log.write(&entry(&"x".repeat(60))).unwrap();
        }
        assert_eq!(names(&dir), ["t.log"]);
    }

    #[test]
    fn a_directory_that_comes_later_is_found_with_the_next_line() {
        let (dir, _, _) = log(0, 0);
        let path = dir.path().join("later/t.log");
        let mut log = LogFile::new(FileConfig {
            path: path.clone(),
            size: 1_024,
            rotate: 1,
        });
        assert!(log.write(&entry("lost")).is_err());
        fs::create_dir(path.parent().unwrap()).unwrap();
        log.write(&entry("kept")).unwrap();
        assert!(fs::read_to_string(path).unwrap().ends_with("kept\n"));
    }

    #[test]
    fn a_line_after_one_that_broke_off_begins_on_its_own() {
        let (_dir, path, mut log) = log(1 << 20, 1);
        fs::write(&path, "1970-01-01 half a li").unwrap();
        log.torn = true;
        log.write(&entry("whole")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with("firewall: whole\n"));
    }
}
