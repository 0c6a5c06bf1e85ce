//! The conformance suite of provider plugins, and a scriptable fake upstream.
//!
//! A plugin's test implements [`Subject`] and calls [`conformance`] (every recorded case of a fixtures folder) and
//! [`faults`] (what a network and a broken vendor do, the same for all). [`FakeUpstream`] stands alone too: it is a
//! real server on a real socket, so a whole gateway can be pointed at it, and so does [`BucketServer`]. [`Issuer`] signs
//! tokens and publishes its keys.

// Everything here runs in tests only: a broken fixture should stop them on the spot.
#![allow(clippy::unwrap_used)]

mod any;
mod behaviour;
mod bench;
mod bucket;
mod compare;
mod conformance;
mod faults;
mod issuer;
mod pages;
mod upstream;
mod wire;

pub use any::{any_answer, could_succeed};
pub use behaviour::{Behaviour, Reply};
pub use bench::{Bench, answer};
pub use bucket::{BucketServer, BucketTrouble};
pub use conformance::{Call, Subject, conformance};
pub use faults::faults;
pub use issuer::{Issuer, SigningKey};
pub use pages::{block, example};
pub use upstream::{FakeUpstream, dead_url};
pub use wire::{Recorded, SeenPart};

/// The credential that every instance under test is built with: it must never be seen in a message.
pub const CANARY: &str = "sk-canary-4b1f93d07c";
