//! Why a packet was dropped: every end that is not delivery has a name and a counter.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $label:literal,)+) => {
        /// Why a packet went no further.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason as metrics, verdict files and the command line name it.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// One sentence for people: what happened.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame ends inside its Ethernet header or tags.
    EthernetTruncated = "ethernet-truncated",
    /// The frame is addressed to another station.
    NotForUs = "not-for-us",
    /// The VLAN tag belongs to no configured interface.
    VlanUnknown = "vlan-unknown",
    /// The frame carries neither IPv4, IPv6 nor ARP.
    EthertypeUnknown = "ethertype-unknown",
    /// An ARP packet that is not a whole Ethernet/IPv4 one.
    ArpMalformed = "arp-malformed",
    /// The frame ends inside its IP header.
    IpTruncated = "ip-truncated",
    /// The version field contradicts the Ethernet type.
    IpVersion = "ip-version",
    /// The IPv4 header length is below 20 bytes or beyond the packet.
    IpHeaderLength = "ip-header-length",
    /// The IP total length is shorter than its header or longer than the frame.
    IpTotalLength = "ip-total-length",
    /// The IPv4 header checksum is wrong.
    IpChecksum = "ip-checksum",
    /// The IPv4 options do not parse.
    IpOptions = "ip-options",
    /// The IPv6 extension headers do not parse, or there are too many.
    Ipv6Extension = "ipv6-extension",
    /// The packet ends inside its layer-4 header, or its lengths contradict each other.
    L4Truncated = "l4-truncated",
    /// The source address cannot be one: multicast, broadcast, loopback or unspecified.
    MartianSource = "martian-source",
    /// The destination address cannot be one: loopback or unspecified.
    MartianDestination = "martian-destination",
    /// A fragment that contradicts another of its packet: overlap, or beyond the largest packet.
    FragmentInvalid = "fragment-invalid",
    /// No room to keep another fragment.
    FragmentMemory = "fragment-memory",
    /// The rest of the packet did not arrive in time.
    FragmentTimeout = "fragment-timeout",
    /// A raw rule dropped it.
    RawRule = "raw-rule",
    /// A filter rule dropped it.
    FilterRule = "filter-rule",
    /// A filter rule rejected it; the sender was told, or the limit for telling was reached.
    FilterReject = "filter-reject",
    /// No route to the destination.
    NoRoute = "no-route",
    /// The time to live, or the hop limit, ran out here.
    TtlExceeded = "ttl-exceeded",
    /// Larger than the next link takes, and not to be fragmented.
    MtuExceeded = "mtu-exceeded",
    /// Multicast or broadcast is not forwarded.
    NotUnicast = "not-unicast",
    /// Accepted for the gateway itself, where nothing listens.
    NoListener = "no-listener",
    /// The connection table is full of live connections.
    TableFull = "table-full",
    /// The index of the connection table has no room for the tuple.
    IndexFull = "index-full",
    /// Too many handshakes are unfinished, and this SYN does not repeat one that was held back.
    SynFlood = "syn-flood",
    /// No room to count the connection for a rule with a connection limit.
    ConnectionLimitFull = "connection-limit-full",
    /// The steering map is full.
    SteeringFull = "steering-full",
    /// A connection with the same translated tuple exists.
    NatClash = "nat-clash",
    /// What had announced the connection went away while its first packet was judged.
    ExpectationGone = "expectation-gone",
    /// No free port for source translation.
    NatPortsExhausted = "nat-ports-exhausted",
    /// The translation needs an address that the interface does not have.
    NatNoAddress = "nat-no-address",
    /// The packet cannot carry the translation: a malformed quoted packet, or a redirect.
    NatUntranslatable = "nat-untranslatable",
    /// A helper refused what the packet says: no room for what it announces, or it is malformed.
    HelperRefused = "helper-refused",
    /// Too much of its control connection waits to be acknowledged, or for what is missing.
    HelperBacklog = "helper-backlog",
    /// Its control connection ended while the packet waited to be read.
    HelperEnded = "helper-ended",
    /// No room to hold the packet while its neighbour is resolved.
    NeighbourQueueFull = "neighbour-queue-full",
    /// The neighbour did not answer.
    NeighbourUnreachable = "neighbour-unreachable",
    /// The table of neighbours is full.
    NeighbourTableFull = "neighbour-table-full",
    /// The ring to the worker that owns the connection is full.
    HandoverRingFull = "handover-ring-full",
    /// The ring to the slow-path core is full.
    SlowPathRingFull = "slow-path-ring-full",
    /// The ring from the slow-path core back to a worker is full.
    ReturnRingFull = "return-ring-full",
    /// The device's transmit queue is full.
    TxQueueFull = "tx-queue-full",
    /// The interface the packet should leave by is down.
    InterfaceDown = "interface-down",
    /// No buffer for a packet that the gateway had to make.
    NoBuffer = "no-buffer",
    /// The gateway is stopping.
    Stopping = "stopping",
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_unique_and_fit_for_a_metric() {
        let labels: BTreeSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        for label in labels {
            assert!(
                label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn numbers_follow_the_order_of_the_list() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }
}
