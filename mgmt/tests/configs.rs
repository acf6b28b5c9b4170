//! Every configuration that ships is right.

use std::fs;
use std::path::Path;

use turnpike_mgmt::config::Config;

#[test]
fn every_file_in_configs_loads_without_a_warning() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let config = Config::load_tested(&path).unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(config.warnings, [], "{}", path.display());
        assert!(config.policy.tracking.enabled);
        seen += 1;
    }
    assert!(seen >= 2);
}
