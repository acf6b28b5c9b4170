//! A whole gateway over devices that need no network and no rights, run and asked by the binary.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const CONFIG: &str = r#"interfaces:
  lan: { device: "net_null0,no-rx=1", address: [192.168.88.1/24] }
  wan: { device: "net_null1,no-rx=1", address: [203.0.113.2/24] }
routes: [ { dst-address: 0.0.0.0/0, gateway: 203.0.113.1 } ]
connection-tracking: { max-entries: 2048 }
address-lists: { trusted: [10.0.0.0/8] }
firewall:
  filter:
    - { chain: forward, connection-state: "established,related", action: accept, comment: "Known" }
    - { chain: forward, in-interface: wan, action: drop }
  nat:
    - { chain: srcnat, out-interface: wan, action: masquerade }
services: { api: { socket: SOCKET } }
engine: { workers: [0], slow-path-core: 0, memory: { hugepages: no } }
"#;

/// A directory with a configuration whose socket is in it.
pub struct Lab {
    pub dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        lab.write(CONFIG);
        lab
    }

    pub fn write(&self, text: &str) {
        let socket = self.socket();
        fs::write(
            self.config(),
            text.replace("SOCKET", socket.to_str().unwrap()),
        )
        .unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("gw.yaml")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    pub fn start(&self) -> Gateway {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let child = turnpike()
            .args(["run", "--config"])
            .arg(self.config())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut gateway = Gateway { child };
        let began = Instant::now();
        while !self.ask(&["status"]).status.success() {
            let ended = gateway.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", self.log());
            assert!(began.elapsed() < Duration::from_secs(30), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        gateway
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Runs a client command on this gateway.
    pub fn ask(&self, words: &[&str]) -> Output {
        turnpike()
            .args(words)
            .arg("--socket")
            .arg(self.socket())
            .output()
            .unwrap()
    }

    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let mut words = words.to_vec();
        words.push("--json");
        let out = self.ask(&words);
        assert!(out.status.success(), "{}", stderr(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    pub fn generation(&self) -> u64 {
        self.json(&["status"])["generation"].as_u64().unwrap()
    }
}

/// A running gateway that does not outlive its test.
pub struct Gateway {
    pub child: Child,
}

impl Gateway {
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn stop(mut self) -> i32 {
        self.signal("-TERM");
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn turnpike() -> Command {
    Command::new(env!("CARGO_BIN_EXE_turnpike"))
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}
