use std::process::ExitCode;

fn main() -> ExitCode {
    image_gateway::run(image_gateway::providers::builtin::PLUGINS)
}
