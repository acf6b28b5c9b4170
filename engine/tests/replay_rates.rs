//! Rules that count and tell the time, on the clock of a capture.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails like the test itself"
)]

mod replays;

use std::time::Duration;

use replays::{Packet, files_of, is, policy, replay, rule, udp};
use turnpike_pipeline::policy::{
    Action, Hours, Matchers, PacketAsk, Policy, RateAsk, RateLimit, RateUnit,
};
use turnpike_pipeline::wall::Zone;

/// A packet each tenth of a second, for three seconds.
fn packets() -> Vec<Packet> {
    let frame = |n: u64| {
        let question = udp("192.168.88.10:5000", "198.51.100.9:53");
        (n * 100_000, question.frame().unwrap())
    };
    (0..30).map(frame).collect()
}

/// Nothing passes but what this is asked of.
fn only(ask: RateAsk) -> Policy {
    let asking = Matchers {
        packet: vec![is(PacketAsk::Rate(ask))],
        ..Matchers::default()
    };
    let mut policy = policy();
    policy.filter.chains[1].rules = vec![
        rule(1, asking, Action::Accept, "asked"),
        rule(2, Matchers::default(), Action::Drop, "others"),
    ];
    policy
}

/// Which of the packets pass.
fn passed(policy: &Policy, seed: u64) -> Vec<usize> {
    let replayed = replay(&[("lan", &packets())], |config| {
        config.policy = policy.clone();
        config.seed = seed;
    });
    let verdicts = replayed.column("verdict").into_iter().enumerate();
    let accepted = verdicts.filter(|(_, verdict)| verdict == "accept");
    accepted.map(|(n, _)| n).collect()
}

#[test]
fn a_limit_is_refilled_by_the_stamps_of_the_capture() {
    let limit = RateAsk::Limit(RateLimit {
        rate: 2,
        per: Duration::from_secs(1),
        burst: 3,
        unit: RateUnit::Packet,
    });
    // Three at once, then one in each half second, from the first one on.
    assert_eq!(passed(&only(limit), 1), [0, 1, 2, 5, 10, 15, 20, 25]);
}

#[test]
fn the_time_is_that_of_the_capture_in_the_configured_zone() {
    // The first packet is of 22:13:20 UTC on a Tuesday, which is Wednesday where it is two hours
    // later.
    let hours = |first, days| Hours {
        first,
        last: first + 1,
        days,
    };
    let mut policy = only(RateAsk::Time(hours(80_001, 0b100)));
    assert_eq!(passed(&policy, 1), (10..30).collect::<Vec<_>>());
    policy.zone = Zone {
        changes: [(0, 7_200)].into(),
    };
    assert!(passed(&policy, 1).is_empty());
    let mut east = only(RateAsk::Time(hours(802, 0b1000)));
    east.zone = policy.zone;
    assert_eq!(passed(&east, 1), (20..30).collect::<Vec<_>>());
}

#[test]
fn chance_is_the_same_for_the_same_seed() {
    let policy = only(RateAsk::Random(50));
    let [first, again, other] = [1, 1, 2].map(|seed| passed(&policy, seed));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let files = [1, 1].map(|seed| {
        let replayed = replay(&[("lan", &packets())], |config| {
            config.policy = policy.clone();
            config.seed = seed;
        });
        let mut files = files_of(&replayed.out_dir());
        // It names the capture, which is another file each time.
        files.remove("counters.json");
        files
    });
    assert!(files[0] == files[1]);
}
