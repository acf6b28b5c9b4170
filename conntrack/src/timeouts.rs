//! Idle timeouts by protocol and state, under RouterOS's names and with its defaults; where it has
//! none, with Linux's.

use std::time::Duration;

/// The longest timeout a connection can have; longer settings are refused by configuration.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 86_400);

/// `syn-flood-watermark` where nothing is written: a quarter of the table.
pub const SYN_FLOOD_WATERMARK: u8 = 25;

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
    /// `udplite-timeout`.
    pub udplite: Duration,
    /// `udplite-stream-timeout`.
    pub udplite_stream: Duration,
    /// `sctp-closed-timeout`.
    pub sctp_closed: Duration,
    /// `sctp-cookie-wait-timeout`.
    pub sctp_cookie_wait: Duration,
    /// `sctp-cookie-echoed-timeout`.
    pub sctp_cookie_echoed: Duration,
    /// `sctp-established-timeout`.
    pub sctp_established: Duration,
    /// `sctp-shutdown-sent-timeout`.
    pub sctp_shutdown_sent: Duration,
    /// `sctp-shutdown-recd-timeout`.
    pub sctp_shutdown_recd: Duration,
    /// `sctp-shutdown-ack-sent-timeout`.
    pub sctp_shutdown_ack_sent: Duration,
    /// `sctp-heartbeat-sent-timeout`.
    pub sctp_heartbeat_sent: Duration,
    /// `dccp-request-timeout`.
    pub dccp_request: Duration,
    /// `dccp-respond-timeout`.
    pub dccp_respond: Duration,
    /// `dccp-partopen-timeout`.
    pub dccp_partopen: Duration,
    /// `dccp-open-timeout`.
    pub dccp_open: Duration,
    /// `dccp-closereq-timeout`.
    pub dccp_closereq: Duration,
    /// `dccp-closing-timeout`.
    pub dccp_closing: Duration,
    /// `dccp-timewait-timeout`.
    pub dccp_timewait: Duration,
    /// `gre-timeout`.
    pub gre: Duration,
    /// `gre-stream-timeout`.
    pub gre_stream: Duration,
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
            udplite: Duration::from_secs(30),
            udplite_stream: Duration::from_secs(180),
            sctp_closed: Duration::from_secs(10),
            sctp_cookie_wait: Duration::from_secs(3),
            sctp_cookie_echoed: Duration::from_secs(3),
            sctp_established: Duration::from_secs(210),
            sctp_shutdown_sent: Duration::from_secs(3),
            sctp_shutdown_recd: Duration::from_secs(3),
            sctp_shutdown_ack_sent: Duration::from_secs(3),
            sctp_heartbeat_sent: Duration::from_secs(30),
            dccp_request: Duration::from_secs(240),
            dccp_respond: Duration::from_secs(480),
            dccp_partopen: Duration::from_secs(480),
            dccp_open: Duration::from_secs(43_200),
            dccp_closereq: Duration::from_secs(64),
            dccp_closing: Duration::from_secs(64),
            dccp_timewait: Duration::from_secs(240),
            gre: Duration::from_secs(30),
            gre_stream: Duration::from_secs(180),
            icmp: Duration::from_secs(10),
            generic: Duration::from_secs(600),
        }
    }
}

/// Whether an option is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Switch {
    /// It is on.
    On,
    /// It is off.
    #[default]
    Off,
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// What configuration says about tracking, as the trackers read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackingConfig {
    /// How long connections may stay idle.
    pub timeouts: Timeouts,
    /// `loose-tcp-tracking`: a segment without SYN may open a connection.
    pub loose_tcp: Switch,
    /// `liberal-tcp-tracking`: only resets outside the window are invalid, other segments pass.
    pub liberal_tcp: Switch,
    /// `syn-flood-watermark`: how much of a table, in percent, may be TCP connections whose
    /// handshake is not finished before first SYNs stop to open more.
    pub syn_flood_watermark: u8,
}

impl Default for TrackingConfig {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            loose_tcp: Switch::On,
            liberal_tcp: Switch::Off,
            syn_flood_watermark: SYN_FLOOD_WATERMARK,
        }
    }
}

/// A timeout in the milliseconds that entries keep, at most [`TIMEOUT_MAX`].
pub(crate) fn millis(timeout: Duration) -> u32 {
    let clamped = timeout.min(TIMEOUT_MAX);
    u32::try_from(clamped.as_secs() * 1_000 + u64::from(clamped.subsec_millis()))
        .unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_timeout_stays_in_the_half_circle_of_wrapping_milliseconds() {
        assert_eq!(millis(Duration::MAX), 24 * 86_400_000);
        assert!(i32::try_from(millis(Duration::MAX)).is_ok());
        assert_eq!(millis(Duration::from_millis(1_250)), 1_250);
    }
}
