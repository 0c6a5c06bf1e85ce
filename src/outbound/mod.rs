//! The way out: one client for vendors, whose addresses are the operator's word, and guarded downloads for URLs
//! that somebody else wrote (a vendor's result, a caller's reference).

mod address;
mod fetch;
mod guard;
mod hosts;
mod resolver;

pub use fetch::FetchError;
pub use guard::Guard;
pub use hosts::{BadHost, HostList};

use resolver::{Lookup, PublicOnly};
use std::{sync::Arc, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below what servers grant, so that no request meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(30);

/// The HTTP clients of the process. None follows a redirect, uses a proxy or sends a credential of its own.
#[derive(Clone)]
pub struct Clients {
    vendor: reqwest::Client,
    public_only: reqwest::Client,
}

/// The clients cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be built: {0}")]
pub struct ClientError(#[from] reqwest::Error);

impl Clients {
    /// Builds the clients. Needs no network; without certificates on the machine only plain http works.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new() -> Result<Clients, ClientError> {
        Clients::with_lookup(resolver::system())
    }

    fn with_lookup(lookup: Lookup) -> Result<Clients, ClientError> {
        // The first one stays; whoever was earlier chose the same.
        rustls::crypto::ring::default_provider().install_default().ok();
        let resolver = Arc::new(PublicOnly::new(lookup));
        Ok(Clients {
            vendor: build(|builder| builder)?,
            public_only: build(|builder| builder.dns_resolver(resolver.clone()))?,
        })
    }

    /// For the operator's own addresses: any host, any port.
    pub fn vendor(&self) -> &reqwest::Client {
        &self.vendor
    }
}

/// A client for the service that keeps the images, at the operator's own address. `authorities`: those of its
/// certificate, in PEM, besides the machine's.
///
/// # Errors
/// The authorities cannot be read, or the TLS library cannot be set up.
pub fn storage(authorities: Option<&[u8]>) -> Result<reqwest::Client, ClientError> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let authorities = authorities.map(reqwest::Certificate::from_pem_bundle).transpose()?.unwrap_or_default();
    Ok(build(
        |builder| {
            if authorities.is_empty() { builder } else { builder.tls_certs_merge(authorities.clone()) }
        },
    )?)
}

fn build(
    with: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, reqwest::Error> {
    let plain = || {
        with(reqwest::Client::builder())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .tcp_keepalive(IDLE)
            .user_agent(concat!("image-gateway/", env!("CARGO_PKG_VERSION")))
    };
    plain().build().or_else(|error| {
        let client = plain().tls_certs_only([]).build()?;
        tracing::error!(
            error = ?error,
            "the machine has no CA certificates: every https call will fail until they are installed"
        );
        Ok(client)
    })
}
