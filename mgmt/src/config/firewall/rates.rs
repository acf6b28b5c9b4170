//! What a rule asks of the traffic up to the packet at hand, and of a flow's class.

use std::time::Duration;

use turnpike_pipeline::policy::{
    Classifier, DestinationLimit, FlowFields, Hours, Match, Nth, PacketAsk, RateAsk, RateLimit,
    RateUnit, ScanWeights, Volume,
};
use turnpike_pipeline::wall::DAY_SECS;

use super::super::section::{Item, Word, or_report};
use super::super::value::{choice, number};
use super::matchers::Reader;
use crate::problem::{Problems, Span};

/// The most that a rate, a burst or a volume can be.
const AMOUNT_MAX: u64 = 1_000_000_000_000;
/// The longest time that a rate is for.
const PER_MAX: Duration = Duration::from_hours(24 * 7);
/// How long the buckets of `dst-limit` are kept by default, as in RouterOS, and at most.
const EXPIRE: Duration = Duration::from_secs(100);
const EXPIRE_MAX: Duration = Duration::from_hours(24);
/// The longest pause in a scan.
const SCAN_DELAY_MAX: Duration = Duration::from_hours(24);
/// The most packets of a round of `nth`, and the most classes.
const PARTS_MAX: u64 = u32::MAX as u64;
/// The most that a port weighs, and a threshold.
const WEIGHT_MAX: u64 = 1_000_000;
/// The bits of the largest packet of Ethernet.
const LARGE_PACKET: u64 = 1_500 * 8;

/// Reads every question about the traffic so far, in the order in which they are asked: those
/// that keep count last, for they count only what all others hold for.
pub fn decode(reader: &mut Reader<'_, '_>) -> impl Iterator<Item = Match<PacketAsk>> + use<> {
    let asked = [
        reader.one("time", |item, problems| {
            read(item, problems, hours).map(RateAsk::Time)
        }),
        reader.one("connection-bytes", |item, problems| {
            read(item, problems, volume).map(RateAsk::ConnectionBytes)
        }),
        reader.one("connection-rate", |item, problems| {
            read(item, problems, volume).map(RateAsk::ConnectionRate)
        }),
        reader.one("random", |item, problems| {
            read(item, problems, percent).map(RateAsk::Random)
        }),
        reader.one("nth", |item, problems| {
            read(item, problems, nth).map(RateAsk::Nth)
        }),
        reader.one("psd", |item, problems| {
            read(item, problems, scan).map(RateAsk::Scan)
        }),
        reader.one("dst-limit", |item, problems| {
            let limit = read(item, problems, destination_limit)?;
            small_burst(&limit.limit, item.span, problems);
            Some(RateAsk::DestinationLimit(limit))
        }),
        reader.one("limit", |item, problems| {
            let limit = read(item, problems, limit)?;
            small_burst(&limit, item.span, problems);
            Some(RateAsk::Limit(limit))
        }),
    ];
    asked.into_iter().flatten().map(|asked| Match {
        value: PacketAsk::Rate(asked.value),
        negated: asked.negated,
    })
}

/// Reads `per-connection-classifier`.
pub fn classifier(reader: &mut Reader<'_, '_>) -> Option<Match<Classifier>> {
    reader.one("per-connection-classifier", |item, problems| {
        read(item, problems, fields_of_class)
    })
}

fn read<T>(
    item: Item<'_>,
    problems: &mut Problems,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    or_report(read(item.text), item.span, problems)
}

/// `first-last`; a last of zero is no end.
fn volume(text: &str) -> Result<Volume, String> {
    let Some((first, last)) = text.split_once('-') else {
        return Err(format!(
            "`{text}` has no end; write, for example, \"500k-0\" for all from 500,000 on"
        ));
    };
    let (first, last) = (amount(first, 0)?, amount(last, 0)?);
    if last != 0 && last < first {
        return Err(format!(
            "`{text}` ends before it begins; write the smaller number first, or 0 for no end"
        ));
    }
    Ok(Volume {
        first,
        last: (last != 0).then_some(last),
    })
}

/// A whole number, in thousands with `k`, millions with `M` or thousand millions with `G`.
fn amount(text: &str, min: u64) -> Result<u64, String> {
    const UNITS: [(char, u64); 4] = [
        ('k', 1_000),
        ('K', 1_000),
        ('M', 1_000_000),
        ('G', 1_000_000_000),
    ];
    let text = text.trim();
    for (unit, factor) in UNITS {
        if let Some(digits) = text.strip_suffix(unit) {
            return number(digits, min, AMOUNT_MAX / factor).map(|n| n * factor);
        }
    }
    number(text, min, AMOUNT_MAX)
}

fn percent(text: &str) -> Result<u8, String> {
    let percent = number(text, 1, 99)?;
    u8::try_from(percent).map_err(|e| e.to_string())
}

/// `every,packet`.
fn nth(text: &str) -> Result<Nth, String> {
    let Some((every, packet)) = text.split_once(',') else {
        return Err(format!(
            "`{text}` is not a round and a packet of it; write, for example, nth: \"3,1\" for the \
             first of every three"
        ));
    };
    let every = number(every.trim(), 1, PARTS_MAX)?;
    let packet = number(packet.trim(), 1, every)?;
    Ok(Nth {
        every: narrow(every)?,
        packet: narrow(packet)?,
    })
}

fn narrow(n: u64) -> Result<u32, String> {
    u32::try_from(n).map_err(|e| e.to_string())
}

/// `rate[/time],burst[:packet|:bit]`.
fn limit(text: &str) -> Result<RateLimit, String> {
    match text.split(',').collect::<Vec<_>>()[..] {
        [rate, burst] => bucket(rate, burst),
        _ => Err(format!(
            "`{text}` is not a rate and a burst; write, for example, limit: \"5,10\" for five \
             packets a second after the first ten"
        )),
    }
}

/// `rate[/time]` and `burst[:packet|:bit]`.
fn bucket(rate: &str, burst: &str) -> Result<RateLimit, String> {
    let (rate, per) = match rate.trim().split_once('/') {
        Some((rate, per)) => (rate, time(per)?),
        None => (rate, Duration::from_secs(1)),
    };
    let (burst, unit) = match burst.split_once(':') {
        Some((burst, unit)) => {
            let units = RateUnit::ALL.map(|unit| (unit.name(), unit));
            (burst, choice(unit.trim(), "what a limit counts", &units)?)
        }
        None => (burst, RateUnit::Packet),
    };
    Ok(RateLimit {
        rate: amount(rate, 1)?,
        per,
        burst: amount(burst, 1)
            .map_err(|e| format!("{e}; a burst is what passes at once, so nothing would match"))?,
        unit,
    })
}

/// The time that a rate is for; `/m` is `/1m`, as manuals write it.
fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let of_one = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let one = format!("1{text}");
    let per = Duration::read(if of_one { &one } else { text });
    let per = per.or_else(|_| Duration::read(text))?;
    in_range(per, PER_MAX, text, "1ms to 7d")
}

/// `rate[/time],burst[:packet|:bit],fields[/expire]`, or the last after a comma.
fn destination_limit(text: &str) -> Result<DestinationLimit, String> {
    let (rate, burst, fields, expire) = match text.split(',').collect::<Vec<_>>()[..] {
        [rate, burst, fields, expire] => (rate, burst, fields, Some(expire)),
        [rate, burst, last] => match last.split_once('/') {
            Some((fields, expire)) => (rate, burst, fields, Some(expire)),
            None => (rate, burst, last, None),
        },
        _ => {
            return Err(format!(
                "`{text}` is not a rate, a burst and fields; write, for example, \
                 dst-limit: \"5,10,dst-address/1m\""
            ));
        }
    };
    let expire = match expire {
        Some(text) => within(text, EXPIRE_MAX, "1ms to 1d")?,
        None => EXPIRE,
    };
    Ok(DestinationLimit {
        limit: bucket(rate, burst)?,
        fields: choice(
            fields.trim(),
            "what packets of one bucket have in common",
            &FlowFields::LIMITED,
        )?,
        expire,
    })
}

/// A time of at least a millisecond.
fn within(text: &str, max: Duration, range: &str) -> Result<Duration, String> {
    let text = text.trim();
    in_range(Duration::read(text)?, max, text, range)
}

fn in_range(time: Duration, max: Duration, text: &str, range: &str) -> Result<Duration, String> {
    if time.is_zero() || time > max {
        return Err(format!(
            "`{text}` is out of range; write a time from {range}"
        ));
    }
    Ok(time)
}

/// `threshold,delay,low-port-weight,high-port-weight`.
fn scan(text: &str) -> Result<ScanWeights, String> {
    let [threshold, delay, low, high] = text.split(',').collect::<Vec<_>>()[..] else {
        return Err(format!(
            "`{text}` is not a threshold, a delay and two weights; write, for example, \
             psd: \"21,3s,3,1\""
        ));
    };
    let weight = |text: &str, min| number(text.trim(), min, WEIGHT_MAX).and_then(narrow);
    Ok(ScanWeights {
        threshold: weight(threshold, 1)?,
        delay: within(delay, SCAN_DELAY_MAX, "1ms to 1d")?,
        low_port: weight(low, 0)?,
        high_port: weight(high, 0)?,
    })
}

/// `first-last[,day…]`; without a day, every day.
fn hours(text: &str) -> Result<Hours, String> {
    let mut parts = text.split(',');
    let span = parts.next().and_then(|span| span.split_once('-'));
    let Some((first, last)) = span else {
        return Err(format!(
            "`{text}` is not a time and days; write, for example, time: \"8h-17h,mon,tue\""
        ));
    };
    let days = parts.map(|day| {
        let choices = (0..).zip(Hours::DAYS).map(|(bit, day)| (day, 1_u8 << bit));
        choice(day.trim(), "a day", &choices.collect::<Vec<_>>())
    });
    let days = days.collect::<Result<Vec<u8>, String>>()?;
    let all = (1 << Hours::DAYS.len()) - 1;
    Ok(Hours {
        first: of_day(first)?,
        last: of_day(last)?,
        days: days.into_iter().reduce(|all, day| all | day).unwrap_or(all),
    })
}

/// A second of the day: `8h30m` since midnight, or `8:30` by the clock.
fn of_day(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let secs = if text.contains(':') {
        let parts = text.split(':').map(|part| part.parse::<u64>().ok());
        let parts: Option<Vec<u64>> = parts.collect();
        match parts.as_deref() {
            Some(&[h, m]) if h < 24 && m < 60 => Some(h * 3_600 + m * 60),
            Some(&[h, m, s]) if h < 24 && m < 60 && s < 60 => Some(h * 3_600 + m * 60 + s),
            Some(_) | None => None,
        }
    } else {
        Duration::read(text).ok().map(|since| since.as_secs())
    };
    secs.filter(|secs| *secs <= DAY_SECS.into())
        .and_then(|secs| u32::try_from(secs).ok())
        .ok_or_else(|| {
            format!("`{text}` is not a time of day; write, for example, 8h, 8h30m or 08:30:00")
        })
}

/// A packet that is larger than the bucket never finds enough in it.
fn small_burst(limit: &RateLimit, span: Span, problems: &mut Problems) {
    if limit.unit == RateUnit::Bit && limit.burst < LARGE_PACKET {
        problems.warning(
            span,
            format!(
                "a packet of more than {} bytes is larger than the burst of {} bits and never \
                 within the limit; write a burst of {LARGE_PACKET} at least",
                limit.burst / 8,
                limit.burst
            ),
        );
    }
}

/// `fields:denominator/remainder`.
fn fields_of_class(text: &str) -> Result<Classifier, String> {
    let parts = text
        .split_once(':')
        .and_then(|(fields, class)| Some((fields, class.split_once('/')?)));
    let Some((fields, (denominator, remainder))) = parts else {
        return Err(format!(
            "`{text}` is not fields and a class; write, for example, \
             per-connection-classifier: \"both-addresses:2/0\" for the first of two"
        ));
    };
    let fields = choice(fields, "what a class is made from", &FlowFields::CLASSIFIED)?;
    let denominator = number(denominator, 1, PARTS_MAX)?;
    let remainder = number(remainder, 0, denominator - 1)?;
    Ok(Classifier {
        fields,
        denominator: narrow(denominator)?,
        remainder: narrow(remainder)?,
    })
}
