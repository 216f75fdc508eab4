//! What a run came to see: states worth reaching, whatever led there.

use super::world::World;
use dartsync_core::peer::{Cause, Effect, Outcome};
use dartsync_core::wire::message::{ToPeer, decode};

/// A state that a run can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// A device made, or planned, a conflict copy.
    ConflictCopy,
    /// A content that nobody had was withdrawn (R9a).
    Withdrawn,
    /// A crash cut a swap short, and a recovery looked what it left (R11).
    Recovery,
    /// A swap displaced what nobody expected: a save at the last instant.
    LastInstant,
    /// A file that was open for writing was not displaced (R12).
    OpenWriter,
    /// A burst of removals was held until its user approved it.
    Held,
    /// A disk had no room for an act.
    NoSpace,
    /// The power failed.
    PowerCut,
    /// The power failed, and a file was torn.
    Torn,
    /// A tracker lost its table.
    TrackerLost,
    /// A tracker lost its roster, too.
    RosterLost,
    /// A store was lost.
    StoreLost,
    /// A store was one of before.
    RolledBack,
    /// A device was told to take a new tag (R4).
    NewTag,
    /// A device was told to wait with that: it seems to run twice (R4).
    Twice,
    /// A device was put out.
    Revoked,
    /// A device came to a home that was at work.
    LateJoiner,
    /// A folder was paused.
    Paused,
    /// Some disk does not keep every mode.
    MaskedModes,
    /// A folder was unlinked, and linked again.
    Relinked,
}

/// All of them.
pub const STATES: [State; 20] = [
    State::ConflictCopy,
    State::Withdrawn,
    State::Recovery,
    State::LastInstant,
    State::OpenWriter,
    State::Held,
    State::NoSpace,
    State::PowerCut,
    State::Torn,
    State::TrackerLost,
    State::RosterLost,
    State::StoreLost,
    State::RolledBack,
    State::NewTag,
    State::Twice,
    State::Revoked,
    State::LateJoiner,
    State::Paused,
    State::MaskedModes,
    State::Relinked,
];

/// Those that a run has reached.
pub type Reached = [bool; STATES.len()];

const ENOSPC: i32 = 28;

impl World<'_> {
    pub(super) fn reach(&mut self, s: State) {
        self.reached[s as usize] = true;
    }
    pub(super) fn notice_effect(&mut self, e: &Effect) {
        match e {
            Effect::Recover { .. } => self.reach(State::Recovery),
            Effect::Keep { .. } => self.reach(State::LastInstant),
            _ => {}
        }
    }
    pub(super) fn notice_outcome(&mut self, o: &Outcome) {
        match o {
            Outcome::Failed(Cause::Os(ENOSPC)) => self.reach(State::NoSpace),
            Outcome::Failed(Cause::OpenWriter) => self.reach(State::OpenWriter),
            _ => {}
        }
    }
    /// A frame of the tracker's.
    pub(super) fn notice_frame(&mut self, frame: &[u8]) {
        // Few frames are that short.
        if frame.len() < 8 && matches!(decode(frame), Some(ToPeer::NewTag { .. })) {
            self.reach(State::NewTag);
        }
    }
}
