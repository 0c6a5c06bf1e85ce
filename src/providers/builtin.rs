//! The plugins of this build. Adding one is a line here and a dependency.

use plugin_api::Plugin;

pub const PLUGINS: &[Plugin] = &[
    plugin_openai::PLUGIN,
    plugin_workers_ai::PLUGIN,
    plugin_hunyuan::PLUGIN,
    plugin_doubao::PLUGIN,
    plugin_qwen::PLUGIN,
    plugin_gemini::PLUGIN,
    plugin_http::PLUGIN,
    plugin_mcp::PLUGIN,
    plugin_placeholder::PLUGIN,
];
