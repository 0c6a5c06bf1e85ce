use plugin_api::value::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `mcp:` the face for assistants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub paths: Paths,
    pub sessions: Sessions,
    /// Tools offered, as globs.
    pub tools: Vec<String>,
    /// Waits answer "still running" with the job id after this.
    pub wait_ceiling: Span,
    /// Comments on a stream, and progress where a token was given.
    pub heartbeat: Span,
    pub result: ResultSettings,
    /// Largest `full` image of `get_image_data` and the blocking profile.
    pub full_max: ByteSize,
    /// By the client's own name; the first hit counts.
    pub clients: Vec<ClientRule>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            paths: Paths::default(),
            sessions: Sessions::Auto,
            tools: vec!["*".into()],
            wait_ceiling: Span::secs(45),
            heartbeat: Span::secs(15),
            result: ResultSettings::default(),
            full_max: ByteSize::mib(10),
            clients: Vec::new(),
        }
    }
}

/// Paths on the public listener; `null` switches one off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    pub jobs: Option<String>,
    /// `GET` opens the old HTTP+SSE transport; `POST` is as on `jobs`.
    pub sse: Option<String>,
    /// Where clients of the old transport post; without it `sse` takes POSTs only.
    pub messages: Option<String>,
    pub blocking: Option<String>,
}

impl Default for Paths {
    fn default() -> Self {
        Paths {
            jobs: Some("/mcp".into()),
            sse: Some("/sse".into()),
            messages: Some("/messages".into()),
            blocking: Some("/mcp/v1/messages".into()),
        }
    }
}

/// Sessions of Streamable HTTP before 2026-07-28.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sessions {
    /// Every `initialize` of an MCP library opens one; nothing needs one.
    #[default]
    Auto,
    /// None: `GET` and `DELETE` answer 405.
    Off,
    /// A request of an older era without one answers 400.
    Required,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResultSettings {
    pub default: Return,
    /// Largest image inside an answer; `full` above it becomes a preview.
    pub inline_max: ByteSize,
    /// Longest side of a preview in pixels.
    pub preview_edge: u32,
}

impl Default for ResultSettings {
    fn default() -> Self {
        ResultSettings { default: Return::Preview, inline_max: ByteSize::kib(200), preview_edge: 1024 }
    }
}

/// How a finished image is handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Return {
    Link,
    #[default]
    Preview,
    Full,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientRule {
    /// A glob over `clientInfo.name`.
    #[serde(rename = "match")]
    pub matches: String,
    #[serde(default)]
    pub result: Option<Return>,
    #[serde(default)]
    pub inline_max: Option<ByteSize>,
    #[serde(default)]
    pub wait_ceiling: Option<Span>,
}
