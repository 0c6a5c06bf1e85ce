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
mod failpoint;
mod fit;
mod http;
mod lift;
mod paper;
mod price;
mod provider;
mod request;
mod size;
mod size_rule;
mod sniff;
mod spares;
mod spool;
pub mod value;

pub use answer::{Answer, Blob};
pub use capability::Capabilities;
pub use error::{ErrorClass, ProviderError, Retry, Spend};
pub use failpoint::failpoint;
pub use fit::{Fit, Parameters, Refusal};
pub use http::{Http, Listener, Part, Request, asked_wait, http_date, join_url, retry_after};
pub use price::{Price, PriceTable, Unit};
pub use provider::{
    Adjustment, Artifact, Basis, Built, Class, Context, Cost, Failed, Picture, Plugin, Progress, Provider,
    Source, Submission, Ticket, Usage, build_config,
};
pub use request::{Background, ImageRequest, Input, Moderation, OutputFormat, Quality};
pub use size::{Size, Tier};
pub use size_rule::{NamedSize, RATIOS, SizeRule};
pub use sniff::{Mime, Sniffed, sniff};
pub use spares::Spares;
pub use spool::{SpoolFile, adopt};
