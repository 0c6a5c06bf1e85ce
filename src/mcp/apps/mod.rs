//! MCP Apps, the extension `io.modelcontextprotocol/ui` of 2026-01-26: a page that shows the images of a tool's result,
//! for hosts that render one. Only clients that declare it are told of it.

use super::{call::Profile, tools::Tool};
use serde::Serialize;
use serde_json::Value;

pub const MIME: &str = "text/html;profile=mcp-app";
pub const URI: &str = "ui://image-gateway/gallery";
/// Self-contained: it loads no script, style or font.
pub const PAGE: &str = include_str!("gallery.html");

/// Whether a client with these capabilities renders such pages.
pub fn renders(capabilities: Option<&Value>) -> bool {
    let types = capabilities.and_then(|all| {
        all.get("extensions")?.get("io.modelcontextprotocol/ui")?.get("mimeTypes")?.as_array()
    });
    types.is_some_and(|types| types.iter().any(|mime| mime == MIME))
}

/// `_meta` of a tool whose results the page shows.
#[derive(Serialize)]
pub struct ToolMeta {
    ui: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    resource_uri: &'static str,
}

/// Of the tools that answer with finished images.
pub fn shown(tool: Tool, profile: Profile) -> Option<ToolMeta> {
    let with_images = match tool {
        Tool::GenerateImageAndWait | Tool::WaitForCompletion | Tool::ListGenerations | Tool::GetImageData => {
            true
        }
        Tool::GenerateImage | Tool::EditImage => profile == Profile::Blocking,
        _ => false,
    };
    with_images.then_some(ToolMeta { ui: Shown { resource_uri: URI } })
}

/// `_meta` of the page: what it may load, and how it looks.
#[derive(Debug, Serialize)]
pub struct PageMeta {
    ui: Page,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    csp: Csp,
    prefers_border: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Csp {
    /// Where images are linked to.
    resource_domains: Vec<String>,
}

impl PageMeta {
    pub fn new(origins: Vec<String>) -> PageMeta {
        PageMeta { ui: Page { csp: Csp { resource_domains: origins }, prefers_border: false } }
    }
}
