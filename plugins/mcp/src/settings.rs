//! The description of a server and its tool.

use plugin_api::{
    ErrorClass,
    value::{OneOrMany, Secret, Span},
};
use plugin_declared::{errors::Errors, images::Images, models::Model};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Another MCP server whose tool makes images. Texts of arguments may hold placeholders such as `{prompt}`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Mcp")]
pub struct Settings {
    /// The server's address (streamable HTTP); any address, also inside. Or `command`.
    pub url: Option<String>,
    /// Sent as `Authorization: Bearer`. Empty: the instance is off. Left out: the server wants none.
    #[serde(default)]
    #[schemars(with = "Secret")]
    pub bearer: Option<Secret>,
    /// Further headers of every call. An empty one switches the instance off.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// A program that speaks MCP on its standard input and output, instead of `url`. It is started at the first call,
    /// again when it ended, and ends with the instance.
    pub command: Option<String>,
    #[serde(default)]
    pub args: Vec<String>,
    /// The program's environment; of the gateway's own it gets PATH and HOME. An empty value switches the instance off.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// The tool that makes the image, and may cost something.
    pub tool: String,
    /// Its arguments. A lone placeholder keeps its type; one without a value leaves its argument out. Default:
    /// `{prompt: "{prompt}"}`.
    #[serde(default = "prompt_only")]
    pub arguments: Map<String, Value>,
    /// JSON pointer to the ticket in the tool's answer, where it only takes a job. The image is then polled for, also
    /// after a crash (class J).
    pub ticket: Option<String>,
    /// How to ask for the image, where there is a ticket.
    pub poll: Option<Poll>,
    /// Where the images are in structured content, or in the text where that is JSON. Left out, or when nothing is
    /// there: the image blocks of the answer, else its resources, else what its resource links lead to.
    pub images: Option<Images>,
    /// Follows resource links also where there are image blocks, which are then only previews.
    #[serde(default)]
    pub links_first: bool,
    /// What errors mean.
    #[serde(default)]
    pub errors: Errors,
    /// The server charges for calls that failed: then none is made again by itself.
    #[serde(default)]
    pub failed_costs: bool,
    /// What can be asked for, the default first. Default: one model of the tool's name.
    #[serde(default)]
    pub models: Vec<Model>,
    /// The model of a request that names none. Default: the first.
    pub default_model: Option<String>,
    /// Hosts that result URLs and resource links may name.
    #[serde(default)]
    pub result_hosts: Vec<String>,
}

fn prompt_only() -> Map<String, Value> {
    Map::from_iter([("prompt".to_owned(), "{prompt}".into())])
}

/// Asking for the image behind a ticket.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "McpPoll")]
pub struct Poll {
    /// The tool that tells how far it is.
    pub tool: String,
    /// Its arguments; `{ticket}` is the ticket.
    pub arguments: Map<String, Value>,
    /// JSON pointer to the word that says how far it is.
    pub status: String,
    /// Words that mean done. All other words, and no word, mean not yet.
    pub done: OneOrMany<String>,
    /// Words that mean failed, each with what that is.
    #[serde(default)]
    pub failed: BTreeMap<String, ErrorClass>,
    /// JSON pointer to how much is done, from 0 to 1 or to 100.
    pub percent: Option<String>,
    /// Between two questions. Default 2s.
    #[serde(default = "every")]
    pub every: Span,
    /// The tool that hands out the result, when the answer that says done does not hold it.
    pub result: Option<Tool>,
}

/// A tool and its arguments.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "McpTool")]
pub struct Tool {
    pub tool: String,
    /// `{ticket}` is the ticket.
    pub arguments: Map<String, Value>,
}

fn every() -> Span {
    Span::secs(2)
}

impl Settings {
    /// Why it is off: a credential is empty.
    pub fn off(&self) -> Option<String> {
        let empty = |field: String| format!("{field} is empty: set it to the server's credential");
        if self.bearer.as_ref().is_some_and(Secret::is_empty) {
            return Some(empty("bearer".into()));
        }
        let headers = self.headers.iter().map(|(name, value)| (format!("headers.{name}"), value));
        let env = self.env.iter().map(|(name, value)| (format!("env.{name}"), value));
        headers.chain(env).find(|(_, value)| value.is_empty()).map(|(field, _)| empty(field))
    }

    /// What no message may show.
    pub fn secrets(&self) -> Vec<Secret> {
        const TELLING: usize = 8;
        let values = self.bearer.iter().chain(self.headers.values()).chain(self.env.values());
        // Of `Basic dXNlcjpw...` the last word is the secret.
        let words = values.filter_map(|value| value.expose().split_whitespace().last());
        words.filter(|word| word.len() >= TELLING).map(Secret::new).collect()
    }
}
