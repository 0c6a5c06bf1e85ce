//! The gateway with one more kind of provider, `vendor`, for stories about classes that no plugin of the product
//! has yet. Nothing of it is in the product.

mod vendor;

use image_gateway::providers::builtin;
use plugin_api::Plugin;
use std::{process::ExitCode, sync::LazyLock};

static PLUGINS: LazyLock<Vec<Plugin>> =
    LazyLock::new(|| builtin::PLUGINS.iter().copied().chain([vendor::PLUGIN]).collect());

fn main() -> ExitCode {
    image_gateway::run(&PLUGINS)
}
