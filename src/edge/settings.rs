use plugin_api::value::{ByteSize, OneOrMany, Secret, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `server:` listeners and what they let through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Addresses for HTTP/1.1 and h2c. Not loopback needs `tls` or `insecure: true`.
    pub listen: OneOrMany<String>,
    /// What links, metadata and client snippets say. Default: http:// and the bound address.
    pub public_url: Option<String>,
    /// /metrics, /livez, /readyz; never public. Not set and taken: a free port.
    pub admin_listen: Option<String>,
    /// At least 32 bytes, the same on every node. Empty: made in the data directory.
    pub secret: Secret,
    pub secret_file: Option<String>,
    /// They still verify after a change.
    pub previous_secrets: Vec<Secret>,
    pub tls: Option<Tls>,
    /// A public address without TLS is meant.
    pub insecure: bool,
    /// Besides the host of `public_url`.
    pub allowed_hosts: Vec<String>,
    /// Exact `scheme://host:port`, or `*`. Besides same origin and loopback.
    pub allowed_origins: Vec<String>,
    /// CIDRs whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<String>,
    pub shutdown_grace: Span,
    pub limits: RequestLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: OneOrMany::Many(vec!["127.0.0.1:8000".into()]),
            public_url: None,
            admin_listen: None,
            secret: Secret::default(),
            secret_file: None,
            previous_secrets: Vec::new(),
            tls: None,
            insecure: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            shutdown_grace: Span::secs(30),
            limits: RequestLimits::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub cert_file: String,
    pub key_file: String,
}

/// Caps on one request and one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestLimits {
    pub headers: ByteSize,
    pub header_fields: u32,
    pub uri: ByteSize,
    pub body: ByteSize,
    /// Bodies over 256 KiB at work at the same time; more of them wait.
    pub bodies: ByteSize,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Span,
    /// Longest pause inside a body.
    pub body_idle_timeout: Span,
    /// Longest pause between two requests of a connection.
    pub idle_timeout: Span,
    pub connections: u32,
    pub streams_per_principal: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits {
            headers: ByteSize::kib(16),
            header_fields: 100,
            uri: ByteSize::kib(8),
            body: ByteSize::mib(20),
            bodies: ByteSize::mib(32),
            header_timeout: Span::secs(10),
            body_idle_timeout: Span::secs(30),
            idle_timeout: Span::secs(75),
            connections: 20_000,
            streams_per_principal: 64,
        }
    }
}
