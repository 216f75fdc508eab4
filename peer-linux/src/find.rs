//! Where the tracker may be when no known address answers: a tracker on a board tells the local network.

use dartsync_core::ids::PublicKey;
use dartsync_hal::os::find_service;
use dartsync_tracker::signpost;
use std::net::SocketAddr;
use std::time::Duration;

/// Who does not answer by then is not there.
const WAIT: Duration = Duration::from_secs(1);

/// Addresses that the local network names for the tracker of that key: to be tried, not to be trusted. Takes a second
/// where nobody answers.
pub fn tracker(key: &PublicKey) -> Vec<SocketAddr> {
    find_service(signpost::SERVICE, &signpost::mark(key), WAIT)
}
