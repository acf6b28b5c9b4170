//! Finds the system's DPDK, generates the bindings and compiles the shim.
//!
//! Only the core libraries are linked. Drivers are shared objects that EAL loads from its plug-in
//! directory; they name the libraries they need themselves, so nothing has to be kept alive for
//! them with linker flags.

use std::env;
use std::error::Error;
use std::path::PathBuf;

/// The oldest release whose names the bindings use.
const DPDK_MIN: &str = "22.11";

/// The libraries whose functions the bindings call; the other fifty are for drivers and examples.
const LIBRARIES: &[&str] = &["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=shim.c");
    println!("cargo:rerun-if-changed=shim.h");

    let dpdk = pkg_config::Config::new()
        .atleast_version(DPDK_MIN)
        .cargo_metadata(false)
        .probe("libdpdk")
        .map_err(|e| {
            format!("DPDK {DPDK_MIN} or later is needed (Debian: apt-get install libdpdk-dev): {e}")
        })?;

    // `-include rte_config.h` and `-march=` are not in what the crate parses out of pkg-config.
    let mut flags = vec![
        "-include".to_owned(),
        "rte_config.h".to_owned(),
        "-D_GNU_SOURCE".to_owned(),
    ];
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        flags.push("-march=corei7".to_owned());
    }
    flags.extend(
        dpdk.include_paths
            .iter()
            .map(|p| format!("-I{}", p.display())),
    );

    let mut shim = cc::Build::new();
    shim.file("shim.c").warnings(false);
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("tp_dpdk_shim");

    for path in &dpdk.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES {
        println!("cargo:rustc-link-lib=dylib={library}");
    }

    let out = PathBuf::from(env::var("OUT_DIR")?).join("bindings.rs");
    bindgen::Builder::default()
        .header("shim.h")
        .clang_args(&flags)
        .allowlist_function("tp_.*")
        .allowlist_function("rte_eal_(init|cleanup)")
        .allowlist_function("rte_thread_(register|unregister)")
        .allowlist_function("rte_log_set_global_level")
        .allowlist_function("rte_socket_(id|count|id_by_idx)")
        .allowlist_function("rte_pktmbuf_pool_create")
        .allowlist_function("rte_mempool_(lookup|free|avail_count|in_use_count)")
        .allowlist_function("rte_dev_(probe|remove)")
        .allowlist_function("rte_eth_dev_(info_get|configure|start|stop|close|set_mtu|get_mtu)")
        .allowlist_function("rte_eth_dev_(rss_hash_conf_get|rss_reta_update|rss_reta_query)")
        .allowlist_function("rte_eth_dev_(get_port_by_name|get_name_by_port|socket_id)")
        .allowlist_function("rte_eth_dev_(is_valid_port|adjust_nb_rx_tx_desc)")
        .allowlist_function("rte_eth_(rx|tx)_queue_setup")
        .allowlist_function("rte_eth_(macaddr_get|link_get_nowait)")
        .allowlist_function("rte_eth_(promiscuous|allmulticast)_(enable|disable)")
        .allowlist_function("rte_eth_(stats_get|xstats_get|xstats_get_names)")
        .allowlist_type("rte_mbuf")
        .allowlist_var("TP_.*")
        .allowlist_var("RTE_MAX_(ETHPORTS|LCORE)")
        // Packed and aligned at once, which Rust cannot say; nothing here looks inside.
        .opaque_type("rte_arp_ipv4|rte_arp_hdr|rte_l2tpv2.*|rte_gtp.*|rte_ipv4_hdr.*")
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .generate()?
        .write_to_file(out)?;
    Ok(())
}
