//! The protocol helpers' names: what a connection's helper number stands for.
//!
//! RouterOS's `connection-type` and `service-ports` use the same words.

use turnpike_conntrack::ids::HelperId;

/// Every helper, in the order of their numbers, which begin with one.
pub const HELPER_NAMES: [&str; 7] = ["ftp", "h323", "irc", "pptp", "sip", "tftp", "rtsp"];

/// A helper's name; `None` for a number that no helper has.
pub fn helper_name(helper: HelperId) -> Option<&'static str> {
    let at = usize::from(helper.number()).checked_sub(1)?;
    HELPER_NAMES.get(at).copied()
}

/// The helper with this name.
pub fn helper_named(name: &str) -> Option<HelperId> {
    let at = HELPER_NAMES.iter().position(|known| *known == name)?;
    HelperId::new(u8::try_from(at + 1).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_number_and_each_number_its_name() {
        for name in HELPER_NAMES {
            assert_eq!(helper_named(name).and_then(helper_name), Some(name));
        }
        assert_eq!(helper_named("gopher"), None);
        assert_eq!(HelperId::new(200).and_then(helper_name), None);
    }
}
