//! The contract between the gateway and its provider plugins.
//!
//! A plugin is a crate that names only this one. It decodes, signs and maps: it turns an [`ImageRequest`] into
//! the vendor's call, sends it through [`Http`], and reads the vendor's [`Answer`]. It never retries, stores,
//! waits for a rate or logs a secret: retries, failover, budgets and files belong to the gateway.
//!
//! The value types of the configuration ([`value`]) live here too, because modules and plugins both read them.

mod answer;
mod capability;
mod error;
mod http;
mod lift;
mod price;
mod provider;
mod request;
mod size;
mod sniff;
mod spool;
pub mod value;

pub use answer::{Answer, Blob};
pub use capability::{Capabilities, Fit, Parameters, Refusal, SizeRule};
pub use error::{ErrorClass, ProviderError, Retry, Spend};
pub use http::{Http, Part, Request, asked_wait, join_url, retry_after};
pub use price::{Price, PriceTable, Unit};
pub use provider::{
    Adjustment, Artifact, Basis, Built, Class, Context, Cost, Failed, Picture, Plugin, Progress, Provider,
    Source, Submission, Ticket, Usage, build_config,
};
pub use request::{Background, ImageRequest, Input, Moderation, OutputFormat, Quality};
pub use size::{Size, Tier};
pub use sniff::{Mime, Sniffed, sniff};
pub use spool::{SpoolFile, adopt};
