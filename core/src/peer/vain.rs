//! Contents that others asked this device for in vain: it may have told the tracker that it has what it has not.
//!
//! What is known to be lost is told at once. All that is held is told again, too, for what was asked for may have gone
//! without a trace; that is a walk through all rows and much to tell, so a device that goes on asking in vain makes it
//! happen less and less often, and keeps no other from it.

use super::index::Index;
use super::machine::Peer;
use crate::ids::{ContentId, Slot};
use crate::limits;
use crate::time::{Duration, Instant, Now};

/// How long after a content was asked for in vain all that is held is told again, once for all that came meanwhile.
const RESAY: Duration = Duration::secs(1);
/// How long at most, for a device that does not stop asking.
const SELDOM: Duration = Duration::secs(600);

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
        // Which record it was asked for is not said; it may be one whose content went without a trace here.
        if let Some(due) = self.vain.asked(now.at, asker) {
            for s in self.folders.iter_mut().filter(|s| s.linked && s.caught_up) {
                s.resay_at = Some(s.resay_at.map_or(due, |at| at.min(due)));
            }
        }
        let mut after = None;
        for _ in 0..16 {
            let Some(row) = ix.with_content(content, after) else { return };
            after = Some(row);
            let folder = ix.path(row, &mut self.buf);
            let Some(f) = self.place_of(folder) else { continue };
            let Some(mut o) = self.open(ix, f, row) else { continue };
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::rig::Rig;

    /// How often all that is held was told again within so many seconds, while devices ask in vain every 100 ms.
    fn told(rig: &mut Rig, askers: &[u8], seconds: u64) -> u32 {
        let mut times = 0;
        for _ in 0..seconds * 10 {
            for asker in askers {
                rig.peer.handle_gone(&mut rig.ix, rig.now, Slot(*asker), &ContentId([7; 32]));
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
        let hour = told(&mut rig, &[3], 3600);
        assert!((9..=16).contains(&hour), "{hour} times in an hour");
        let second = told(&mut rig, &[3], 3600);
        assert!((5..=7).contains(&second), "{second} times in the next");
        // Another one is heard at once, and so is that one when it has been quiet.
        assert_eq!(told(&mut rig, &[4], 2), 1);
        rig.pass(Duration::secs(1300));
        assert_eq!(told(&mut rig, &[3], 2), 1);
    }
}
