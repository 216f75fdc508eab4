//! Invites: few outstanding, each for one hour and one device. Kept in memory alone; a used one stays until its hour is
//! over, so that a `join` that broke off can be repeated with its code, which then takes nobody in again.

use crate::ids::{InviteId, PublicKey};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use heapless::Vec;

/// How many may be outstanding.
pub(super) const INVITES: usize = 16;
/// How long each is good for.
const LIFE: Duration = Duration::secs(3600);

struct Invite {
    id: InviteId,
    secret: [u8; 16],
    /// The device that asked for it; none: the founding one.
    by: PublicKey,
    /// None: until it is used.
    until: Option<Instant>,
    used: bool,
}

/// See the module.
pub(super) struct Invites(Vec<Invite, { 2 * INVITES + 1 }>);

impl Invites {
    pub(super) const fn new() -> Self {
        Invites(Vec::new())
    }
    /// Makes one for an hour; none if too many are outstanding.
    pub(super) fn issue(
        &mut self,
        now: Instant,
        by: PublicKey,
        rng: &mut Rng,
    ) -> Option<(InviteId, [u8; 16])> {
        self.0.retain(|i| i.until.is_none_or(|u| u > now));
        if self.0.iter().filter(|i| !i.used && i.until.is_some()).count() == INVITES {
            return None;
        }
        Some(self.add(Some(now + LIFE), by, rng))
    }
    /// Makes the invite of a new home, which ends when it is used.
    pub(super) fn found(&mut self, rng: &mut Rng) {
        assert!(self.founding().is_none(), "one founding invite");
        self.add(None, PublicKey::default(), rng);
    }
    /// The invite of a new home.
    pub(super) fn founding(&self) -> Option<(InviteId, [u8; 16])> {
        self.0.iter().find(|i| i.until.is_none()).map(|i| (i.id, i.secret))
    }
    /// The secret of an invite that is good, or was used within its hour.
    pub(super) fn secret(&self, now: Instant, id: InviteId) -> Option<[u8; 16]> {
        self.0.iter().find(|i| i.id == id && i.until.is_none_or(|u| u > now)).map(|i| i.secret)
    }
    /// Whether an invite can take a device in.
    pub(super) fn is_good(&self, now: Instant, id: InviteId) -> bool {
        self.0.iter().any(|i| i.id == id && !i.used && i.until.is_none_or(|u| u > now))
    }
    /// Uses a good invite up: who had asked for it.
    pub(super) fn take(&mut self, now: Instant, id: InviteId) -> PublicKey {
        assert!(self.is_good(now, id), "checked before");
        let invite = self.0.iter_mut().find(|i| i.id == id).expect("a good invite is there");
        invite.used = true;
        invite.until.get_or_insert(now + LIFE);
        invite.by
    }
    /// Ends all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn add(&mut self, until: Option<Instant>, by: PublicKey, rng: &mut Rng) -> (InviteId, [u8; 16]) {
        let id = core::iter::repeat_with(|| InviteId(rng.next_u32()))
            .find(|id| id.0 != 0 && self.0.iter().all(|i| i.id != *id))
            .expect("most numbers are free");
        if self.0.is_full() {
            let used = self.0.iter().position(|i| i.used).expect("no more than 17 are unused");
            self.0.remove(used);
        }
        let secret = rng.bytes();
        assert!(self.0.push(Invite { id, secret, by, until, used: false }).is_ok(), "room was made");
        (id, secret)
    }
}
