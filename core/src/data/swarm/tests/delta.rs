//! What changed alone travels, when an older version is here.

use super::*;

/// Fetches an edited version over an old one of 8 MiB from two honest sources; the bytes that came.
fn travels(edit: impl FnOnce(&mut Vec<u8>), setup: impl FnOnce(&mut World)) -> usize {
    let mut w = World::new();
    let from = SlotSet(w.peer(1, Manner::Honest, FAST).0 | w.peer(2, Manner::Honest, FAST).0);
    let mut bytes = random(7, 8 << 20);
    let old = w.content_of(bytes.clone());
    edit(&mut bytes);
    let new = w.content_of(bytes);
    setup(&mut w);
    w.fetch_over(1, new, from, 0, Some(old));
    w.run(60 * SECOND);
    assert!(w.is_whole(1, new), "{:?}", w.ends);
    assert!(w.named.is_empty() && w.drafts.is_empty());
    assert!(w.now < 2 * SECOND, "nothing waits for a timeout: {} ms", w.now / MS);
    w.traffic
}

#[test]
fn a_small_edit_of_a_large_file_is_a_small_transfer() {
    assert!(travels(|b| b.insert(0, 1), |_| ()) < 8 << 10);
    assert!(travels(|b| b[4 << 20..][..4096].fill(9), |_| ()) < 14 << 10);
    let moved = travels(|b| b.rotate_left(2 << 20), |_| ());
    assert!(moved < 4 << 10, "{moved}");
    assert!(travels(|b| b.truncate(5 << 20), |_| ()) < 8 << 10);
    assert!(travels(|b| b.extend(random(8, 10_000)), |_| ()) < 24 << 10);
    assert_eq!(travels(|b| b.extend([0; 0]), |_| ()), 0, "the same");
}

#[test]
fn old_bytes_that_are_cut_elsewhere_now_do_not_travel_nor_do_names_of_their_pieces() {
    let moved = (1..=8).map(|n| travels(|b| b.rotate_left(n * 777_777), |_| ())).sum::<usize>();
    assert!(moved < 8 * 3500, "{moved}: of each, one chunk's pieces and what stands around the seam in it");
}

#[test]
fn many_small_edits_of_one_chunk_travel_as_ranges() {
    let edit = |b: &mut Vec<u8>| (0..40).for_each(|i| b[(2 << 20) + i * 5000] ^= 1);
    let bytes = travels(edit, |_| ());
    assert!(bytes < 150 << 10, "{bytes} of at least 200,000 that stand between the first and the last");
}

#[test]
fn pieces_of_one_name_and_other_bytes_cost_a_whole_chunk_and_nobody_is_blamed() {
    let bytes = travels(|b| b.insert(0, 1), |w| w.muddled = true);
    assert!(bytes > limits::CHUNK_MIN, "{bytes}");
}

#[test]
fn a_file_that_was_rewritten_soon_travels_whole() {
    let new = random(70, 8 << 20);
    let bytes = travels(|b| b.copy_from_slice(&new), |_| ());
    assert!((8 << 20..(8 << 20) + (64 << 10)).contains(&bytes), "{bytes}");
}

#[test]
fn a_small_file_travels_in_pieces_too() {
    let mut w = World::new();
    let from = w.peer(1, Manner::Honest, FAST);
    let mut bytes = random(3, 200_000);
    let old = w.content_of(bytes.clone());
    bytes[100_000] ^= 1;
    let new = w.content_of(bytes.clone());
    w.fetch_over(1, new, from, 0, Some(old));
    w.run(10 * SECOND);
    assert!(w.is_whole(1, new) && w.traffic < 8 << 10, "{}", w.traffic);
    w.fetch_over(2, old, from, 0, Some(old));
    w.run(10 * SECOND);
    let other = w.content(4, 200_000);
    w.fetch_over(3, other, from, 0, Some(old));
    w.run(10 * SECOND);
    assert!(w.is_whole(3, other) && w.traffic > 200_000);
}

/// Edits, liars and vanishing sources at random: what has an honest source comes whole, whatever the others do.
#[test]
fn any_weather_over_an_old_version() {
    for seed in 0..60u64 {
        let mut rng = Rng::from_seed(*blake3::hash(&seed.to_le_bytes()).as_bytes());
        let mut below = |n: u64| rng.next_u64() % n;
        let mut w = World::new();
        w.muddled = below(8) == 0;
        let mut from = w.peer(40, Manner::Honest, 1 << 20);
        for slot in 0..below(4) as u8 {
            let manner = match below(5) {
                0 => Manner::Lying(1 + below(5) as u32),
                1 => Manner::Silent,
                2 => Manner::Empty,
                3 => Manner::Busy,
                _ => Manner::Honest,
            };
            from.0 |= w.peer(slot, manner, 1 << (14 + below(14))).0;
            if below(2) == 0 {
                w.later(below(SECOND), Fact::Vanish(Slot(slot), Manner::Away));
            }
        }
        let mut bytes = random(seed, 1 << (12 + below(11)));
        let old = w.content_of(bytes.clone());
        for _ in 0..1 + below(12) {
            let at = below(bytes.len() as u64) as usize;
            match below(3) {
                0 => bytes.insert(at, 1),
                1 => _ = bytes.remove(at),
                _ => bytes[at] ^= 1,
            }
        }
        let new = w.content_of(bytes);
        w.fetch_over(1, new, from, 0, Some(old));
        w.run(3600 * SECOND);
        assert!(w.is_whole(1, new), "seed {seed}: {:?}", w.ends);
        assert!(w.swarm.flights.iter().next().is_none() && w.swarm.patches.has_room());
    }
}
