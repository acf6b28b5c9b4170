//! `timezone`: where the clock hangs that rules with `time` look at.
//!
//! The changes of a zone are looked up once, in the data of the IANA that are built in, so that a
//! gateway needs no files for them and no zone changes under it. They reach from 1970, for
//! captures, to 2100.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use turnpike_pipeline::wall::Zone;

use super::section::{Section, or_report, scalar};
use crate::problem::Problems;

/// The last second for which changes are looked up: the end of the year 2099.
const LAST_SECS: i64 = 4_102_444_799;

/// Reads `timezone`; without it, or with a wrong one, it is UTC.
pub fn decode(file: Section<'_>, problems: &mut Problems) -> Zone {
    let zone = file.field("timezone").and_then(|node| {
        let name = &scalar(node, problems)?.text;
        or_report(zone(name), node.span, problems)
    });
    zone.unwrap_or_default()
}

fn zone(name: &str) -> Result<Zone, String> {
    let zone = TimeZone::get(name).map_err(|_| {
        format!(
            "`{name}` is not a time zone; write one as the IANA names it, for example \
             Europe/Riga, or UTC"
        )
    })?;
    let before = zone.to_offset(Timestamp::UNIX_EPOCH).seconds();
    let changes = zone
        .following(Timestamp::UNIX_EPOCH)
        .map(|change| (change.timestamp().as_second(), change.offset().seconds()))
        .take_while(|(since, _)| *since <= LAST_SECS);
    Ok(Zone {
        changes: std::iter::once((i64::MIN, before)).chain(changes).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours ahead of UTC at these seconds.
    fn hours_ahead(name: &str, at: &[i64]) -> Vec<i64> {
        let zone = zone(name).unwrap();
        let ahead = at.iter().map(|secs| {
            let (_, local) = zone.local(*secs);
            let (_, utc) = Zone::default().local(*secs);
            (i64::from(local) - i64::from(utc)).rem_euclid(86_400) / 3_600
        });
        ahead.collect()
    }

    #[test]
    fn a_zone_knows_its_summers_for_as_long_as_anybody_looks() {
        // The last Sundays of March and October 2026, 01:00 UTC.
        let (spring, autumn) = (1_774_746_000, 1_792_890_000);
        let around = [spring - 1, spring, autumn - 1, autumn];
        assert_eq!(hours_ahead("Europe/Riga", &around), [2, 3, 3, 2]);
        // Summer and winter of 1999 and of 2090.
        let other = [930_000_000, 946_000_000, 3_803_000_000, 3_787_000_000];
        assert_eq!(hours_ahead("Europe/Berlin", &other), [2, 1, 2, 1]);
        assert_eq!(hours_ahead("Asia/Tokyo", &around), [9; 4]);
        assert_eq!(hours_ahead("UTC", &around), [0; 4]);
        assert_eq!(hours_ahead("Asia/Tokyo", &[-1, 0]), [9, 9]);
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for name in ["Europe/Atlantis", "", "+02:00", "CEST-2"] {
            assert!(zone(name).is_err(), "{name}");
        }
    }
}
