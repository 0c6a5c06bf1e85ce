//! What the plugins of providers described in YAML (`http`, `mcp`) have in common: templates, pointers to what comes
//! back, what a model can do, what errors mean.

pub mod address;
pub mod errors;
pub mod images;
pub mod models;
pub mod pointer;
pub mod template;

use plugin_api::{ImageRequest, Size};

/// PNG of three or four bytes a pixel at its worst, in base64.
const BYTES_PER_PIXEL: u64 = 6;
const LEAST_CAP: u64 = 64 << 20;

/// Largest honest answer to a request, in bytes.
pub fn answer_cap(request: &ImageRequest) -> u64 {
    let pixels = match request.size {
        Size::Exact { width, height } => u64::from(width) * u64::from(height),
        _ => 0,
    };
    LEAST_CAP.max(pixels * u64::from(request.n.max(1)) * BYTES_PER_PIXEL)
}
