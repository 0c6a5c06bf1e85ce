//! The normalised request of one vendor call: the union of what vendors understand, in one spelling.

use crate::Size;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A set of words, each with its spelling in JSON and in messages.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum $name { $(#[serde(rename = $word)] $variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// The variant spelled `text`, in any letter case.
            pub fn parse(text: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|v| v.as_str().eq_ignore_ascii_case(text.trim()))
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(
    /// How much effort the vendor puts in.
    Quality { Auto = "auto", Low = "low", Medium = "medium", High = "high", Xhigh = "xhigh", Max = "max" }
);
words!(
    /// Whether the image has an alpha channel.
    Background { Auto = "auto", Opaque = "opaque", Transparent = "transparent" }
);
words!(
    /// The container of the image.
    OutputFormat { Png = "png", Jpeg = "jpeg", Webp = "webp" }
);
words!(
    /// How strict the vendor's own filter is.
    Moderation { Auto = "auto", Low = "low" }
);

/// A reference image or a mask. The handle is what is kept in the job's row; the bytes are read from storage
/// just before the call.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The gateway's own name of the stored bytes.
    pub handle: String,
    /// Media type, sniffed when the bytes were stored.
    pub mime: String,
    pub width: u32,
    pub height: u32,
    #[serde(skip)]
    pub bytes: Bytes,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Input({}, {}, {}x{})", self.handle, self.mime, self.width, self.height)
    }
}

/// One vendor call. When it reaches a plugin it has been fitted to the model's
/// [`Capabilities`](crate::Capabilities): nothing is set that the model cannot do, and `size` is `Auto`, `Exact`
/// or a tier that the vendor itself knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageRequest {
    /// The vendor's name of the model.
    pub model: String,
    /// 1..=32,000 Unicode scalar values.
    pub prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    pub size: Size,
    /// Images of this one call, 1..=`Capabilities::max_n`.
    pub n: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// A style id of the model's own list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<Background>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_format: Option<OutputFormat>,
    /// 0..=100, JPEG and WebP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_compression: Option<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Input>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Input>,
    /// A visible "AI generated" mark. Vendors default to on, so a plugin always sends the value, `false` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moderation: Option<Moderation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_rewrite: Option<bool>,
    /// The end user for the vendor's abuse tracing; hashed before it gets here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Vendor options by the vendor's own names; only keys of `Capabilities::vendor_options`.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub vendor: serde_json::Map<String, serde_json::Value>,
}

impl ImageRequest {
    pub fn new(model: impl Into<String>, prompt: impl Into<String>) -> ImageRequest {
        ImageRequest { model: model.into(), prompt: prompt.into(), n: 1, ..Default::default() }
    }
}
