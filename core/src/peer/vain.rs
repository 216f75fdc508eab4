//! Contents that others asked this device for in vain: it may have told the tracker that it has what it has not.
//!
//! What is known to be lost is told at once. Where a file is known to hold the content, a look at it tells the rest: most
//! often a user saves it anew. Else what was asked for may have gone without a trace, and all that is held is told again.
//! That is a walk through all rows and much to tell, so a device that goes on asking in vain makes it happen less and less
//! often, and keeps no other from it.

use super::index::Index;
use super::machine::Peer;
use super::trees::{Cause, Trees};
use crate::ids::{ContentId, Slot};
use crate::limits;
use crate::time::{Duration, Instant, Now};

/// How long after a content was asked for in vain all that is held is told again, once for all that came meanwhile.
const RESAY: Duration = Duration::secs(1);
/// How long at most, for a device that does not stop asking.
const SELDOM: Duration = Duration::secs(60);

/// When each device has made, or makes, all that is held be told again, and how long that was after it asked.
pub(super) struct Vain([(Instant, Duration); limits::DEVICES]);

impl Default for Vain {
    fn default() -> Self {
        Vain([(Instant(0), Duration(0)); limits::DEVICES])
    }
}

impl Vain {
    /// It asked in vain: when all is to be told.
    fn asked(&mut self, at: Instant, asker: Slot) -> Option<Instant> {
        let (due, pause) = self.0.get_mut(asker.0 as usize)?;
        if *due <= at {
            // For as long as it takes a quiet one to be heard again at once, it is remembered how often it asked.
            let goes_on = pause.0 > 0 && at.since(*due) < SELDOM;
            *pause = if goes_on { Duration((pause.0 * 2).min(SELDOM.0)) } else { RESAY };
            *due = at + *pause;
        }
        Some(*due)
    }
}

impl Peer {
    /// Whether all that is held is to be told again, now or when devices that asked in vain have been quiet for long enough.
    pub fn tells_again(&self) -> bool {
        self.folders.iter().any(|s| s.linked && s.resay_at.is_some())
    }

    /// A data link had to say that it has no more what it announced, to the device in that slot: the row is looked at, and
    /// the tracker told.
    pub fn handle_gone(&mut self, ix: &mut dyn Index, now: Now, asker: Slot, content: &ContentId) {
        self.forget_moved_content(content);
        let (mut after, mut found) = (None, false);
        for _ in 0..16 {
            let Some(row) = ix.with_content(content, after) else { break };
            after = Some(row);
            let folder = ix.path(row, &mut self.buf);
            let Some(f) = self.place_of(folder) else { continue };
            let Some(mut o) = self.open(ix, f, row) else { continue };
            found |= will_tell(&o.t);
            if let Some(seq) = self.has(&o.t) {
                self.note_lack(f, seq);
            }
            self.spoil(&mut o);
            if let Some(l) = &mut o.t.local {
                // No file has it: what stands there is hashed. (When it was looked at stays known, R13.)
                l.stat.ino = 0;
            }
            self.retry(ix, now, o);
        }
        // Which record it was asked for is not said; it may be one whose content went without a trace here.
        if !found && let Some(due) = self.vain.asked(now.at, asker) {
            for s in self.folders.iter_mut().filter(|s| s.linked && s.caught_up) {
                s.resay_at = Some(s.resay_at.map_or(due, |at| at.min(due)));
            }
        }
    }
}

/// Whether the file that is known to stand at a path will be looked at, and can be: then it is known what became of it.
fn will_tell(t: &Trees) -> bool {
    let stands = t.local.as_ref().is_some_and(|l| l.stat.kind == l.record.kind);
    stands && t.trouble.is_none_or(|(cause, _)| cause == Cause::Changing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;
    use crate::peer::rig::{F, Rig, content};
    use crate::peer::trees::Lane;
    use crate::record::Kind;

    /// How often all that is held was told again within so many seconds, while devices ask in vain every 100 ms.
    fn told(rig: &mut Rig, askers: &[u8], seconds: u64) -> u32 {
        let mut times = 0;
        for _ in 0..seconds * 10 {
            for asker in askers {
                rig.peer.handle_gone(&mut rig.ix, rig.now, Slot(*asker), &content("x"));
            }
            rig.peer.folders[0].have_sweep = None;
            rig.pass(Duration::millis(100));
            times += u32::from(rig.peer.folders[0].have_sweep.is_some());
        }
        times
    }

    #[test]
    fn who_goes_on_asking_in_vain_makes_all_be_told_seldom() {
        let mut rig = Rig::ready();
        let first = told(&mut rig, &[3], 600);
        assert!((13..=16).contains(&first), "{first} times in ten minutes");
        let next = told(&mut rig, &[3], 600);
        assert!((9..=11).contains(&next), "{next} times in the next");
        // Another one is heard at once, and so is that one when it has been quiet.
        assert_eq!(told(&mut rig, &[4], 2), 1);
        rig.pass(Duration::secs(130));
        assert_eq!(told(&mut rig, &[3], 2), 1);
    }

    #[test]
    fn what_a_file_is_known_to_hold_is_told_by_a_look_at_it() {
        let mut rig = Rig::ready();
        rig.has("f", Kind::File, "x");
        assert_eq!(told(&mut rig, &[3], 10), 0);
        assert_eq!(rig.lane("f"), Some(Lane::Look));
        // Found to have another content: if that device asks once more, it is for something else.
        rig.sees("f", Kind::File, "y");
        assert_eq!(told(&mut rig, &[3], 2), 1);
    }

    #[test]
    fn what_no_look_will_tell_is_told_all_the_same() {
        // In a trash alone.
        let mut rig = Rig::ready();
        rig.ix.add_trash(F, Path::new(b"1").expect("a name"), Kind::File, content("x"), 1);
        assert_eq!(told(&mut rig, &[3], 2), 1);
        // At a path that cannot be read, and at one where it is still to be made again.
        for unread in [true, false] {
            let mut rig = Rig::ready();
            rig.has("f", Kind::File, "x");
            let mut o = rig.peer.open_path(&mut rig.ix, 0, Path::new(b"f").expect("a path"));
            if unread {
                o.t.trouble = Some((Cause::Os(5), 0));
                o.t.stale = true;
            } else {
                o.t.local.as_mut().expect("it is there").stat.kind = Kind::Removed;
                o.t.disk_due = true;
            }
            rig.peer.close(&mut rig.ix, rig.now, o);
            assert_eq!(told(&mut rig, &[3], 2), 1, "unread: {unread}");
        }
    }
}
