//! Links between devices, and downloads from many of them at once.
//!
//! | piece | what it is |
//! |---|---|
//! | [`message`] | what travels: asks and answers, each answer named by the number of its ask |
//! | [`DataLink`] | one end of a link: the asks that wait to be served, the body that is coming in |
//! | [`Swarm`] | which part of which content is asked of whom |
//! | [`Turns`] | which of the devices that ask is served next |
//! | [`Limit`] | how many bytes may move in a second |
//!
//! File bytes never live here: the driver reads and writes them, and hashes chunks; it tells the machines how it went.

pub mod data_link;
mod have;
mod limit;
pub mod message;
mod ranges;
pub mod swarm;
mod turns;

pub use data_link::{DataLink, Form, Incoming, Work};
pub use limit::{LIMIT_MIN, Limit};
pub use message::{Answer, Ask, Have, Refusal};
pub use ranges::{Ranges, assemble, complete};
pub use swarm::Swarm;
pub use turns::Turns;
