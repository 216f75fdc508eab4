//! This crate's own tests take the mutant's name from `DARTSYNC_MUTANT`.
#![cfg(feature = "mutants")]

use super::{Mutant, set};

pub(super) fn read() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let name = std::env::var("DARTSYNC_MUTANT").unwrap_or_default();
        if let Some((_, m)) = Mutant::ALL.iter().find(|m| m.0 == name) {
            set(Some(*m));
        }
    });
}
