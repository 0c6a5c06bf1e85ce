//! The home page: one HTML file and a few places in it. Everything that is put there is escaped.

use super::{
    clients::snippets,
    faces::{Standing, ToolCard},
};
use std::fmt::Write;

/// The page has no script and loads nothing.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TEMPLATE: &str = include_str!("home.html");

pub fn page(public_url: &str, exe: &str, tools: &[ToolCard], standing: Standing) -> String {
    let public_url = public_url.trim_end_matches('/');
    let parts = [
        ("version", escape(env!("CARGO_PKG_VERSION"))),
        ("url", escape(public_url)),
        ("count", tools.len().to_string()),
        ("tools", tool_cards(tools)),
        ("clients", client_cards(public_url, exe)),
        ("status", ticks(standing)),
    ];
    let mut page = String::with_capacity(TEMPLATE.len() * 3);
    let mut rest = TEMPLATE;
    // In one pass: what is put in is never looked at again.
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = after.split_once("}}") else { break };
        if let Some((_, value)) = parts.iter().find(|(part, _)| *part == name) {
            page.push_str(value);
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn tool_cards(tools: &[ToolCard]) -> String {
    tools.iter().fold(String::new(), |mut out, tool| {
        let (name, text) = (escape(&tool.name), escape(&tool.description));
        let _ = writeln!(out, "<li><h3><code>{name}</code></h3><p>{text}</p></li>");
        out
    })
}

fn client_cards(public_url: &str, exe: &str) -> String {
    snippets(public_url, "YOUR_KEY", exe).iter().enumerate().fold(String::new(), |mut out, (n, snippet)| {
        let (client, how, text) = (escape(snippet.client), escape(snippet.how), escape(&snippet.text));
        let open = if n == 0 { " open" } else { "" };
        let _ = writeln!(
            out,
            "<details{open}><summary>{client}</summary><p>{how}</p><pre tabindex=\"0\"><code>{text}</code></pre></details>"
        );
        out
    })
}

fn ticks(standing: Standing) -> String {
    let parts = [
        ("Server", true),
        ("Database", standing.database),
        ("Queue", standing.queue),
        ("Storage", standing.storage),
    ];
    parts.iter().fold(String::new(), |mut out, (name, up)| {
        let (class, mark, word) = if *up { ("up", "&#10003;", "up") } else { ("down", "&#10007;", "down") };
        let _ = writeln!(
            out,
            "<li class=\"{class}\"><b aria-hidden=\"true\">{mark}</b> {name} <i>{word}</i></li>"
        );
        out
    })
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Standing = Standing { database: true, queue: true, storage: true };

    #[test]
    fn nothing_that_is_put_in_can_break_out() {
        let evil = "<script>alert('x')</script>\"&{{url}}";
        let tools = [ToolCard { name: evil.into(), description: evil.into() }];
        let page = page("https://a.example/\"><script>", evil, &tools, UP);
        assert!(!page.contains("<script"), "no tag came from data");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;{{url}}"),
            "nor is it filled again"
        );
    }

    #[test]
    fn the_page_tells_the_tools_the_clients_and_what_is_up() {
        let tools = [ToolCard { name: "generate_image".into(), description: "Draws.".into() }];
        let page =
            page("https://images.example.com", "image-gateway", &tools, Standing { storage: false, ..UP });
        for text in [
            "generate_image",
            "Draws.",
            "https://images.example.com/mcp",
            "Claude Desktop",
            "Windsurf",
            "VS Code",
            "Cursor",
            "MCP Inspector",
            "Better Chatbot",
            "YOUR_KEY",
            "Storage <i>down</i>",
            "Database <i>up</i>",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("{{"), "every place is filled");
    }
}
