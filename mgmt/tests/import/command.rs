//! `turnpike import` as a command.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn turnpike() -> Command {
    Command::new(env!("CARGO_BIN_EXE_turnpike"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What comes of an import of `input`, into a file or not.
fn import(input: &str, into_file: bool) -> (Output, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in.rsc");
    fs::write(&file, input).unwrap();
    let mut command = turnpike();
    command.args(["import", "routeros"]).arg(&file);
    if into_file {
        command.arg("-o").arg(dir.path().join("out.yaml"));
    }
    (command.output().unwrap(), dir)
}

const WHOLE: &str = "/ip address add address=192.168.88.1/24 interface=lan\n\
                     /ip firewall filter add chain=input in-interface=lan action=accept\n\
                     /system identity set name=x\n";

#[test]
fn what_is_written_is_accepted_by_check() {
    let (output, dir) = import(WHOLE, true);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stdout);
    assert!(
        said.contains("in.rsc:3: not mapped: /system identity"),
        "{said}"
    );
    assert!(
        said.contains("3 commands: 2 mapped, 0 mapped with a note, 1 not mapped"),
        "{said}"
    );
    let check = turnpike()
        .arg("check")
        .arg(dir.path().join("out.yaml"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    assert!(text(&check.stdout).contains("1 interface"), "{check:?}");
}

#[test]
fn without_a_file_the_configuration_is_the_output_and_the_report_is_not() {
    let (output, _dir) = import(WHOLE, false);
    assert_eq!(output.status.code(), Some(0));
    let (yaml, report) = (text(&output.stdout), text(&output.stderr));
    assert!(yaml.contains("lan: { device: "), "{yaml}");
    assert!(report.contains("in.rsc: 3 commands"), "{report}");
    assert!(!yaml.contains("3 commands"), "{yaml}");
}

#[test]
fn an_import_that_leaves_something_out_ends_with_3() {
    let (output, dir) = import("/ip firewall filter add chain=input nonsense=1\n", true);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = text(&output.stdout);
    assert!(
        said.contains("in.rsc:1: left out: unknown key `nonsense`"),
        "{said}"
    );
    let yaml = fs::read_to_string(dir.path().join("out.yaml")).unwrap();
    assert!(yaml.contains("LEFT OUT: 1 of 1 commands"), "{yaml}");
}

#[test]
fn standard_input_is_read_and_other_encodings_are_told() {
    let mut child = turnpike()
        .args(["import", "routeros", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"/ip firewall filter add chain=input action=drop comment=\"caf\xe9\"\n")
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("comment: \"caf\u{fffd}\""));
    assert!(text(&output.stderr).contains("not UTF-8"));
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let output = turnpike()
        .args(["import", "routeros", "/nonexistent.rsc"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("error: cannot read /nonexistent.rsc"));
}
