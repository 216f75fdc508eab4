//! What somebody waits for goes before what is large or very many.

use super::Effect;
use super::Outcome;
use super::rig::Rig;
use super::state::BULK_INSTALLS;
use crate::ids::{Row, Slot, SlotSet};
use crate::limits::BULK;
use crate::record::Kind;
use std::format;
use std::string::String;
use std::vec::Vec;

impl Rig {
    /// Another device's file of that size is heard of.
    fn hears_of(&mut self, p: &str, size: u64) -> Row {
        self.hears(p, Kind::File, p);
        let mut o = self.open(p);
        let row = o.row;
        let record = &mut o.t.remote.as_mut().unwrap().record;
        (record.size, record.parent) = (size, o.t.synced.as_ref().map(|before| before.edit));
        // Heard of just now: its place in the to-do is found anew.
        o.due = None;
        self.peer.close(&mut self.ix, self.now, o);
        row
    }
    /// The rows that are begun, in order; who has them is asked of the tracker.
    fn begins(&mut self) -> Vec<String> {
        while self.effect().is_some() {}
        let rows: Vec<Row> = self.peer.jobs.iter().map(|j| j.row).collect();
        rows.into_iter().map(|row| self.path(row)).collect()
    }
}

#[test]
fn an_edit_goes_before_new_files_and_small_ones_before_large_ones() {
    let mut rig = Rig::ready();
    rig.has("edited", Kind::File, "before");
    for n in 0..20 {
        rig.hears_of(&format!("large{n:02}"), BULK + 1);
    }
    for n in 0..40 {
        rig.hears_of(&format!("new{n:02}"), BULK);
    }
    rig.hears_of("edited", 1);
    let begun = rig.begins();
    assert_eq!((&begun[0][..], &begun[1][..], &begun[40][..]), ("edited", "new00", "new39"));
    assert_eq!(begun.len(), 41 + BULK_INSTALLS, "{begun:?}");
    // Those that are large and under way keep no place from what comes then.
    rig.hears_of("late", 1);
    assert_eq!(rig.begins().last().map(|p| &p[..]), Some("late"));
}

#[test]
fn what_is_large_is_made_durable_behind_what_is_small() {
    for size in [BULK, BULK + 1] {
        let mut rig = Rig::ready();
        let row = rig.hears_of("file", size);
        rig.begins();
        rig.peer.sources(&mut rig.ix, rig.now, 0, row, SlotSet(0), SlotSet::one(Slot(9)));
        let effects = |rig: &mut Rig| core::iter::from_fn(|| rig.effect()).collect::<Vec<Effect>>();
        let fetch = effects(&mut rig).into_iter().find_map(|e| match e {
            Effect::Fetch { ticket, .. } => Some(ticket),
            _ => None,
        });
        rig.done(fetch.expect("it is fetched"), Outcome::Ready);
        let prepared = effects(&mut rig).into_iter().find_map(|e| match e {
            Effect::Prepare { bulk, .. } => Some(bulk),
            _ => None,
        });
        assert_eq!(prepared, Some(size > BULK));
    }
}
