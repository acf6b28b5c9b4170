//! Tests that are elsewhere in the repository.

use std::fs;
use std::path::Path;

/// How far above a function its `#[test]` may stand.
const ATTRIBUTES_MAX: usize = 6;

/// Whether `path:function` is a test, or `scripts/netns/NAME.sh` a step of `scripts/test`.
pub fn is_a_test(named: &str) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).map_err(|e| format!("there is no test {path}: {e}"))
    };
    let Some((path, function)) = named.split_once(':') else {
        let step = named.trim_start_matches("scripts/").trim_end_matches(".sh");
        let listed = read("scripts/test")?.contains(step);
        return match (read(named), listed) {
            (Ok(_), true) => Ok(()),
            (Ok(_), false) => Err(format!("{named} is no test: scripts/test does not run it")),
            (Err(why), _) => Err(why),
        };
    };
    let text = read(path)?;
    let lines: Vec<&str> = text.lines().collect();
    let wanted = format!("fn {function}(");
    let at = lines
        .iter()
        .position(|line| line.trim_start().starts_with(&wanted));
    let above = at.map(|at| &lines[at.saturating_sub(ATTRIBUTES_MAX)..at]);
    match above {
        Some(above) if above.iter().any(|line| line.trim() == "#[test]") => Ok(()),
        Some(_) => Err(format!("{named} is no test")),
        None => Err(format!("there is no test {named}")),
    }
}
