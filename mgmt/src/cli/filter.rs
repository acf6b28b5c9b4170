//! The filter of the commands that ask about connections: the same words as in the API.

use crate::filter::NAMES;

/// Which connections are meant; a value behind `!` means all others.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which connections")]
pub(super) struct FilterArgs {
    /// Opened from one of these addresses or prefixes
    #[arg(long, value_name = "PREFIXES")]
    src_address: Option<String>,
    /// Opened to one of these addresses or prefixes, before translation
    #[arg(long, value_name = "PREFIXES")]
    dst_address: Option<String>,
    /// Answered from one of these addresses or prefixes
    #[arg(long, value_name = "PREFIXES")]
    reply_src_address: Option<String>,
    /// Answered to one of these addresses or prefixes
    #[arg(long, value_name = "PREFIXES")]
    reply_dst_address: Option<String>,
    /// With one of these addresses or prefixes at any end
    #[arg(long, value_name = "PREFIXES")]
    any_address: Option<String>,
    /// Opened from one of these ports: numbers, ranges, service names
    #[arg(long, value_name = "PORTS")]
    src_port: Option<String>,
    /// Opened to one of these ports, before translation
    #[arg(long, value_name = "PORTS")]
    dst_port: Option<String>,
    /// Answered from one of these ports
    #[arg(long, value_name = "PORTS")]
    reply_src_port: Option<String>,
    /// Answered to one of these ports
    #[arg(long, value_name = "PORTS")]
    reply_dst_port: Option<String>,
    /// With one of these ports at any end
    #[arg(long, value_name = "PORTS")]
    any_port: Option<String>,
    /// Of one of these protocols: names or numbers
    #[arg(long, visible_alias = "proto", value_name = "PROTOCOLS")]
    protocol: Option<String>,
    /// Over ipv4 or ipv6
    #[arg(long)]
    family: Option<String>,
    /// New, established or related, as a rule would see the next packet
    #[arg(long, value_name = "STATES")]
    connection_state: Option<String>,
    /// In one of these states of the tracker: established, syn-sent, time-wait …
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    /// TCP in one of these states
    #[arg(long, value_name = "STATES")]
    tcp_state: Option<String>,
    /// With this mark: a number, number/mask, or no-mark
    #[arg(long, value_name = "MARK")]
    connection_mark: Option<String>,
    /// Translated: srcnat, dstnat
    #[arg(long, value_name = "SIDES")]
    connection_nat_state: Option<String>,
    /// With these flags, letters of SACDFsdE; without those behind a `!`
    #[arg(long)]
    flags: Option<String>,
    /// With one of these helpers: ftp, sip …
    #[arg(long, value_name = "HELPERS")]
    helper: Option<String>,
    /// That live for less than this without another packet
    #[arg(long, value_name = "DURATION")]
    timeout_less: Option<String>,
    /// That live for more than this without another packet
    #[arg(long, value_name = "DURATION")]
    timeout_greater: Option<String>,
    /// Of one of these workers
    #[arg(long, value_name = "NUMBERS")]
    worker: Option<String>,
}

impl FilterArgs {
    /// The filter as the names and values of a query.
    pub(super) fn query(&self) -> Vec<(&'static str, Option<String>)> {
        let values = [
            &self.src_address,
            &self.dst_address,
            &self.reply_src_address,
            &self.reply_dst_address,
            &self.any_address,
            &self.src_port,
            &self.dst_port,
            &self.reply_src_port,
            &self.reply_dst_port,
            &self.any_port,
            &self.protocol,
            &self.family,
            &self.connection_state,
            &self.state,
            &self.tcp_state,
            &self.connection_mark,
            &self.connection_nat_state,
            &self.flags,
            &self.helper,
            &self.timeout_less,
            &self.timeout_greater,
            &self.worker,
        ];
        let values = values.map(Clone::clone);
        NAMES.into_iter().zip(values).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        filter: FilterArgs,
    }

    #[test]
    fn every_filter_is_an_option_of_the_same_name_and_arrives_as_that() {
        for name in NAMES {
            let words = ["turnpike", &format!("--{name}"), "value of it"];
            let command = Command::try_parse_from(words).unwrap();
            let given: Vec<_> = command
                .filter
                .query()
                .into_iter()
                .filter(|(_, value)| value.is_some())
                .collect();
            assert_eq!(given, [(name, Some("value of it".to_owned()))]);
        }
    }
}
