//! One device and its sources, fact by fact.

use super::*;

type Machine = Swarm<Vec<u8>, Bankbook>;

/// Content `n`, small.
fn small(n: u32, from: &[u8]) -> Fetch {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&n.to_le_bytes());
    let (ticket, content, mut holders) = (Ticket(n), ContentId(id), SlotSet(0));
    from.iter().for_each(|s| holders.add(Slot(*s)));
    Fetch {
        ticket,
        kind: Kind::File,
        content,
        size: 3000,
        present: 0,
        from: holders,
        seekers: SlotSet(0),
        based: false,
    }
}

fn ms(ms: u64) -> Instant {
    Instant(ms * 1000)
}

fn linked(slots: &[u8]) -> Box<Machine> {
    let mut s: Box<Machine> = Box::default();
    slots.iter().for_each(|n| s.handle_open(ms(0), Slot(*n)));
    s
}

fn drain(s: &mut Machine, at: Instant) -> Vec<Effect> {
    core::iter::from_fn(|| s.poll_effect(at)).collect()
}

#[test]
fn who_has_it_not_is_not_asked_again() {
    let mut s = linked(&[1, 2]);
    s.handle_fetch(ms(0), &small(0, &[1, 2]), None);
    let (mut asked, mut failed) = (vec![], false);
    for at in 0..100 {
        for e in drain(&mut s, ms(at)) {
            match e {
                Effect::Ask(slot, Ask::Chunk { id, .. }) => {
                    asked.push(slot);
                    s.handle_refused(ms(at), slot, id, Refusal::Gone);
                }
                Effect::Failed(Ticket(0), Cause::NoSource) => failed = true,
                _ => {}
            }
        }
    }
    asked.sort();
    assert_eq!((asked, failed), (vec![Slot(1), Slot(2)], true));
}

#[test]
fn what_a_source_passes_over_is_asked_of_another() {
    let mut s = linked(&[1, 3]);
    s.handle_fetch(ms(0), &small(0, &[1, 3]), None);
    let (mut asked, mut end, mut n) = (vec![], None, 1);
    for at in (0..60_000).step_by(500) {
        s.handle_timeout(ms(at));
        if at % 2000 == 0 {
            // Another content, which the first source alone has, and gives.
            s.handle_fetch(ms(at), &small(n, &[1]), None);
            n += 1;
        }
        for e in drain(&mut s, ms(at)) {
            match e {
                Effect::Ask(slot, Ask::Chunk { id, content, .. }) if content.0[..4] == [0; 4] => {
                    asked.push(slot);
                    if slot == Slot(3) {
                        s.handle_body(ms(at), slot, id, Body::Good);
                    }
                }
                Effect::Ask(slot, Ask::Chunk { id, .. }) => s.handle_body(ms(at), slot, id, Body::Good),
                Effect::Finished(Ticket(0)) => end = Some(at),
                _ => {}
            }
        }
    }
    assert_eq!(asked, [Slot(1), Slot(3)]);
    assert!(end.is_some_and(|at| (20_000..22_000).contains(&at)), "{end:?}");
}

#[test]
fn a_dead_link_is_hung_up_on_however_much_else_is_to_be_said() {
    let mut s = linked(&[1, 2, 3]);
    s.handle_fetch(ms(0), &small(0, &[2]), None);
    let mut hung = vec![];
    for at in (100..40_000).step_by(100) {
        if at == 11_000 {
            // They stall in the very moment in which the other one is given up.
            (1..481).for_each(|n| s.handle_fetch(ms(at), &small(n, &[1, 3]), None));
        }
        s.handle_timeout(ms(at));
        if at % 1000 == 0 {
            s.handle_progress(ms(at), Slot(3));
        }
        let hangs = drain(&mut s, ms(at)).into_iter().filter(|e| matches!(e, Effect::Hang(Slot(2))));
        hung.extend(hangs.map(|_| at));
    }
    assert!(hung.first().is_some_and(|at| *at < 16_000), "{hung:?}");
}

/// What is fetched of devices 1 and 2 when the tracker names nobody, because of what happens to them then.
fn when_nobody_is_named(happens: impl Fn(&mut Machine, u32)) -> Vec<Effect> {
    let mut s = linked(&[1]);
    s.handle_fetch(ms(0), &small(0, &[1, 2]), None);
    let asks = drain(&mut s, ms(0));
    let [Effect::Ask(Slot(1), Ask::Chunk { id, .. })] = asks[..] else { panic!("{asks:?}") };
    s.handle_sources(ms(10), Ticket(0), SlotSet(0), SlotSet(0));
    assert_eq!(drain(&mut s, ms(10)), [], "it goes on");
    s.handle_sources(ms(20), Ticket(0), SlotSet(0), SlotSet(0));
    happens(&mut s, id);
    s.handle_timeout(ms(400));
    drain(&mut s, ms(400))
}

#[test]
fn a_source_that_answers_stays_one_when_the_tracker_names_it_no_more() {
    let id = small(0, &[]).content;
    let failed = Effect::Failed(Ticket(0), Cause::NoSource);
    let came = when_nobody_is_named(|s, id| s.handle_body(ms(30), Slot(1), id, Body::Good));
    assert_eq!(came, [Effect::Finished(Ticket(0))]);
    let gone = when_nobody_is_named(|s, id| s.handle_refused(ms(30), Slot(1), id, Refusal::Gone));
    assert_eq!(gone, [failed]);
    assert_eq!(when_nobody_is_named(|s, _| s.handle_closed(ms(30), Slot(1))), [failed]);
    // Another link takes the place of its own: it is asked again.
    let again = when_nobody_is_named(|s, _| s.handle_open(ms(30), Slot(1)));
    assert!(
        matches!(again[..], [Effect::Ask(Slot(1), Ask::Chunk { content, .. })] if content == id),
        "{again:?}"
    );
    // It seeks it itself, so it has said that it has it not.
    let seeks = when_nobody_is_named(|s, _| {
        s.handle_sources(ms(30), Ticket(0), SlotSet(0), SlotSet::one(Slot(1)));
    });
    assert!(seeks.contains(&failed), "{seeks:?}");
    // Who is not linked may be offline: it is named, or it is none.
    let other = when_nobody_is_named(|s, _| {
        s.handle_open(ms(30), Slot(2));
        s.handle_closed(ms(30), Slot(1));
    });
    assert_eq!(other, [failed]);
}

#[test]
fn another_device_is_linked_with_when_the_one_that_was_asked_is_silent() {
    let mut s = linked(&[1]);
    s.handle_fetch(ms(0), &small(0, &[1]), None);
    let (mut asked, mut dialled) = (vec![], vec![]);
    for at in (0..15_000).step_by(100) {
        if at == 5000 {
            s.handle_sources(ms(at), Ticket(0), SlotSet::one(Slot(2)), SlotSet(0));
        }
        s.handle_timeout(ms(at));
        for e in drain(&mut s, ms(at)) {
            match e {
                Effect::Dial(slot) => {
                    dialled.push((slot, at));
                    s.handle_open(ms(at), slot);
                }
                Effect::Ask(slot, Ask::Chunk { .. }) => asked.push((slot, at)),
                _ => {}
            }
        }
    }
    assert_eq!(dialled, [(Slot(2), 5000)]);
    assert_eq!(asked[0], (Slot(1), 0));
    assert!(asked.iter().any(|(slot, at)| *slot == Slot(2) && (5000..5200).contains(at)), "{asked:?}");
}
