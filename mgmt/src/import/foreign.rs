//! Menus of RouterOS that are about something that Turnpike is not, and what to do instead.

/// By the beginning of a menu; the first that fits is taken.
const REASONS: &[(&str, &str)] = &[
    (
        "interface bridge port",
        "nothing is switched between ports here: a bridge became one interface, to be given the \
         device that carries its network",
    ),
    ("interface bridge", "nothing is switched between ports here"),
    (
        "interface wireless",
        "wireless interfaces belong to an access point",
    ),
    (
        "interface wifi",
        "wireless interfaces belong to an access point",
    ),
    (
        "interface",
        "interfaces of this kind are not made here; what uses one got an interface of its name, to \
         be given the device that carries its packets",
    ),
    (
        "ip dhcp-client",
        "addresses are written by hand: give the interface its address, and write its default \
         route",
    ),
    (
        "ipv6 dhcp-client",
        "addresses are written by hand: give the interfaces theirs, and write the default route",
    ),
    ("ip dhcp-server", "a server of the host has to do this"),
    ("ip dns", "a server of the host has to do this"),
    ("ip pool", "only servers of the host use pools"),
    ("ipv6 nd", "routers are advertised by a server of the host"),
    ("ip ipsec", "no IPsec is terminated here"),
    (
        "ip firewall logging",
        "what is logged is decided rule by rule; write `logging:` for where it goes",
    ),
    (
        "routing",
        "routing protocols belong to a daemon of the host",
    ),
    (
        "system logging",
        "where log lines go is said under `logging:`, by hand",
    ),
    ("user", "users are those of the host"),
    ("queue", "there are no queues here"),
];

/// Why nothing of `menu` can be carried over.
pub fn why(menu: &str) -> String {
    let begins = |name: &str| {
        let rest = menu.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let known = REASONS.iter().find(|(name, _)| begins(name));
    match known {
        Some((_, reason)) => format!("/{menu}: {reason}"),
        None => format!("/{menu} has no meaning here"),
    }
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn every_menu_has_a_reason() {
        assert_eq!(why("system script"), "/system script has no meaning here");
        assert!(why("interface bridge port").contains("switched"));
        assert!(why("interface pptp-server server").contains("of its name"));
        assert!(why("users").contains("no meaning"));
    }
}
