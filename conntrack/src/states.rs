//! The names of connection states: the one list that management, logs and replay read.

use crate::dccp_table::DccpState;
use crate::ids::ConnState;
use crate::sctp_table::SctpState;
use crate::tcp_table::TcpState;
use crate::tuple::Proto;

/// Every name that [`Connection::state_word`](crate::table::Connection::state_word) can give, each
/// once: of protocols whose tracker has no states, whether an answer has been seen; then the
/// states of TCP, SCTP and DCCP.
pub const STATE_NAMES: [&str; 24] = [
    ConnState::New.name(),
    ConnState::Established.name(),
    TcpState::SynSent.name(),
    TcpState::SynSent2.name(),
    TcpState::SynReceived.name(),
    TcpState::FinWait.name(),
    TcpState::CloseWait.name(),
    TcpState::LastAck.name(),
    TcpState::TimeWait.name(),
    TcpState::Close.name(),
    SctpState::Closed.name(),
    SctpState::CookieWait.name(),
    SctpState::CookieEchoed.name(),
    SctpState::ShutdownSent.name(),
    SctpState::ShutdownRecd.name(),
    SctpState::ShutdownAckSent.name(),
    SctpState::HeartbeatSent.name(),
    DccpState::Request.name(),
    DccpState::Respond.name(),
    DccpState::Partopen.name(),
    DccpState::Open.name(),
    DccpState::Closereq.name(),
    DccpState::Closing.name(),
    DccpState::Timewait.name(),
];

/// The names of the states of TCP.
pub const TCP_STATE_NAMES: [&str; 9] = [
    TcpState::SynSent.name(),
    TcpState::SynSent2.name(),
    TcpState::SynReceived.name(),
    TcpState::Established.name(),
    TcpState::FinWait.name(),
    TcpState::CloseWait.name(),
    TcpState::LastAck.name(),
    TcpState::TimeWait.name(),
    TcpState::Close.name(),
];

/// The name of the state that the tracker of `proto` keeps as `number`; `None` if it has no states.
pub(crate) fn name(proto: Proto, number: u8) -> Option<&'static str> {
    match proto {
        Proto::TCP => Some(TcpState::from_number(number).name()),
        Proto::SCTP => Some(SctpState::from_number(number).name()),
        Proto::DCCP => Some(DccpState::from_number(number).name()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_state_of_every_tracker_is_listed_once_and_nothing_else() {
        let listed: BTreeSet<_> = STATE_NAMES.into_iter().collect();
        assert_eq!(listed.len(), STATE_NAMES.len());
        let tcp = TcpState::ALL.map(TcpState::name);
        assert_eq!(tcp, TCP_STATE_NAMES);
        let sctp = SctpState::ALL.map(SctpState::name);
        let dccp = DccpState::ALL.map(DccpState::name);
        let there = tcp.into_iter().chain(sctp).chain(dccp).chain(["new"]);
        assert_eq!(there.collect::<BTreeSet<_>>(), listed);
    }
}
