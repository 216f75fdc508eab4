//! What is true now, for commands.

use super::{Node, now};
use crate::control::{DeviceStatus, FolderStatus, Status, TrackerStatus, Traffic};
use crate::watch::LIMIT_HELP;
use crate::{control, ops};
use dartsync_core::peer::State;

impl Node {
    /// Where the tracker is, or was last.
    pub(super) fn tracker_address(&self) -> String {
        let known = self.tracker.address.map(|a| a.to_string());
        known.or_else(|| self.config.tracker.addresses.first().cloned()).unwrap_or_default()
    }

    /// `status`.
    pub(super) fn status(&mut self) -> Status {
        let folders = self.config.folders.clone();
        let folders = folders.iter().map(|f| self.folder_status(f)).collect();
        let (connected, version) = self.peer.tracker();
        let version = version.to_owned();
        let (peer_sent, peer_received) = self.fetcher.traffic();
        Status {
            device: self.config.name.clone(),
            tracker: TrackerStatus { connected, address: self.tracker_address(), version },
            folders,
            devices: self.devices(),
            traffic: Traffic {
                tracker_sent: self.tracker.traffic.0,
                tracker_received: self.tracker.traffic.1,
                peer_sent,
                peer_received,
            },
            limits: self.config.limits,
            notes: self.notes(),
        }
    }

    fn folder_status(&mut self, f: &crate::config::FolderConfig) -> FolderStatus {
        let mut status = FolderStatus {
            label: f.label.clone(),
            path: f.path.0.display().to_string(),
            state: State::Error.word().into(),
            ..FolderStatus::default()
        };
        let Some(view) = self.peer.folder_view(&mut self.store, now(), f.folder()) else { return status };
        // What the watches or a scan still have to say is a difference that is not known yet.
        let unread = view.state == State::InSync && (self.folders.has_more() || self.news.store_full);
        let state = if unread { State::Syncing } else { view.state };
        status.state = state.word().into();
        (status.files, status.bytes) = (view.files, view.bytes);
        (status.to_fetch, status.to_fetch_bytes) = (view.to_fetch, view.to_fetch_bytes);
        (status.to_announce, status.conflicts) = (view.to_announce, view.conflicts);
        status.errors = ops::errors(&mut self.store, f.folder());
        let mut whole = |cause: String| {
            status.errors.insert(0, control::PathError { path: ".".into(), cause });
        };
        if let Some(why) = self.folders.gone(f.folder()) {
            whole(why.to_owned());
        } else if view.root_gone {
            whole(ops::cause(dartsync_core::peer::Cause::RootGone));
        }
        if !view.member {
            whole("this device is no member of it in the home: unlink it, and link it again".into());
        }
        if state == State::Held {
            whole(format!("{} removals wait for `dartsync approve {}`", view.vanished, f.label));
        }
        if self.folders.is_limited(f.folder()) {
            whole(LIMIT_HELP.into());
        }
        status
    }

    fn devices(&self) -> Vec<DeviceStatus> {
        let others = self.peer.roster().devices().filter(|(_, d)| d.key != self.me);
        let status = others.map(|(_, d)| {
            let presence = self.peer.presence(d.id);
            DeviceStatus {
                name: d.name.to_string(),
                online: presence.is_some_and(|p| p.online),
                lag: presence.map_or(0, |p| p.lag),
            }
        });
        status.collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.news.revoked {
            notes.push("this device was revoked: it is out of the home, for ever; its files stay".into());
        }
        if self.news.twice {
            notes.push("the tracker sees this device run twice: enrol one of the two anew".into());
        }
        if self.news.store_full {
            notes.push(format!(
                "{}: the disk is full: nothing can be kept or announced",
                self.state.dir().display()
            ));
        }
        let (used, of) = self.peer.tracker_room();
        if of > 0 && u64::from(used) * 100 > u64::from(of) * 90 {
            notes.push(format!("the tracker holds {used} records of about {of}: run it with more --memory"));
        }
        notes.extend(self.requests.notes());
        notes
    }

    /// Whether this device is in sync: nothing is known, or may be unread, that is not.
    pub(super) fn in_sync(&mut self) -> bool {
        !self.folders.has_more() && !self.news.store_full && self.peer.in_sync(&mut self.store, now())
    }

    /// Whether the other devices that are online have applied everything.
    pub(super) fn others_level(&self) -> bool {
        self.devices().iter().all(|d| !d.online || d.lag == 0)
    }

    /// What is not in sync, a line each.
    pub(super) fn causes(&mut self, all: bool) -> Vec<String> {
        let status = self.status();
        let mut causes = Vec::new();
        if !status.tracker.connected {
            causes.push(format!("the tracker at {} is not connected", status.tracker.address));
        }
        for f in status.folders.iter().filter(|f| f.state != State::InSync.word()) {
            let (label, state) = (&f.label, &f.state);
            causes.push(format!("{label}: {state}: {} to fetch, {} to announce", f.to_fetch, f.to_announce));
            causes.extend(f.errors.iter().map(|e| format!("{label}/{}: {}", e.path, e.cause)));
        }
        if all {
            let behind = status.devices.iter().filter(|d| d.online && d.lag > 0);
            causes.extend(behind.map(|d| format!("{} is {} records behind", d.name, d.lag)));
        }
        causes.extend(status.notes);
        causes
    }
}
