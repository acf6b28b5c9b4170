//! The `turnpike` command: the gateway and the tools that go with it.

use std::process::ExitCode;

fn main() -> ExitCode {
    turnpike_mgmt::cli::main()
}
