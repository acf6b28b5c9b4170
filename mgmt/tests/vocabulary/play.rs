//! Plays a case: loads its configuration, sends its packets, and sees what became of them.
//!
//! A line of a story is `[TIME] INTERFACE: PACKET => THING; THING…`. The time is since the start;
//! without one the packet follows the one before. What a packet's line can say: `matched` or
//! `unmatched` by the rule in question; the verdict; the connection's state; a drop's reason;
//! `leaves WORDS` and `answers WORDS`, where the packet as it leaves, or the gateway's answer, has
//! these words; `silent` where the gateway answers nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use turnpike_engine::explain::{Explainer, compile};
use turnpike_mgmt::config::Config;
use turnpike_mgmt::explain::{Explanation, Question, Scene, Step, explained};
use turnpike_mgmt::words::Words;

use super::case::Case;
use super::elsewhere;

/// Whether the gateway refuses what the case is about, as the case says it may.
pub fn is_not_yet(case: &Case) -> bool {
    let refusal = case.not_yet.as_ref().zip(load(case).err());
    refusal.is_some_and(|(text, refusal)| refusal.contains(text.as_str()))
}

/// Shows what a case is to show, or says why it does not.
pub fn play(case: &Case) -> Result<(), String> {
    if case.has_configuration() && !case.uses_the_name() {
        return Err(format!("it does not use the name `{}`", case.word()));
    }
    for test in &case.shown_by {
        elsewhere::is_a_test(test)?;
    }
    if is_not_yet(case) {
        return Ok(());
    }
    for test in &case.once {
        elsewhere::is_a_test(test)?;
    }
    if let Some(text) = &case.refused {
        return match load(case) {
            Ok(_) => Err("it is accepted: show it".to_owned()),
            Err(refusal) if refusal.contains(text.as_str()) => Ok(()),
            Err(refusal) => Err(format!("it is refused in other words: {refusal}")),
        };
    }
    let by_packets = !case.matched.is_empty() || !case.unmatched.is_empty();
    let elsewhere = !case.shown_by.is_empty() || !case.once.is_empty();
    if !by_packets && case.story.is_empty() && case.tests.is_empty() && !elsewhere {
        return Err("it shows nothing, with packets or with the name of a test".to_owned());
    }
    if !case.has_configuration() {
        return Ok(());
    }
    let config = load(case)?
        .tested()
        .map_err(|refused| refused.to_string())?;
    if by_packets {
        matched_and_not(case, &config)?;
    }
    if !case.story.is_empty() {
        story(case, &config)?;
    }
    outcomes_differ(case)
}

fn load(case: &Case) -> Result<Config, String> {
    let text = case.configuration();
    Config::parse(&text, "case.yaml", Path::new(".")).map_err(|r| format!("{r}\n{text}"))
}

/// A packet with the interface that it comes in by.
fn packet(line: &str) -> Result<(&str, Words), String> {
    let parts = line.split_once(": ");
    let (interface, words) = parts.ok_or_else(|| format!("`{line}` has no interface"))?;
    let words = Words::parse(words).map_err(|e| format!("`{line}`: {e}"))?;
    Ok((interface.trim(), words))
}

/// Whether a rule in question matched.
fn hit(explanation: &Explanation) -> bool {
    explanation.steps.iter().any(|step| match step {
        Step::Chain { rules, .. } => rules.iter().any(|r| r.matched && r.name.comment == "this"),
        Step::Tracking { .. } | Step::Route { .. } => false,
    })
}

fn ask(scene: &Scene<'_>, line: &str) -> Result<Explanation, String> {
    let (interface, packet) = packet(line)?;
    scene.explain(&Question {
        in_interface: scene.interface(interface)?,
        packet,
        after: Vec::new(),
    })
}

fn matched_and_not(case: &Case, config: &Config) -> Result<(), String> {
    if case.matched.is_empty() {
        return Err("its rule never matches".to_owned());
    }
    if case.unmatched.is_empty() && case.neither.is_empty() {
        return Err("its rule never fails to match".to_owned());
    }
    let is_v6 = |line: &&String| line.contains('[');
    let seen: BTreeSet<bool> = case.matched.iter().map(|line| is_v6(&line)).collect();
    match case.family.as_deref() {
        None if seen.len() < 2 => {
            return Err(
                "it matches packets of one family; say `family` if it knows one".to_owned(),
            );
        }
        Some("ipv4") if seen.contains(&true) => return Err("that is IPv6".to_owned()),
        Some("ipv6") if seen.contains(&false) => return Err("that is IPv4".to_owned()),
        _ => {}
    }
    held(
        config,
        [&case.matched, &[]],
        [&case.unmatched, &case.neither],
    )?;
    if let Some(key) = &case.negated {
        let negated = load(&case.with_negated(key))?;
        held(
            &negated,
            [&case.unmatched, &[]],
            [&case.matched, &case.neither],
        )
        .map_err(|why| format!("with `!`, {why}"))?;
    }
    Ok(())
}

fn held(config: &Config, hits: [&[String]; 2], misses: [&[String]; 2]) -> Result<(), String> {
    let scene = Scene::new(&config.policy);
    for line in hits.concat() {
        let explanation = ask(&scene, &line)?;
        if !hit(&explanation) {
            return Err(format!("the rule does not match `{line}`\n{explanation}"));
        }
    }
    for line in misses.concat() {
        let explanation = ask(&scene, &line)?;
        if hit(&explanation) {
            return Err(format!("the rule matches `{line}`\n{explanation}"));
        }
    }
    Ok(())
}

/// A line of a story.
struct Line<'a> {
    at: Option<Duration>,
    packet: &'a str,
    says: Vec<&'a str>,
}

fn line(text: &str) -> Result<Line<'_>, String> {
    let wrong = || format!("`{text}` is no line of a story");
    let (before, says) = text.split_once(" => ").ok_or_else(wrong)?;
    let (head, _) = before.split_once(": ").ok_or_else(wrong)?;
    let (at, packet) = match head.split_once(' ') {
        Some((at, _)) => (
            Some(seconds(at).ok_or_else(wrong)?),
            &before[at.len() + 1..],
        ),
        None => (None, before),
    };
    Ok(Line {
        at,
        packet,
        says: says.split("; ").collect(),
    })
}

/// `90s`, `1.5s` or `12m`.
fn seconds(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: f64 = number.parse().ok()?;
    match unit {
        "s" => Some(Duration::from_secs_f64(seconds)),
        "m" => Some(Duration::from_secs_f64(seconds * 60.0)),
        "h" => Some(Duration::from_secs_f64(seconds * 3600.0)),
        _ => None,
    }
}

/// The longest pause that is made at one go: wheels turn as in a gateway that runs.
const STRIDE: Duration = Duration::from_millis(500);

fn story(case: &Case, config: &Config) -> Result<(), String> {
    let program = Arc::new(compile(&config.policy, None));
    let scene = Scene::new(&config.policy);
    let mut explainer = Explainer::new(Arc::clone(&program));
    let mut now = Duration::ZERO;
    for text in &case.story {
        let line = line(text)?;
        let until = line.at.unwrap_or(now + Duration::from_millis(1));
        while now < until {
            let stride = STRIDE.min(until - now);
            explainer.wait(stride);
            now += stride;
        }
        let (interface, packet) = packet(line.packet)?;
        let interface = scene.interface(interface)?;
        let frame = packet.frame(None).ok_or("too long")?;
        let followed = explainer.send(interface, frame);
        let explanation = explained(&program, interface, Some(&packet), &followed);
        for thing in line.says {
            if !is_so(thing, &explanation)? {
                return Err(format!("not so: `{thing}` of `{text}`\n{explanation}"));
            }
        }
    }
    Ok(())
}

fn is_so(thing: &str, found: &Explanation) -> Result<bool, String> {
    let some = |all: &[String], words: &str| all.iter().any(|one| one.contains(words));
    let (verb, rest) = thing.split_once(' ').unwrap_or((thing, ""));
    Ok(match verb {
        "matched" => hit(found),
        "unmatched" => !hit(found),
        "accept" | "drop" | "reject" | "local" => found.verdict == verb,
        "new" | "established" | "related" | "invalid" | "untracked" => {
            found.connection_state.as_deref() == Some(verb)
        }
        "leaves" => some(&found.leaves, rest),
        "answers" => some(&found.answers, rest),
        "silent" => found.answers.is_empty(),
        "reason" => found.reason.as_deref() == Some(rest),
        _ => return Err(format!("nothing is called `{thing}` in a story")),
    })
}

/// Tests and stories have to show more than one thing, or the name might change nothing.
fn outcomes_differ(case: &Case) -> Result<(), String> {
    let said: BTreeSet<&str> = case
        .story
        .iter()
        .filter_map(|l| l.split(" => ").nth(1))
        .collect();
    if !case.story.is_empty() && said.len() < 2 {
        return Err("every packet of its story fares alike".to_owned());
    }
    Ok(())
}
