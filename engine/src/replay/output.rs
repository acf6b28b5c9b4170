//! The directory a replay writes: one capture per interface, the verdicts, two reports.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Input, ReplayError};
use crate::pcap::{CaptureWriter, Precision, Stamp};

/// One line of `verdicts.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VerdictLine<'a> {
    /// The interface the packet was fed to.
    pub interface: &'a str,
    /// Its number in its file, from 1.
    pub index: u64,
    /// How it ended.
    pub verdict: &'static str,
    /// The drop reason's label.
    pub reason: Option<&'static str>,
    /// The interface it left by.
    pub out: Option<&'a str>,
    /// Its connection state.
    pub connection_state: Option<&'static str>,
    /// The rule that decided, as `table/chain/N file:line`.
    pub rule: Option<String>,
    /// The file it came from, where the interface and the number alone would not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<&'a str>,
}

/// The files being written.
#[derive(Debug)]
pub struct OutputDir {
    dir: PathBuf,
    /// In the order of the interfaces.
    captures: Vec<CaptureWriter<BufWriter<File>>>,
    verdicts: BufWriter<File>,
}

impl OutputDir {
    /// Creates the directory where it is missing, and an empty capture for each interface; files
    /// of an earlier replay are replaced.
    ///
    /// # Errors
    /// A file cannot be created, or is one of the inputs; the message names it.
    pub fn create<'a>(
        dir: &Path,
        interfaces: impl IntoIterator<Item = &'a str>,
        precision: Precision,
        inputs: &[Input],
    ) -> Result<Self, ReplayError> {
        let interfaces: Vec<&str> = interfaces.into_iter().collect();
        let captures = interfaces.iter().map(|name| file_name(name));
        let reports = ["verdicts.jsonl", "connections.json", "counters.json"].map(String::from);
        spare(inputs, captures.chain(reports).map(|name| dir.join(name)))?;
        fs::create_dir_all(dir).map_err(|e| ReplayError::output(dir, e))?;
        let captures = interfaces
            .into_iter()
            .map(|name| {
                let path = dir.join(file_name(name));
                let file = File::create(&path)
                    .and_then(|file| CaptureWriter::new(BufWriter::new(file), precision));
                file.map_err(|e| ReplayError::output(&path, e))
            })
            .collect::<Result<_, _>>()?;
        let path = dir.join("verdicts.jsonl");
        let verdicts = File::create(&path).map_err(|e| ReplayError::output(&path, e))?;
        Ok(Self {
            dir: dir.to_owned(),
            captures,
            verdicts: BufWriter::new(verdicts),
        })
    }

    /// Appends a frame to the capture of an interface, by its place in the order of interfaces.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sent(
        &mut self,
        interface: usize,
        stamp: Stamp,
        frame: &[u8],
    ) -> Result<(), ReplayError> {
        let Some(capture) = self.captures.get_mut(interface) else {
            return Ok(());
        };
        capture
            .write(stamp, frame)
            .map_err(|e| ReplayError::output(&self.dir, e))
    }

    /// Appends a verdict.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn verdict(&mut self, line: &VerdictLine<'_>) -> Result<(), ReplayError> {
        serde_json::to_writer(&mut self.verdicts, line)
            .map_err(io::Error::from)
            .and_then(|()| self.verdicts.write_all(b"\n"))
            .map_err(|e| ReplayError::output(&self.dir.join("verdicts.jsonl"), e))
    }

    /// Writes a report as indented JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn report(&self, name: &str, report: &impl Serialize) -> Result<(), ReplayError> {
        let path = self.dir.join(name);
        let write = || {
            let mut file = BufWriter::new(File::create(&path)?);
            serde_json::to_writer_pretty(&mut file, report)?;
            file.write_all(b"\n")?;
            file.flush()
        };
        write().map_err(|e: io::Error| ReplayError::output(&path, e))
    }

    /// Makes sure that everything has reached the files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(mut self) -> Result<(), ReplayError> {
        let mut flush = || {
            self.captures
                .drain(..)
                .try_for_each(|capture| capture.finish().map(drop))?;
            self.verdicts.flush()
        };
        flush().map_err(|e| ReplayError::output(&self.dir, e))
    }
}

/// The capture of an interface: its name, with what a file name cannot hold written as `%XX`, so
/// that no two interfaces share a file and none leaves the directory.
fn file_name(interface: &str) -> String {
    let mut name = String::with_capacity(interface.len() + 5);
    for (at, byte) in interface.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'+' | b'@' | b':')
            || (byte == b'.' && at > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name.push_str(".pcap");
    name
}

/// Refuses outputs that are one of the inputs, by whatever path.
fn spare(inputs: &[Input], outputs: impl Iterator<Item = PathBuf>) -> Result<(), ReplayError> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let taken: Vec<_> = inputs
        .iter()
        .filter_map(|input| identity(&input.path))
        .collect();
    for path in outputs {
        if identity(&path).is_some_and(|file| taken.contains(&file)) {
            return Err(ReplayError::Overwrites(path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> VerdictLine<'static> {
        VerdictLine {
            interface: "lan",
            index: 7,
            verdict: "drop",
            reason: Some("filter-rule"),
            out: None,
            connection_state: Some("new"),
            rule: Some("filter/forward/3 gw.yaml:41".to_owned()),
            file: None,
        }
    }

    #[test]
    fn a_verdict_is_one_line_with_the_keys_of_the_contract() {
        assert_eq!(
            serde_json::to_string(&line()).unwrap(),
            concat!(
                r#"{"interface":"lan","index":7,"verdict":"drop","reason":"filter-rule","#,
                r#""out":null,"connection-state":"new","rule":"filter/forward/3 gw.yaml:41"}"#,
            )
        );
        let with_file = VerdictLine {
            file: Some("a.pcap"),
            ..line()
        };
        assert!(
            serde_json::to_string(&with_file)
                .unwrap()
                .ends_with(r#","file":"a.pcap"}"#)
        );
    }

    #[test]
    fn every_interface_has_a_capture_even_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new");
        let mut output = OutputDir::create(&out, ["lan", "wan"], Precision::Micro, &[]).unwrap();
        output.sent(1, Stamp(1_000), &[1; 60]).unwrap();
        output.verdict(&line()).unwrap();
        output.verdict(&line()).unwrap();
        output
            .report("counters.json", &serde_json::json!({ "drops": {} }))
            .unwrap();
        output.finish().unwrap();
        let length = |name: &str| fs::metadata(out.join(name)).unwrap().len();
        assert_eq!((length("lan.pcap"), length("wan.pcap")), (24, 24 + 16 + 60));
        assert_eq!(
            fs::read_to_string(out.join("verdicts.jsonl"))
                .unwrap()
                .lines()
                .count(),
            2
        );
        assert_eq!(
            fs::read_to_string(out.join("counters.json")).unwrap(),
            "{\n  \"drops\": {}\n}\n"
        );
    }

    #[test]
    fn an_output_that_is_an_input_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lan.pcap"), b"precious").unwrap();
        std::os::unix::fs::symlink("lan.pcap", dir.path().join("link.pcap")).unwrap();
        let input = Input {
            entry: super::super::Entry::Auto,
            path: dir.path().join("link.pcap"),
        };
        let refused = OutputDir::create(dir.path(), ["lan"], Precision::Micro, &[input]);
        assert!(matches!(refused, Err(ReplayError::Overwrites(_))));
        assert_eq!(fs::read(dir.path().join("lan.pcap")).unwrap(), b"precious");
    }

    #[test]
    fn names_that_are_no_file_names_neither_collide_nor_leave_the_directory() {
        assert_eq!(file_name("ether1.20"), "ether1.20.pcap");
        assert_eq!(file_name("../x"), "%2E.%2Fx.pcap");
        assert_eq!(file_name("%2E"), "%252E.pcap");
        assert_eq!(file_name(""), ".pcap");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let refused = OutputDir::create(&file.join("x"), [], Precision::Micro, &[]).unwrap_err();
        assert!(refused.to_string().contains("file/x"), "{refused}");
    }
}
