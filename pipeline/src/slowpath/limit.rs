//! Rate limits on what the gateway says of its own accord.
//!
//! ICMP errors and resets answer packets that anybody can send, so they are bounded twice: over
//! all, and per address answered (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 f).

use std::net::IpAddr;

use turnpike_conntrack::time::Tick;

/// The most answers in one second, over all.
pub const ANSWERS_PER_SECOND_MAX: u32 = 1_000;

/// The most answers in one second to the addresses that share a bucket.
pub const ANSWERS_PER_SOURCE_MAX: u32 = 50;

/// How many buckets the answered addresses are spread over.
const BUCKETS: usize = 1_024;

/// A token bucket holding one second's worth of tokens.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    micro_tokens: u64,
    filled_at: Tick,
}

impl Bucket {
    fn full(rate: u32) -> Self {
        Self {
            micro_tokens: u64::from(rate) * 1_000_000,
            filled_at: Tick::default(),
        }
    }

    fn refill(&mut self, rate: u32, now: Tick) {
        let rate = u64::from(rate);
        let elapsed = now.as_micros().saturating_sub(self.filled_at.as_micros());
        let gained = elapsed.min(1_000_000) * rate;
        self.micro_tokens = (self.micro_tokens + gained).min(rate * 1_000_000);
        self.filled_at = now;
    }

    fn has_one(&self) -> bool {
        self.micro_tokens >= 1_000_000
    }

    fn spend(&mut self) {
        self.micro_tokens = self.micro_tokens.saturating_sub(1_000_000);
    }
}

/// Both limits.
#[derive(Debug)]
pub struct AnswerLimit {
    overall: Bucket,
    by_source: Box<[Bucket]>,
    seed: u64,
}

impl AnswerLimit {
    /// Full buckets; `seed` decides which addresses share one.
    pub fn new(seed: u64) -> Self {
        Self {
            overall: Bucket::full(ANSWERS_PER_SECOND_MAX),
            by_source: vec![Bucket::full(ANSWERS_PER_SOURCE_MAX); BUCKETS].into_boxed_slice(),
            seed,
        }
    }

    /// Whether `source` may be answered at `now`; an answer that may be given is spent.
    pub fn allows(&mut self, source: IpAddr, now: Tick) -> bool {
        let bucket = self.bucket_of(source);
        let Some(own) = self.by_source.get_mut(bucket) else {
            return false;
        };
        own.refill(ANSWERS_PER_SOURCE_MAX, now);
        self.overall.refill(ANSWERS_PER_SECOND_MAX, now);
        if !own.has_one() || !self.overall.has_one() {
            return false;
        }
        own.spend();
        self.overall.spend();
        true
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a bucket number is below 1,024"
    )]
    fn bucket_of(&self, source: IpAddr) -> usize {
        let bits = match source {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let folded = (bits >> 64) as u64 ^ bits as u64 ^ self.seed;
        let mixed = u128::from(folded) * 0x9e37_79b9_7f4a_7c15;
        ((mixed >> 64) as u64 ^ mixed as u64) as usize % BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn one_source_is_answered_up_to_its_share_and_again_after_a_while() {
        let mut limit = AnswerLimit::new(1);
        let now = Tick::from_secs(5);
        let answered = (0..200).filter(|_| limit.allows(source(7), now)).count();
        assert_eq!(answered, 50);
        assert!(limit.allows(source(7), Tick::from_millis(5_020)));
        assert!(!limit.allows(source(7), Tick::from_millis(5_020)));
    }

    #[test]
    fn a_flood_of_sources_is_answered_up_to_the_overall_rate() {
        let mut limit = AnswerLimit::new(1);
        let now = Tick::from_secs(5);
        let answered = (0..100_000)
            .filter(|n| limit.allows(source(*n), now))
            .count();
        assert_eq!(answered, 1_000);
    }
}
