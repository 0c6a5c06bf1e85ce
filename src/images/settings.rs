use plugin_api::value::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `storage:` where images are kept and how they are handed out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `fs` (a folder), `s3` (and what speaks its language), `r2`, or `memory` (for a trial).
    pub kind: String,
    /// Which there are depends on `kind`.
    pub options: super::Options,
    pub delivery: Delivery,
    pub signed_url_ttl: Span,
    /// Where `delivery: base_url` finds the objects.
    pub base_url: Option<String>,
    /// Hosts besides public https addresses from which callers' reference URLs may come.
    pub reference_hosts: Vec<String>,
    /// Largest result, upload or reference.
    pub max_image: ByteSize,
    /// Most pixels of an image, width x height.
    pub max_pixels: u64,
    pub thumbnail: Thumbnail,
    pub spool: crate::spool::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        let options = super::Options { root: Some("images".into()), ..Default::default() };
        Settings {
            kind: "fs".into(),
            options,
            delivery: Delivery::Signed,
            signed_url_ttl: Span::secs(7 * 86_400),
            base_url: None,
            reference_hosts: Vec::new(),
            max_image: ByteSize::mib(32),
            max_pixels: 64_000_000,
            thumbnail: Thumbnail::default(),
            spool: crate::spool::Settings::default(),
        }
    }
}

/// How a caller gets at the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Links with a signature and an end.
    #[default]
    Signed,
    /// Unguessable names without an end.
    Public,
    /// Links of the object store itself.
    Presigned,
    /// `base_url` followed by the object's key.
    BaseUrl,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Thumbnail {
    /// Longest side in pixels.
    pub edge: u32,
    pub format: ThumbnailFormat,
}

impl Default for Thumbnail {
    fn default() -> Self {
        Thumbnail { edge: 512, format: ThumbnailFormat::Webp }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThumbnailFormat {
    #[default]
    Webp,
    Jpeg,
}
