//! What was asked for in vain, until the driver takes it. Bounded for each device: one that asks for what nobody has takes
//! no memory, and no room from others.

use dartsync_core::ids::{ContentId, Slot};
use std::sync::Mutex;

/// Contents that are kept of a device; it will ask again for what is not.
const EACH: usize = 16;

/// See the module.
#[derive(Default)]
pub struct Gone(Mutex<Vec<(Slot, ContentId)>>);

impl Gone {
    /// That device asked for it in vain; whether the driver is to be told that there is something.
    pub fn add(&self, asker: Slot, content: ContentId) -> bool {
        let mut all = self.0.lock().expect("no thread panics with it");
        let of_it = all.iter().filter(|(slot, _)| *slot == asker).count();
        if of_it >= EACH || all.contains(&(asker, content)) {
            return false;
        }
        all.push((asker, content));
        all.len() == 1
    }

    /// Takes it all.
    pub fn take(&self) -> Vec<(Slot, ContentId)> {
        std::mem::take(&mut *self.0.lock().expect("no thread panics with it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_asks_for_all_there_is_not_keeps_no_other_out() {
        let gone = Gone::default();
        let id = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_le_bytes());
            ContentId(id)
        };
        let told = (0..10_000).filter(|n| gone.add(Slot(1), id(n / 2))).count();
        assert_eq!(told, 1);
        assert!(!gone.add(Slot(2), id(3)), "the driver was told");
        let all = gone.take();
        assert_eq!((all.len(), all.last()), (EACH + 1, Some(&(Slot(2), id(3)))));
        assert!(gone.add(Slot(1), id(0)) && gone.take().len() == 1);
    }
}
