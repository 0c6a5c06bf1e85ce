//! Value types of the configuration: one spelling each, read from text, shown back the same way.
//!
//! All of them deserialise from YAML or JSON text, refuse anything else with a sentence that shows the accepted
//! form, and describe themselves to `image-gateway schema config`.

mod limits;
mod money;
mod rate;
mod secret;
mod size;
mod span;

pub use limits::{Limits, OneOrMany};
pub use money::Money;
pub use rate::{CountWindow, Rate, SpendWindow, WindowUnit};
pub use secret::Secret;
pub use size::ByteSize;
pub use span::Span;

/// A value was written in a form that is not accepted; the text says which forms are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub String);

/// Serde and JSON Schema by way of `FromStr` and `Display`, for a type that is written as text.
macro_rules! text_value {
    ($name:ident, $pattern:literal, $about:literal) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        }
    };
}
pub(crate) use text_value;

/// Splits `12.5MiB` or `12.5 MiB` into its number and its unit.
fn number_and_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}
