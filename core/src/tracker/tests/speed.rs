//! How fast records fan out. Run by hand, optimised:
//! `cargo test -p dartsync-core --config profile.dev.opt-level=3 tracker::tests::speed -- --ignored --nocapture`

use super::*;
use std::format;
use std::time::Instant as Clock;

const READERS: usize = 8;

#[test]
#[ignore = "measures; run by hand"]
fn updates_fanned_out_to_eight() {
    let mut h = Home::of(config(Past::New), 64 << 20);
    for i in 0..=READERS {
        h.join(i);
        h.link(i, "f");
        h.seen(i, Seq(0));
        h.told(i);
    }
    h.clear();
    let links: List<LinkId> = h.clients.iter().map(|c| c.link.unwrap()).collect();
    let mut frames = vec![];
    for n in 0..2000u64 {
        let files: List<_> = (0..50u64)
            .map(|k| {
                let id = n * 50 + k;
                (
                    format!("some/directory/of/files/{:03}/{id:032}", id % 1000),
                    file(1, edit(10, 100 + id), None),
                )
            })
            .collect();
        let all: List<_> = files.iter().map(|(p, r)| (p.as_str(), r, HELD)).collect();
        frames.push(batch(F, &all));
    }
    let (mut out, mut bytes) = (vec![0; limits::FRAME], 0);
    for round in ["new", "again"] {
        let start = Clock::now();
        for f in &frames {
            h.t.handle_frame(h.now, links[0], f).unwrap();
            for link in &links {
                loop {
                    match h.t.poll_transmit(h.now, *link, &mut out) {
                        Sent::Frame(n) => bytes += n,
                        Sent::Again => {}
                        Sent::Idle => break,
                    }
                }
            }
        }
        let took = start.elapsed();
        let rate = 100_000.0 / took.as_secs_f64();
        std::println!("{round}: {rate:.0} announcements/s to {READERS} readers, {bytes} bytes in all");
    }
}
