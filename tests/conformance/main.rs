//! The gateway with what the official conformance suite wants to find beside its own tools. Transports, eras and
//! dispatcher are the product's; nothing of this is in the product.

mod asking;
mod fixtures;
mod tasks;

use image_gateway::providers::builtin;
use std::process::ExitCode;

fn main() -> ExitCode {
    image_gateway::run_with(builtin::PLUGINS, Some(&fixtures::FIXTURES))
}
