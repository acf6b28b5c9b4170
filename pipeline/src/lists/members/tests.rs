use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const KEY: HashKey = HashKey([
    0x0123_4567_89ab_cdef,
    0x1032_5476_98ba_dcfe,
    0x5555_aaaa_3333_cccc,
    0x0f1e_2d3c_4b5a_6978,
]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Tick {
    Tick::from_secs(seconds)
}

fn of(list: u32, prefix: &str, timeout: ListTimeout) -> NewMember {
    NewMember {
        list,
        prefix: prefix.parse().unwrap(),
        timeout,
        note: 0,
    }
}

const fn seconds(seconds: u64) -> ListTimeout {
    ListTimeout::For(Duration::from_secs(seconds))
}

#[test]
fn a_member_is_there_until_the_millisecond_of_its_deadline() {
    let members = Members::new(64, KEY);
    let new = of(3, "10.0.0.1/32", seconds(2));
    assert_eq!(members.add(&new, at(10)), Ok(Added::New));
    let there = |ms| members.contains(3, ip("10.0.0.1"), Tick::from_millis(ms));
    assert!(there(10_000) && there(11_999));
    assert!(!there(12_000));
    assert!(!members.contains(4, ip("10.0.0.1"), at(10)), "another list");
    assert!(!members.contains(3, ip("10.0.0.2"), at(10)));
    assert!(
        !members.contains(3, ip("::a00:1"), at(10)),
        "another family"
    );
}

#[test]
fn adding_again_gives_a_new_deadline_be_it_sooner() {
    let members = Members::new(64, KEY);
    members
        .add(&of(1, "2001:db8::1/128", seconds(10)), at(0))
        .unwrap();
    let again = members.add(&of(1, "2001:db8::1/128", seconds(3)), at(1));
    assert_eq!(again, Ok(Added::Refreshed));
    assert!(members.contains(1, ip("2001:db8::1"), at(3)));
    assert!(!members.contains(1, ip("2001:db8::1"), at(4)));
    assert_eq!(members.iter(at(2)).count(), 1);
}

#[test]
fn what_is_there_to_stay_is_not_given_a_timeout() {
    let members = Members::new(64, KEY);
    let stay = of(1, "10.0.0.1/32", ListTimeout::NoneDynamic);
    members.add(&stay, at(0)).unwrap();
    let again = members.add(&of(1, "10.0.0.1/32", seconds(3)), at(1));
    assert_eq!(again, Ok(Added::Kept));
    assert!(members.contains(1, ip("10.0.0.1"), at(1 << 30)));
}

#[test]
fn a_prefix_holds_its_addresses_and_no_others() {
    let members = Members::new(64, KEY);
    for prefix in [
        "10.0.0.0/24",
        "0.0.0.0/0",
        "2001:db8::/64",
        "2001:db8:1::/65",
    ] {
        let list = u32::try_from(prefix.len()).unwrap();
        members.add(&of(list, prefix, seconds(9)), at(0)).unwrap();
    }
    assert!(members.contains(11, ip("10.0.0.255"), at(0)));
    assert!(!members.contains(11, ip("10.0.1.0"), at(0)));
    assert!(members.contains(9, ip("255.0.0.1"), at(0)));
    assert!(members.contains(13, ip("2001:db8::ffff"), at(0)));
    assert!(members.contains(15, ip("2001:db8:1::7fff"), at(0)));
    assert!(!members.contains(15, ip("2001:db8:1:0:8000::"), at(0)));
}

#[test]
fn a_listed_member_says_where_it_comes_from() {
    let members = Members::new(64, KEY);
    let mut new = of(7, "10.0.0.0/9", ListTimeout::NoneStatic);
    new.note = 5;
    members.add(&new, at(4)).unwrap();
    let listed: Vec<Member> = members.iter(at(4)).collect();
    let expected = Member {
        list: 7,
        prefix: new.prefix,
        created: at(4),
        deadline: None,
        kind: MemberKind::Static,
        note: 5,
    };
    assert_eq!(listed, [expected]);
}

#[test]
fn a_full_table_refuses_and_takes_the_places_of_what_has_expired() {
    let members = Members::new(16, KEY);
    let numbered = |n: u32, timeout| of(n, "10.0.0.1/32", timeout);
    for n in 0..16 {
        assert_eq!(members.add(&numbered(n, seconds(5)), at(0)), Ok(Added::New));
    }
    assert_eq!(
        members.add(&numbered(16, seconds(5)), at(4)),
        Err(MembersFull)
    );
    assert_eq!(
        members.add(&numbered(3, seconds(5)), at(4)),
        Ok(Added::Refreshed)
    );
    assert_eq!(
        members.add(&numbered(16, seconds(5)), at(5)),
        Ok(Added::New)
    );
    assert!(members.contains(3, ip("10.0.0.1"), at(5)));
    assert!(members.contains(16, ip("10.0.0.1"), at(5)));
    assert!(!members.contains(4, ip("10.0.0.1"), at(5)));
    assert_eq!(members.taken(), 16);
}

#[test]
fn a_table_without_places_takes_nothing() {
    let members = Members::new(0, KEY);
    assert_eq!(
        members.add(&of(1, "10.0.0.1/32", seconds(5)), at(0)),
        Err(MembersFull)
    );
    assert!(!members.contains(1, ip("10.0.0.1"), at(0)));
    assert!(!members.remove(1, "10.0.0.1/32".parse().unwrap(), at(0)));
}

#[test]
fn a_sweep_frees_what_has_expired_and_what_no_list_keeps() {
    let members = Members::new(64, KEY);
    for (list, timeout) in [(1, seconds(5)), (2, seconds(50)), (3, seconds(50))] {
        members
            .add(&of(list, "10.0.0.1/32", timeout), at(0))
            .unwrap();
    }
    let mut from = 0;
    for _ in 0..8 {
        from = members.sweep(from, 8, at(5), |list| list != 3);
    }
    assert_eq!((from, members.taken()), (0, 1));
    assert!(members.contains(2, ip("10.0.0.1"), at(5)));
}

#[test]
fn the_lists_of_an_address_are_told_apart_and_come_back_as_the_same_number() {
    let members = Members::new(64, KEY);
    let lists = |seconds| members.lists_of(ip("10.0.0.1"), at(seconds)).unwrap();
    assert_eq!(lists(0), 0);
    members
        .add(&of(1, "10.0.0.1/32", seconds(5)), at(0))
        .unwrap();
    let one = lists(0);
    members
        .add(&of(2, "10.0.0.0/24", seconds(9)), at(0))
        .unwrap();
    let both = lists(0);
    assert!(one != 0 && both != one && both != 0);
    assert_eq!(lists(4), both);
    let two = lists(5);
    assert!(two != both && two != one && two != 0, "one has expired");
    assert_eq!(lists(9), 0);
    members
        .add(&of(1, "10.0.0.0/24", seconds(5)), at(20))
        .unwrap();
    members
        .add(&of(1, "10.0.0.1/32", seconds(5)), at(20))
        .unwrap();
    assert_eq!(lists(20), one, "twice in a list is in the list");
}

#[test]
fn too_many_lists_of_an_address_are_not_told() {
    let members = Members::new(1 << 12, KEY);
    for length in 0..=32 {
        for list in 0..3 {
            let prefix = format!("10.0.0.0/{length}")
                .parse::<IpNet>()
                .unwrap()
                .trunc();
            let new = NewMember {
                prefix,
                ..of(3 * length + list, "::/0", seconds(5))
            };
            members.add(&new, at(0)).unwrap();
        }
    }
    assert_eq!(members.lists_of(ip("10.0.0.0"), at(0)), None);
    assert_eq!(members.lists_of(ip("10.0.0.0"), at(5)), Some(0));
}

#[test]
fn workers_that_add_and_take_away_at_once_lose_nothing_and_leave_nothing() {
    let members = Members::new(1 << 10, KEY);
    std::thread::scope(|scope| {
        for worker in 0..4_u32 {
            let members = &members;
            scope.spawn(move || {
                for n in 0..20_000_u32 {
                    // Its own, where others add theirs, and one that all of them add.
                    let address = IpAddr::from((0x0a00_0000 + n % 64).to_be_bytes());
                    let mine = NewMember {
                        prefix: address.into(),
                        ..of(worker, "::/0", seconds(60))
                    };
                    members.add(&mine, at(1)).unwrap();
                    assert!(members.contains(worker, address, at(1)));
                    members
                        .add(&of(9, "10.9.9.9/32", seconds(60)), at(1))
                        .unwrap();
                    assert!(members.contains(9, ip("10.9.9.9"), at(1)));
                    assert!(members.remove(worker, mine.prefix, at(1)));
                    assert!(!members.contains(worker, address, at(1)));
                }
            });
        }
    });
    members.remove(9, "10.9.9.9/32".parse().unwrap(), at(1));
    assert_eq!((members.taken(), members.iter(at(1)).count()), (0, 0));
}

#[derive(Debug, Clone)]
enum Op {
    Add(u32, u32, u64),
    Remove(u32, u32),
    Pass(u64),
    Sweep,
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_u32, 0..6_u32, 1..20_u64).prop_map(|(l, a, t)| Op::Add(l, a, t)),
        1 => (0..3_u32, 0..6_u32).prop_map(|(l, a)| Op::Remove(l, a)),
        2 => (1..8_u64).prop_map(Op::Pass),
        1 => Just(Op::Sweep),
    ]
}

proptest! {
    #[test]
    fn the_table_is_a_map_from_members_to_deadlines(
        ops in proptest::collection::vec(any_op(), 1..80),
    ) {
        let members = Members::new(256, KEY);
        let mut model: HashMap<(u32, u32), u64> = HashMap::new();
        let mut now = 1_000_u64;
        let address = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for op in ops {
            match op {
                Op::Add(list, n, timeout) => {
                    let new = NewMember {
                        prefix: address(n).into(),
                        ..of(list, "::/0", seconds(timeout))
                    };
                    let there = model.get(&(list, n)).is_some_and(|until| now < *until);
                    let expected = if there { Added::Refreshed } else { Added::New };
                    prop_assert_eq!(members.add(&new, at(now)), Ok(expected));
                    model.insert((list, n), now + timeout);
                }
                Op::Remove(list, n) => {
                    let there = model.remove(&(list, n)).is_some_and(|until| now < until);
                    prop_assert_eq!(members.remove(list, address(n).into(), at(now)), there);
                }
                Op::Pass(seconds) => now += seconds,
                Op::Sweep => {
                    members.sweep(0, 256, at(now), |_| true);
                    let live = model.values().filter(|until| now < **until).count();
                    prop_assert_eq!(members.taken(), live);
                }
            }
            for list in 0..3 {
                for n in 0..6 {
                    let there = model.get(&(list, n)).is_some_and(|until| now < *until);
                    prop_assert_eq!(members.contains(list, address(n), at(now)), there);
                }
            }
        }
    }
}
