//! A crowd in any weather: members crash and come back with their part files, stop, lie, fill their disks, join late;
//! links break; the content is replaced in the middle. When it is over, with one honest holder, everybody has all of it.

use super::crowd::*;
use super::*;
use std::string::String;

/// Storms that are gone through: so many, or as many as `STORMS` says, from seed `STORM_SEED` on.
const STORMS: u64 = 60;
/// By then the weather is fine again.
const STORM: u64 = 8 * SECOND;
/// One that is stopped for so long is not waited for.
const NEVER: u64 = 1 << 40;
/// Pauses until the next try and waits for what does not come add up to no more.
const WAITS: u64 = 30 * SECOND;

struct Storm {
    crowd: Crowd,
    /// Honest members that are left alone: they hold the content.
    holders: usize,
    changes: bool,
}

/// What a seed gives.
fn storm(seed: u64) -> Storm {
    let mut rng = Rng::from_seed(*blake3::hash(&seed.to_le_bytes()).as_bytes());
    let mut below = |n: u64| rng.next_u64() % n;
    let holders = 1 + below(3) as usize;
    let seekers = 1 + below(7) as usize;
    let size = [1 << 20, 5 << 20, 24 << 20][below(3) as usize];
    let mut c = Crowd::of(holders, seekers, size);
    c.retry = Some(SECOND);
    let changes = below(3) == 0;
    if changes {
        let at = below(STORM / 2);
        c.later(at, Event::Change);
        for m in 0..holders + seekers {
            c.later(at + below(SECOND / 2), Event::Hear(m));
        }
    }
    for m in 0..holders + seekers {
        c.members[m].rate = RATE >> below(6);
        if m >= holders {
            c.later(if below(3) == 0 { below(STORM / 2) } else { below(20 * MS) }, Event::Start(m));
        }
        if m == 0 {
            continue;
        }
        c.members[m].lies = below(6) == 0;
        for _ in 0..below(3) {
            let at = below(STORM * 3 / 4);
            let long = below(STORM / 4);
            match below(4) {
                0 if below(4) == 0 => c.later(at, Event::Stop(m, NEVER)),
                0 => c.later(at, Event::Stop(m, below(STORM))),
                1 => c.members[m].full = at,
                2 => c.later(at, Event::Break(m, below((holders + seekers) as u64) as usize)),
                _ => {
                    c.later(at, Event::Leave(m));
                    c.later(at + 1 + long, Event::Back(m));
                }
            }
        }
    }
    Storm { crowd: c, holders, changes }
}

/// A tracker's part: every 200 ms all are told who has what they seek, and who else seeks it.
fn name_all(c: &mut Crowd) {
    for m in 0..c.members.len() {
        if c.members[m].swarm.is_some() && c.members[m].end.is_none() {
            let (holders, seekers) = c.sources(m);
            c.later(DELAY, Event::Named(m, holders, seekers));
        }
    }
}

/// Who stands where, for a failure's message.
fn show(c: &Crowd) -> String {
    let mut out = String::new();
    for (m, member) in c.members.iter().enumerate() {
        let (version, rate, lies, links) = (member.version, member.rate, member.lies, &member.links);
        let (got, tries, end) = (member.got.len(), member.tries, &member.end);
        out += &std::format!(
            "{m}: version {version}, {rate} B/s, lies: {lies}, got {got}, tries {tries}, {end:?}, links {links:?}\n"
        );
        let Some(s) = &member.swarm else { continue };
        for (i, source) in s.sources.iter().enumerate().take(c.members.len()).filter(|_| end.is_none()) {
            out += &std::format!("    {i}: {source:?}\n");
        }
    }
    out
}

/// Goes through a storm; how long it took.
fn weather(seed: u64) -> u64 {
    let mut s = storm(seed);

    let last = usize::from(s.changes);
    let c = &mut s.crowd;
    let has = |m: &Member| matches!(m.end, Some((Ok(()), _))) && m.version == last;
    let all = |c: &Crowd| c.members.iter().all(|m| m.swarm.is_none() || m.stopped > NEVER || has(m));
    let done = |c: &Crowd| all(c) && c.now > STORM;
    // At worst the one who is honest for sure sends a copy to each of them, and as much in vain.
    let one = c.versions[0].size as u64 * SECOND / c.members[0].rate;
    let calm = STORM + WAITS + 2 * one * c.members.len() as u64;
    while !done(c) {
        let until = c.now + 200 * MS;
        c.run_until(until, done);
        assert!(c.now < calm, "seed {seed}: it does not end\n{}", show(c));
        name_all(c);
    }
    for (m, member) in c.members.iter().enumerate().skip(s.holders).filter(|(_, m)| m.stopped <= NEVER) {
        assert_eq!(member.again, 0, "seed {seed}: {m} fetched what its part file had");
        let idle = member.swarm.as_ref().is_some_and(|s| s.is_idle() && s.poll_timeout().is_none());
        assert!(idle, "seed {seed}: {m} has it and goes on");
    }
    c.now
}

#[test]
fn after_any_storm_everybody_has_it() {
    let number = |name, or| std::env::var(name).map_or(or, |n| n.parse().expect("a number"));
    let from = number("STORM_SEED", 0);
    let mut longest = (0, 0);
    for seed in from..from + number("STORMS", STORMS) {
        longest = longest.max((weather(seed), seed));
    }
    std::println!("the longest, seed {}: {} ms", longest.1, longest.0 / MS);
}
