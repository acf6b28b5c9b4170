//! Idle timeouts by protocol and state, under RouterOS's names and with its defaults.

use std::time::Duration;

/// The longest timeout a connection can have; longer settings are refused by configuration.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 86_400);

/// How long a connection may stay idle before its entry is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// `tcp-syn-sent-timeout`.
    pub tcp_syn_sent: Duration,
    /// `tcp-syn-received-timeout`.
    pub tcp_syn_received: Duration,
    /// `tcp-established-timeout`.
    pub tcp_established: Duration,
    /// `tcp-fin-wait-timeout`.
    pub tcp_fin_wait: Duration,
    /// `tcp-close-wait-timeout`.
    pub tcp_close_wait: Duration,
    /// `tcp-last-ack-timeout`.
    pub tcp_last_ack: Duration,
    /// `tcp-time-wait-timeout`.
    pub tcp_time_wait: Duration,
    /// `tcp-close-timeout`.
    pub tcp_close: Duration,
    /// `tcp-max-retrans-timeout`.
    pub tcp_max_retrans: Duration,
    /// `tcp-unacked-timeout`.
    pub tcp_unacked: Duration,
    /// `udp-timeout`.
    pub udp: Duration,
    /// `udp-stream-timeout`.
    pub udp_stream: Duration,
    /// `icmp-timeout`.
    pub icmp: Duration,
    /// `generic-timeout`.
    pub generic: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_syn_sent: Duration::from_secs(5),
            tcp_syn_received: Duration::from_secs(5),
            tcp_established: Duration::from_secs(86_400),
            tcp_fin_wait: Duration::from_secs(10),
            tcp_close_wait: Duration::from_secs(10),
            tcp_last_ack: Duration::from_secs(10),
            tcp_time_wait: Duration::from_secs(10),
            tcp_close: Duration::from_secs(10),
            tcp_max_retrans: Duration::from_secs(300),
            tcp_unacked: Duration::from_secs(300),
            udp: Duration::from_secs(10),
            udp_stream: Duration::from_secs(180),
            icmp: Duration::from_secs(10),
            generic: Duration::from_secs(600),
        }
    }
}
