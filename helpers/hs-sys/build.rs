//! Finds the system's Vectorscan (or Hyperscan, whose interface it has) and links it.

use std::error::Error;

/// The oldest release with everything that is called.
const HS_MIN: &str = "5.4";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    pkg_config::Config::new()
        .atleast_version(HS_MIN)
        .probe("libhs")
        .map_err(|e| {
            format!(
                "Vectorscan {HS_MIN} or later is needed (Debian: apt-get install \
                 libvectorscan-dev): {e}"
            )
        })?;
    Ok(())
}
