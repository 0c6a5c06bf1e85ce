//! How to connect each client: the home page shows these, and the command line prints them with the real key.

use serde_json::{Value, json};

/// Where a client reads its configuration, and what to put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    pub client: &'static str,
    /// What to do with the text.
    pub how: &'static str,
    pub text: String,
}

const NAME: &str = "image-gateway";

/// One snippet per client, for a gateway at `public_url` with the bearer `key`; `exe` is the command that starts it.
pub fn snippets(public_url: &str, key: &str, exe: &str) -> Vec<Snippet> {
    let url = format!("{}/mcp", public_url.trim_end_matches('/'));
    let bearer = format!("Bearer {key}");
    let headers = json!({ "Authorization": bearer });
    let mut remote = vec!["-y", "mcp-remote", &url, "--header", "Authorization:${AUTH_HEADER}"];
    if url.starts_with("http://") {
        remote.push("--allow-http");
    }
    let snippet = |client, how, text| Snippet { client, how, text };
    vec![
        snippet(
            "Claude Code",
            "Run in a terminal:",
            format!("claude mcp add --transport http {NAME} {url} --header \"Authorization: {bearer}\""),
        ),
        snippet(
            "Claude Desktop",
            "claude_desktop_config.json (Settings, Developer, Edit Config); the gateway on the same machine, no key:",
            entry("mcpServers", &[("command", json!(exe)), ("args", json!(["stdio"]))]),
        ),
        snippet(
            "Claude Desktop, from another machine",
            "The same file; needs Node.js:",
            entry(
                "mcpServers",
                &[
                    ("command", json!("npx")),
                    ("args", json!(remote)),
                    ("env", json!({ "AUTH_HEADER": bearer })),
                ],
            ),
        ),
        snippet(
            "Cursor",
            "~/.cursor/mcp.json, or .cursor/mcp.json in a project:",
            entry("mcpServers", &[("url", json!(url)), ("headers", headers.clone())]),
        ),
        snippet(
            "Windsurf",
            "~/.codeium/windsurf/mcp_config.json:",
            entry("mcpServers", &[("serverUrl", json!(url)), ("headers", headers.clone())]),
        ),
        snippet(
            "VS Code",
            ".vscode/mcp.json:",
            entry("servers", &[("type", json!("http")), ("url", json!(url)), ("headers", headers.clone())]),
        ),
        snippet(
            "MCP Inspector",
            "Run in a terminal; lists the tools:",
            format!(
                "npx @modelcontextprotocol/inspector@latest --cli {url} --transport http \\\n  \
                 --header \"Authorization: {bearer}\" --method tools/list"
            ),
        ),
        snippet(
            "Better Chatbot",
            "Add an MCP server with this configuration:",
            object(&[("url", json!(url)), ("headers", headers)], 0),
        ),
        snippet("Node.js", "Any version with fetch:", node(&url, &bearer)),
        snippet("curl", "Draws a picture and prints where it is:", curl(&url, &bearer)),
    ]
}

/// The gateway among the servers of a client's file.
fn entry(servers: &str, fields: &[(&str, Value)]) -> String {
    let fields = object(fields, 4);
    format!("{{\n  \"{servers}\": {{\n    \"{NAME}\": {fields}\n  }}\n}}")
}

/// A JSON object in the order people write it, one field on a line.
fn object(fields: &[(&str, Value)], indent: usize) -> String {
    let lines: Vec<String> =
        fields.iter().map(|(name, value)| format!("{:indent$}  \"{name}\": {value}", "")).collect();
    format!("{{\n{}\n{:indent$}}}", lines.join(",\n"), "")
}

fn curl(url: &str, bearer: &str) -> String {
    let call = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","#,
        r#""params":{"name":"generate_image_and_wait","arguments":{"prompt":"a red fox in the snow"}}}"#
    );
    format!(
        "curl -s {url} \\\n  -H \"Authorization: {bearer}\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{call}'"
    )
}

fn node(url: &str, bearer: &str) -> String {
    format!(
        r#"const response = await fetch("{url}", {{
  method: "POST",
  headers: {{ "Content-Type": "application/json", "Authorization": "{bearer}" }},
  body: JSON.stringify({{
    jsonrpc: "2.0", id: 1, method: "tools/call",
    params: {{ name: "generate_image_and_wait", arguments: {{ prompt: "cyberpunk city", count: 5 }} }},
  }}),
}});
console.log((await response.json()).result.content[0].text);"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_told_the_address_and_the_key() {
        let all = snippets("https://images.example.com/", "igw_k", "/opt/my \"apps\"/image-gateway");
        for client in [
            "Claude Code",
            "Claude Desktop",
            "Cursor",
            "Windsurf",
            "VS Code",
            "MCP Inspector",
            "Better Chatbot",
            "Node.js",
            "curl",
        ] {
            let snippet =
                all.iter().find(|s| s.client == client).unwrap_or_else(|| panic!("{client} is missing"));
            if client != "Claude Desktop" {
                assert!(
                    snippet.text.contains("https://images.example.com/mcp"),
                    "{client}: {}",
                    snippet.text
                );
                assert!(snippet.text.contains("Bearer igw_k"), "{client}");
            }
            if snippet.text.starts_with('{') {
                serde_json::from_str::<Value>(&snippet.text).unwrap_or_else(|e| panic!("{client}: {e}"));
            }
        }
        assert!(!all.iter().any(|s| s.text.contains("allow-http")));
        assert!(snippets("http://box:8000", "k", "x").iter().any(|s| s.text.contains("--allow-http")));
    }
}
