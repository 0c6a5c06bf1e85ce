//! How to connect each client: the home page shows these, and the command line prints them with the real key.

use serde_json::{Value, json};

/// Where a client reads its configuration, and what to put there.
#[derive(Debug, Clone, PartialEq)]
pub struct Snippet {
    /// How the command line calls the client.
    pub id: &'static str,
    pub client: &'static str,
    /// What to do with the text.
    pub how: &'static str,
    pub text: String,
    /// Where the text is a part of a JSON file of the client.
    pub file: Option<ClientFile>,
}

/// The JSON file of a client, and the gateway's entry among its servers.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientFile {
    /// `~/...` in the user's home, else in the project's folder. On Linux; macOS and Windows may have another.
    pub path: &'static str,
    /// On macOS, where that is another.
    pub macos: Option<&'static str>,
    /// The member that holds the servers.
    pub servers: &'static str,
    /// A JSON object in the order people write it.
    pub entry: String,
}

/// What the gateway is called in a client's configuration.
pub const NAME: &str = "image-gateway";

type Fields<'a> = &'a [(&'a str, Value)];

/// One snippet per client, for a gateway at `public_url` with the bearer `key`; `exe` is the command that starts it.
pub fn snippets(public_url: &str, key: &str, exe: &str) -> Vec<Snippet> {
    let url = format!("{}/mcp", public_url.trim_end_matches('/'));
    let bearer = format!("Bearer {key}");
    let headers = json!({ "Authorization": bearer });
    let mut remote = vec!["-y", "mcp-remote", &url, "--header", "Authorization:${AUTH_HEADER}"];
    if url.starts_with("http://") {
        remote.push("--allow-http");
    }
    let by_http = |name: &'static str| [(name, json!(url)), ("headers", headers.clone())];
    let mut all = vec![text(
        "claude-code",
        "Claude Code",
        "Run in a terminal:",
        format!("claude mcp add --transport http {NAME} {url} --header \"Authorization: {bearer}\""),
    )];
    all.extend(launched(exe).into_iter().filter(|snippet| snippet.id == "claude-desktop"));
    all.extend([
        in_file(
            "claude-desktop-remote",
            "Claude Desktop, from another machine",
            "The same file; needs Node.js:",
            &[("command", json!("npx")), ("args", json!(remote)), ("env", json!({ "AUTH_HEADER": bearer }))],
        ),
        in_file("cursor", "Cursor", "~/.cursor/mcp.json, or .cursor/mcp.json in a project:", &by_http("url")),
        in_file("windsurf", "Windsurf", "~/.codeium/windsurf/mcp_config.json:", &by_http("serverUrl")),
        in_file(
            "vscode",
            "VS Code",
            ".vscode/mcp.json:",
            &[("type", json!("http")), ("url", json!(url)), ("headers", headers.clone())],
        ),
        in_file("gemini-cli", "Gemini CLI", "~/.gemini/settings.json:", &by_http("httpUrl")),
        text(
            "inspector",
            "MCP Inspector",
            "Run in a terminal; lists the tools:",
            format!(
                "npx @modelcontextprotocol/inspector@latest --cli {url} --transport http \\\n  \
                 --header \"Authorization: {bearer}\" --method tools/list"
            ),
        ),
        text(
            "better-chatbot",
            "Better Chatbot",
            "Add an MCP server with this configuration:",
            object(&by_http("url"), 0),
        ),
        text(
            "librechat",
            "LibreChat",
            "librechat.yaml:",
            format!(
                "mcpServers:\n  {NAME}:\n    type: streamable-http\n    url: {url}\n    headers:\n      \
                 Authorization: \"{bearer}\"\n    timeout: 120000"
            ),
        ),
        text("node", "Node.js", "Any version with fetch:", node(&url, &bearer)),
        text("curl", "curl", "Draws a picture and prints where it is:", curl(&url, &bearer)),
    ]);
    all
}

/// For clients that launch the program themselves, on the same machine: no server, no key.
pub fn launched(exe: &str) -> Vec<Snippet> {
    let command = [("command", json!(exe)), ("args", json!(["stdio"]))];
    let typed = [&[("type", json!("stdio"))][..], &command].concat();
    let quoted = if exe.contains(' ') { format!("\"{exe}\"") } else { exe.to_owned() };
    vec![
        text(
            "claude-code",
            "Claude Code",
            "Run in a terminal:",
            format!("claude mcp add {NAME} -- {quoted} stdio"),
        ),
        in_file(
            "claude-desktop",
            "Claude Desktop",
            "claude_desktop_config.json (Settings, Developer, Edit Config); the gateway on the same machine, no key:",
            &command,
        ),
        in_file("cursor", "Cursor", "~/.cursor/mcp.json, or .cursor/mcp.json in a project:", &command),
        in_file("windsurf", "Windsurf", "~/.codeium/windsurf/mcp_config.json:", &command),
        in_file("vscode", "VS Code", ".vscode/mcp.json:", &typed),
        in_file("gemini-cli", "Gemini CLI", "~/.gemini/settings.json:", &command),
    ]
}

fn text(id: &'static str, client: &'static str, how: &'static str, text: String) -> Snippet {
    Snippet { id, client, how, text, file: None }
}

/// The gateway among the servers of a client's file.
fn in_file(id: &'static str, client: &'static str, how: &'static str, fields: Fields<'_>) -> Snippet {
    let servers = if id == "vscode" { "servers" } else { "mcpServers" };
    let (path, macos) = match id {
        "cursor" => ("~/.cursor/mcp.json", None),
        "windsurf" => ("~/.codeium/windsurf/mcp_config.json", None),
        "vscode" => (".vscode/mcp.json", None),
        "gemini-cli" => ("~/.gemini/settings.json", None),
        _ => (
            "~/.config/Claude/claude_desktop_config.json",
            Some("~/Library/Application Support/Claude/claude_desktop_config.json"),
        ),
    };
    let entry = object(fields, 4);
    let text = format!("{{\n  \"{servers}\": {{\n    \"{NAME}\": {entry}\n  }}\n}}");
    Snippet { id, client, how, text, file: Some(ClientFile { path, macos, servers, entry }) }
}

/// A JSON object in the order people write it, one field on a line.
fn object(fields: Fields<'_>, indent: usize) -> String {
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
            "Gemini CLI",
            "Better Chatbot",
            "LibreChat",
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
            if let Some(file) = &snippet.file {
                let whole: Value = serde_json::from_str(&snippet.text).unwrap();
                assert_eq!(whole[file.servers][NAME], serde_json::from_str::<Value>(&file.entry).unwrap());
            } else if snippet.text.starts_with('{') {
                serde_json::from_str::<Value>(&snippet.text).unwrap_or_else(|e| panic!("{client}: {e}"));
            }
        }
        let own = launched("/opt/my apps/image-gateway");
        assert!(
            own.iter().all(|s| s.text.contains("/opt/my apps/image-gateway") && s.text.contains("stdio"))
        );
        assert!(!all.iter().any(|s| s.text.contains("allow-http")));
        assert!(snippets("http://box:8000", "k", "x").iter().any(|s| s.text.contains("--allow-http")));
    }
}
