//! File bytes that come in: put together, verified, written to the part file. The hub's lock is held only to ask what
//! is expected and to tell what became of it.

use super::deeds::Deeds;
use super::hub::{Patch, Shared};
use dartsync_core::content::{ContentHasher, chunk_id, symlink_root};
use dartsync_core::data::swarm::{Body, Check, Draft, Expect};
use dartsync_core::data::{Incoming, complete};
use dartsync_core::ids::Slot;
use dartsync_core::limits::CHUNK_MAX;
use dartsync_core::record::Kind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two remarks that a body is still coming.
const REMARK: Duration = Duration::from_millis(200);
/// So much of it must have come in between: a source that drips counts as one that brings nothing.
const STEADY: u64 = 4096;

/// A link's receiving side.
pub struct Receiver {
    /// The body that is coming: its ask, what it should be (none: nobody wants it any more).
    coming: Option<(u32, Option<Expect>)>,
    whole: Vec<u8>,
    remarked: Instant,
    /// Bytes of bodies that somebody waited for; and how many there were, with what was here of the next record, at the
    /// last remark.
    taken: u64,
    marked: u64,
}

impl Receiver {
    /// Nothing has come.
    pub fn new() -> Receiver {
        Receiver { coming: None, whole: Vec::new(), remarked: Instant::now(), taken: 0, marked: 0 }
    }
    /// Whether half a body is here.
    pub fn is_busy(&self) -> bool {
        matches!(self.coming, Some((_, Some(_))))
    }
    /// Nothing came for a while: gives memory back.
    pub fn tidy(&mut self) {
        if self.coming.is_none() {
            self.whole = Vec::new();
        }
    }
    /// So many bytes of the next record are here: its source is slow, not dead.
    pub fn progress(&mut self, shared: &Arc<Shared>, slot: Slot, part: usize) {
        let come = self.taken + part as u64;
        if come >= self.marked + STEADY && self.remarked.elapsed() >= REMARK {
            (self.remarked, self.marked) = (Instant::now(), come);
            let at = shared.now();
            shared.hub().swarm.handle_progress(at, slot);
        }
    }

    /// Takes what a record brought.
    pub fn take(
        &mut self,
        shared: &Arc<Shared>,
        slot: Slot,
        incoming: Incoming<'_>,
        deeds: &mut Deeds,
    ) -> Result<(), &'static str> {
        let (id, at, bytes) = match incoming {
            Incoming::None | Incoming::Have(_) => return Ok(()),
            Incoming::Body(id, at, bytes) => (id, at, bytes),
            Incoming::Pieces(id, list) => {
                pieces(shared, slot, id, list, deeds);
                return Ok(());
            }
            other => {
                self.drop_if_refused(&other);
                let mut hub = shared.hub();
                let now = shared.now();
                match other {
                    Incoming::Root(id, root) => hub.swarm.handle_root(now, slot, id, root),
                    Incoming::Refused(id, why) => hub.swarm.handle_refused(now, slot, id, why),
                    Incoming::Node(id, bytes) => hub.swarm.handle_node(now, slot, id, bytes),
                    Incoming::Short(id, names) => hub.swarm.handle_short(now, slot, id, names),
                    Incoming::None | Incoming::Have(_) | Incoming::Body(..) | Incoming::Pieces(..) => {
                        unreachable!("taken above")
                    }
                }
                hub.drain(shared, deeds);
                return Ok(());
            }
        };
        if at == 0 {
            self.whole.clear();
            self.coming = Some((id, shared.hub().swarm.expect(slot, id)));
        }
        let Some((_, expect)) = self.coming else { return Err("the middle of a body that never began") };
        let Some(expect) = expect else { return Ok(()) };
        let end = at as usize + bytes.len();
        let coming = expect.coming() as usize;
        if end > coming {
            return Err("a longer body than was asked for");
        }
        self.taken += bytes.len() as u64;
        if end < coming {
            self.whole.reserve_exact(if at == 0 { CHUNK_MAX } else { 0 });
            self.whole.extend_from_slice(bytes);
            self.progress(shared, slot, 0);
            return Ok(());
        }
        self.coming = None;
        if at == 0 {
            return finish(shared, slot, id, &expect, bytes, deeds);
        }
        self.whole.extend_from_slice(bytes);
        finish(shared, slot, id, &expect, &self.whole, deeds)
    }

    fn drop_if_refused(&mut self, incoming: &Incoming<'_>) {
        if matches!(incoming, Incoming::Refused(id, _) if self.coming.is_some_and(|(c, _)| c == *id)) {
            self.coming = None;
        }
    }
}

fn finish(
    shared: &Arc<Shared>,
    slot: Slot,
    id: u32,
    expect: &Expect,
    bytes: &[u8],
    deeds: &mut Deeds,
) -> Result<(), &'static str> {
    let body = match expect.missing {
        None => take(shared, expect, bytes),
        Some(_) => {
            let patch = shared.hub().take_patch(expect.ticket, expect.offset);
            let whole =
                patch.and_then(|(mut whole, missing)| complete(&mut whole, &missing, bytes).then_some(whole));
            whole.map_or(Body::Bad, |whole| take(shared, expect, &whole))
        }
    };
    let mut hub = shared.hub();
    hub.body(shared.now(), slot, id, body);
    hub.drain(shared, deeds);
    Ok(())
}

/// Checks a chunk or small content, and writes it.
fn take(shared: &Arc<Shared>, expect: &Expect, bytes: &[u8]) -> Body {
    let mut leaves = Vec::new();
    if !verify(&expect.check, bytes, &mut leaves) {
        return Body::Bad;
    }
    let (part, bank) = {
        let hub = shared.hub();
        (hub.part(expect.ticket), hub.bank(expect.ticket))
    };
    if let Some(bank) = bank {
        bank.tree().add_leaves(&leaves);
    }
    match part.map(|p| p.write_all_at(bytes, expect.offset)) {
        Some(Err(e)) => Body::Unwritten(e.raw_os_error().unwrap_or(nix::libc::EIO)),
        Some(Ok(())) | None => Body::Good,
    }
}

/// A list of pieces: puts the chunk together as far as it is here.
fn pieces(shared: &Arc<Shared>, slot: Slot, id: u32, list: &[u8], deeds: &mut Deeds) {
    let (piecemeal, bank) = {
        let hub = shared.hub();
        let Some(piecemeal) = hub.swarm.expect_pieces(slot, id) else { return };
        (piecemeal, hub.bank(piecemeal.expect.ticket))
    };
    let expect = &piecemeal.expect;
    let made: Option<Patch> = bank.and_then(|bank| bank.assemble(&piecemeal, list));
    let (draft, patch) = match made {
        None => (Draft::Useless, None),
        Some((whole, missing)) if missing.total() == 0 => (Draft::Whole(take(shared, expect, &whole)), None),
        Some(patch) => (Draft::Missing(patch.1), Some(patch)),
    };
    let mut hub = shared.hub();
    if let Some(patch) = patch {
        hub.keep_patch(expect.ticket, expect.offset, patch);
    }
    hub.swarm.handle_pieces(shared.now(), slot, id, draft);
    hub.drain(shared, deeds);
}

/// Whether these bytes are what was asked for; `leaves` gets the list of chunks of a whole content that has several.
fn verify(check: &Check, bytes: &[u8], leaves: &mut Vec<u8>) -> bool {
    match check {
        Check::Chunk(hash) => chunk_id(bytes) == *hash,
        Check::Whole(Kind::Symlink, content) => symlink_root(bytes).symlink_id() == *content,
        Check::Whole(_, content) => {
            let mut hasher = ContentHasher::new();
            hasher.update(bytes, |leaf| leaves.extend(leaf.encode()));
            let root = hasher.finish(|leaf| leaves.extend(leaf.encode()));
            if root.level == 0 {
                leaves.clear();
            }
            root.file_id() == *content
        }
    }
}
