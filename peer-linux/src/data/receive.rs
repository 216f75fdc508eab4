//! File bytes that come in: put together, verified, written to the part file. The hub's lock is held only to ask what
//! is expected and to tell what became of it.

use super::hub::{Deeds, Shared};
use dartsync_core::content::{ContentHasher, chunk_id, symlink_root};
use dartsync_core::data::Incoming;
use dartsync_core::data::swarm::{Body, Check, Expect};
use dartsync_core::ids::Slot;
use dartsync_core::limits::CHUNK_MAX;
use dartsync_core::record::Kind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two remarks that a body is still coming.
const REMARK: Duration = Duration::from_millis(200);

/// A link's receiving side.
pub struct Receiver {
    /// The body that is coming: its ask, what it should be (none: nobody wants it any more).
    coming: Option<(u32, Option<Expect>)>,
    whole: Vec<u8>,
    remarked: Instant,
}

impl Receiver {
    /// Nothing has come.
    pub fn new() -> Receiver {
        Receiver { coming: None, whole: Vec::new(), remarked: Instant::now() }
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
    /// A part of something is here: its source is slow, not dead.
    pub fn progress(&mut self, shared: &Arc<Shared>, slot: Slot) {
        if self.remarked.elapsed() >= REMARK {
            self.remarked = Instant::now();
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
            Incoming::None => return Ok(()),
            Incoming::Body(id, at, bytes) => (id, at, bytes),
            other => {
                self.drop_if_refused(&other);
                let mut hub = shared.hub();
                let now = shared.now();
                match other {
                    Incoming::Root(id, root) => hub.swarm.handle_root(now, slot, id, root),
                    Incoming::Refused(id, why) => hub.swarm.handle_refused(now, slot, id, why),
                    Incoming::Node(id, bytes) => {
                        if let Some(ticket) = hub.swarm.handle_node(now, slot, id, bytes) {
                            hub.add_leaves(ticket, bytes);
                        }
                    }
                    Incoming::None | Incoming::Body(..) => unreachable!("taken above"),
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
        if end > expect.len as usize {
            return Err("a longer body than was asked for");
        }
        if end < expect.len as usize {
            self.whole.reserve_exact(if at == 0 { CHUNK_MAX } else { 0 });
            self.whole.extend_from_slice(bytes);
            self.progress(shared, slot);
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
    let mut leaves = Vec::new();
    let good = verify(&expect.check, bytes, &mut leaves);
    let part = if good { shared.hub().part(expect.ticket) } else { None };
    let written = part.map(|p| p.write_all_at(bytes, expect.offset));
    let body = match written {
        _ if !good => Body::Bad,
        Some(Err(e)) => Body::Unwritten(e.raw_os_error().unwrap_or(nix::libc::EIO)),
        Some(Ok(())) | None => Body::Good,
    };
    let mut hub = shared.hub();
    hub.add_leaves(expect.ticket, &leaves);
    hub.body(shared.now(), slot, id, body);
    hub.drain(shared, deeds);
    Ok(())
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
