//! Identifiers of the pipeline's own things.

/// A port of the engine: one device with its queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u8);

/// The most ports one gateway can have.
pub const PORTS_MAX: usize = 32;

/// A logical interface: a port, or a VLAN on one; its index in `Policy::interfaces`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfaceId(pub u16);

/// The most logical interfaces one gateway can have.
pub const INTERFACES_MAX: usize = 1024;

/// A named list of interfaces; its index in `Policy::interface_lists`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceListId(pub u16);

/// A named list of addresses; its index in `Policy::address_lists`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(pub u16);

/// A name of a mark; its index in `Policy::marks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkId(pub u16);

/// The most names of marks one configuration can have.
pub const MARKS_MAX: usize = 4_096;

/// A routing table: the main one, or by its index, from one, in `Routing::tables` of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RoutingTableId(pub u16);

impl RoutingTableId {
    /// The table that is asked if nothing else is said.
    pub const MAIN: Self = Self(0);
}

/// The most routing tables beside the main one.
pub const ROUTING_TABLES_MAX: usize = 256;

/// The most routing rules one configuration can have.
pub const ROUTING_RULES_MAX: usize = 1_024;
/// A layer-7 protocol: an index into the policy's protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer7Id(pub u16);

/// A rule; its index in `Program::rules`, in configuration order over all tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// The most rules one configuration can have.
pub const RULES_MAX: usize = 65_536;

/// A chain; its index in its table's chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u16);

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that every station listens to.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
