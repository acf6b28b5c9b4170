//! What rules remember of the packets that they were asked for.
//!
//! All workers share it, and successive programs do: a rule whose canonical text is unchanged goes
//! on where it was. All memory is taken when a program is compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use turnpike_conntrack::entry::NONE;

use super::bucket::{Bucket, Shape};
use super::destinations::{Destinations, Keeping};
use super::scanners::Scanners;
use crate::ids::RuleId;
use crate::policy::{Nth, PacketAsk, RateAsk};
use crate::rules::compiled::{CompiledRule, Rules};
use crate::rules::lasting::Lasting;

/// What the rules of one program remember.
#[derive(Debug, Default)]
pub struct RuleStates {
    /// By rule; empty if no rule remembers anything.
    rules: Box<[Option<RuleState>]>,
    destinations: Option<Arc<Destinations>>,
    scanners: Option<Arc<Scanners>>,
    /// Whether a rule asks how fast connections are.
    needs_meters: bool,
}

impl RuleStates {
    /// Room for what `rules` remember, of which `carry` says what each was in the program before
    /// and `lasting` which number each keeps.
    pub fn build(
        rules: &Rules,
        (carry, lasting): (&[Option<RuleId>], &Lasting),
        previous: Option<&Self>,
    ) -> Self {
        let all = || rules.iter().flat_map(|(_, rule)| rates(rule));
        let needs_meters = all().any(|ask| matches!(ask, RateAsk::ConnectionRate(_)));
        let keeps = |rule: &CompiledRule| rates(rule).any(RateAsk::keeps_count);
        if !rules.iter().any(|(_, rule)| keeps(rule)) {
            return Self {
                needs_meters,
                ..Self::default()
            };
        }
        let limits = all().any(|ask| matches!(ask, RateAsk::DestinationLimit(_)));
        let scans = all().any(|ask| matches!(ask, RateAsk::Scan(_)));
        let states = rules.iter().zip(carry).map(|((id, rule), from)| {
            let before = from.and_then(|from| previous?.rule(from));
            let number = lasting.number(id).unwrap_or(NONE);
            keeps(rule).then(|| RuleState::build(rule, number, before))
        });
        Self {
            rules: states.collect(),
            destinations: limits.then(|| kept(previous.and_then(|p| p.destinations.as_ref()))),
            scanners: scans.then(|| kept(previous.and_then(|p| p.scanners.as_ref()))),
            needs_meters,
        }
    }

    /// What the rules remember now, in memory that nobody else writes to.
    #[must_use]
    pub fn apart(&self) -> Self {
        let rules = self.rules.iter();
        Self {
            rules: rules.map(|r| r.as_ref().map(RuleState::apart)).collect(),
            destinations: self.destinations.as_ref().map(|d| Arc::new(d.apart())),
            scanners: self.scanners.as_ref().map(|s| Arc::new(s.apart())),
            needs_meters: self.needs_meters,
        }
    }

    /// Whether a rule asks how fast connections are.
    pub const fn needs_meters(&self) -> bool {
        self.needs_meters
    }

    /// The buckets of a rule's `dst-limit`, how they are kept, and the rule's number.
    pub fn destinations(&self, rule: RuleId) -> Option<(&Destinations, &Keeping, u32)> {
        let state = self.rule(rule)?;
        let keeping = state.keeping.as_ref()?;
        Some((self.destinations.as_ref()?, keeping, state.number))
    }

    /// The sources that rules with `psd` remember, and this rule's number.
    pub fn scanners(&self, rule: RuleId) -> Option<(&Scanners, u32)> {
        Some((self.scanners.as_ref()?, self.rule(rule)?.number))
    }

    /// What one rule remembers.
    pub fn rule(&self, rule: RuleId) -> Option<&RuleState> {
        self.rules.get(usize::try_from(rule.0).ok()?)?.as_ref()
    }
}

/// What there was before, or a new one.
fn kept<T: Default>(before: Option<&Arc<T>>) -> Arc<T> {
    before.map(Arc::clone).unwrap_or_default()
}

/// Every question of a rule about the traffic so far.
fn rates(rule: &CompiledRule) -> impl Iterator<Item = &RateAsk> {
    rule.packet_asks()
        .iter()
        .filter_map(|asked| match &asked.value {
            PacketAsk::Rate(ask) => Some(ask),
            PacketAsk::Size(..)
            | PacketAsk::Ttl(..)
            | PacketAsk::Header(_)
            | PacketAsk::Payload(_) => None,
        })
}

/// What one rule remembers.
#[derive(Debug, Default)]
pub struct RuleState {
    /// The rule's lasting number, by which shared tables know it.
    number: u32,
    /// Its `limit`.
    limit: Option<(Shape, Arc<CachePadded<Bucket>>)>,
    /// How many packets its `nth` was asked for.
    asked: Option<Arc<CachePadded<AtomicU64>>>,
    /// How the buckets of its `dst-limit` are kept.
    keeping: Option<Keeping>,
}

impl RuleState {
    fn build(rule: &CompiledRule, number: u32, before: Option<&Self>) -> Self {
        let mut state = Self {
            number,
            ..Self::default()
        };
        for ask in rates(rule) {
            match ask {
                RateAsk::Limit(limit) => {
                    let shape = Shape::new(limit);
                    let kept = before
                        .and_then(|before| before.limit.as_ref())
                        .filter(|(before, _)| *before == shape);
                    let bucket = kept.map(|(_, bucket)| Arc::clone(bucket));
                    state.limit = Some((shape, bucket.unwrap_or_default()));
                }
                RateAsk::Nth(_) => {
                    let kept = before.and_then(|before| before.asked.as_ref());
                    state.asked = Some(self::kept(kept));
                }
                RateAsk::DestinationLimit(limit) => {
                    state.keeping = Some(Keeping {
                        shape: Shape::new(&limit.limit),
                        expire: limit.expire,
                    });
                }
                RateAsk::Time(_)
                | RateAsk::ConnectionBytes(_)
                | RateAsk::ConnectionRate(_)
                | RateAsk::Random(_)
                | RateAsk::Scan(_) => {}
            }
        }
        state
    }

    fn apart(&self) -> Self {
        let limit = self.limit.as_ref();
        let asked = self
            .asked
            .as_ref()
            .map(|asked| asked.load(Ordering::Relaxed));
        Self {
            number: self.number,
            limit: limit.map(|(shape, bucket)| (*shape, Arc::new(bucket.apart().into()))),
            asked: asked.map(|asked| Arc::new(AtomicU64::new(asked).into())),
            keeping: self.keeping,
        }
    }

    /// The bucket of its `limit`, and how that is filled.
    pub fn limit(&self) -> Option<(&Shape, &Bucket)> {
        self.limit
            .as_ref()
            .map(|(shape, bucket)| (shape, &***bucket))
    }

    /// Counts a packet that its `nth` is asked for: whether it is the one.
    pub fn count(&self, nth: Nth) -> Option<bool> {
        let before = self.asked.as_ref()?.fetch_add(1, Ordering::Relaxed);
        let place = before.checked_rem(u64::from(nth.every))?;
        Some(place + 1 == u64::from(nth.packet))
    }
}
