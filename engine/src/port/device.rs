//! Attaching a device: checks that give a better answer than DPDK's, then DPDK's own.

use std::path::Path;

use super::{PortError, c_string};
use crate::eal::{errno_text, take_log};

/// Whether a device string names a device on the PCI bus, as in `0000:01:00.0` or `01:00.0`.
pub fn is_pci(device: &str) -> bool {
    let address = name_of(device);
    let mut parts = address.rsplitn(3, ':');
    let Some((slot, function)) = parts.next().and_then(|p| p.split_once('.')) else {
        return false;
    };
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    let bus = parts.next().is_some_and(|bus| hex(bus, 2));
    let domain = parts.next().is_none_or(|domain| hex(domain, 4));
    hex(slot, 2) && hex(function, 1) && bus && domain
}

/// Attaches a device and returns DPDK's number for its port.
pub(super) fn attach(device: &str) -> Result<u16, PortError> {
    look_first(device)?;
    // Probing a device twice leaves DPDK 22.11 with a freed device in its list, so look before.
    match (port_number(device)?, is_pci(device)) {
        // A PCI device was attached when EAL started.
        (Some(number), true) => return Ok(number),
        (Some(_), false) => {
            return Err(PortError::Taken {
                device: device.to_owned(),
            });
        }
        (None, true | false) => {}
    }
    let arguments = c_string(device)?;
    // SAFETY: EAL runs, its control lock is held, and the string is copied.
    let code = unsafe { dpdk_sys::rte_dev_probe(arguments.as_ptr()) };
    if code != 0 {
        return Err(PortError::Attach {
            device: device.to_owned(),
            reason: errno_text(code),
            said: take_log(),
        });
    }
    port_number(device)?.ok_or_else(|| PortError::NoPort {
        device: device.to_owned(),
    })
}

/// DPDK's number for the port of a device that is attached.
fn port_number(device: &str) -> Result<Option<u16>, PortError> {
    let name = c_string(&full_name(device))?;
    let mut number = 0;
    // SAFETY: the name is a string and the pointer is to a local.
    let code = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut number) };
    Ok((code == 0).then_some(number))
}

/// What can be said about a device without asking DPDK.
fn look_first(device: &str) -> Result<(), PortError> {
    let name = name_of(device);
    if is_pci(device) {
        let path = Path::new("/sys/bus/pci/devices").join(full_name(device));
        if !path.exists() {
            return Err(PortError::PciMissing {
                device: device.to_owned(),
            });
        }
        return Ok(());
    }
    if !name.starts_with("net_") {
        return Err(PortError::Syntax {
            device: device.to_owned(),
        });
    }
    // `net_tap` makes the interface that it names.
    let makes_interface = name.starts_with("net_tap");
    for (key, value) in arguments(device) {
        match key {
            "iface" if !makes_interface && !interface_exists(value)? => {
                return Err(PortError::InterfaceMissing {
                    device: device.to_owned(),
                    interface: value.to_owned(),
                });
            }
            "rx_pcap" if !Path::new(value).is_file() => {
                return Err(PortError::FileMissing {
                    device: device.to_owned(),
                    path: value.to_owned(),
                });
            }
            _not_checked => {}
        }
    }
    Ok(())
}

fn interface_exists(name: &str) -> Result<bool, PortError> {
    let name = c_string(name)?;
    // SAFETY: the name is a string.
    Ok(unsafe { dpdk_sys::tp_interface_exists(name.as_ptr()) } != 0)
}

fn name_of(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// The device's name as DPDK has it: a PCI address always with its domain.
fn full_name(device: &str) -> String {
    let name = name_of(device);
    if is_pci(device) && name.matches(':').count() == 1 {
        return format!("0000:{name}");
    }
    name.to_owned()
}

fn arguments(device: &str) -> impl Iterator<Item = (&str, &str)> {
    device
        .split(',')
        .skip(1)
        .filter_map(|word| word.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_software_devices() {
        for pci in ["0000:01:00.0", "01:00.1", "0000:af:1f.7,mprq_en=1"] {
            assert!(is_pci(pci), "{pci}");
        }
        for other in [
            "net_null0",
            "net_pcap0,rx_pcap=a:b.0",
            "01:00",
            "1:00.0",
            "x1:00.0",
            "",
        ] {
            assert!(!is_pci(other), "{other}");
        }
    }

    #[test]
    fn a_pci_address_is_completed_with_its_domain() {
        assert_eq!(full_name("01:00.1,x=y"), "0000:01:00.1");
        assert_eq!(full_name("0001:01:00.1"), "0001:01:00.1");
        assert_eq!(full_name("net_null0,size=64"), "net_null0");
    }

    #[test]
    fn a_missing_interface_is_named_before_dpdk_is_asked() {
        let error = look_first("net_af_packet0,iface=tp-none").unwrap_err();
        assert_eq!(
            error.to_string(),
            "device `net_af_packet0,iface=tp-none`: interface tp-none does not exist; create it \
             or correct `device`"
        );
        assert!(look_first("net_af_packet0,iface=lo").is_ok());
        assert!(look_first("net_tap0,iface=tp-none").is_ok());
    }

    #[test]
    fn a_missing_capture_or_pci_device_is_named_before_dpdk_is_asked() {
        let error = look_first("net_pcap0,rx_pcap=/nowhere/a.pcap").unwrap_err();
        assert!(error.to_string().contains("/nowhere/a.pcap does not exist"));
        let error = look_first("ffff:ff:1f.7").unwrap_err();
        assert!(error.to_string().contains("no such PCI device"));
    }

    #[test]
    fn a_string_that_names_no_device_is_refused() {
        let error = look_first("eth0").unwrap_err();
        assert!(matches!(error, PortError::Syntax { .. }));
    }
}
