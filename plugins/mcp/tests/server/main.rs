//! An MCP server on standard input and output. What `draw` does is told by its prompt.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{
    io::{BufRead, Write},
    process::Command,
};

fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").expect("the gateway reads");
    out.flush().expect("the gateway reads");
}

fn text(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

fn main() {
    let hat: &[u8] = include_bytes!("../../fixtures/hat.png");
    // A picture as large as they come, as far as its beginning goes.
    let large: Vec<u8> = hat.iter().copied().chain((0..3_000_000_u32).map(|n| (n * 31) as u8)).collect();
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    println!("a greeting that is no message");
    eprintln!("ready, with the key {}", std::env::var("SERVER_KEY").unwrap_or_default());
    let mut held = Vec::new();
    while let Some(line) = lines.next() {
        let message: Value = serde_json::from_str(&line).expect("lines are messages");
        let id = message["id"].clone();
        let answer = |result: Value| say(&json!({"result": result, "jsonrpc": "2.0", "id": id}));
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => {
                let name = json!({"name": "image-server", "version": "1"});
                answer(
                    json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": name}),
                );
            }
            "tools/list" => answer(json!({"tools": [{"name": "draw", "inputSchema": {"type": "object"}}]})),
            "resources/read" => {
                answer(
                    json!({"contents": [{"uri": message["params"]["uri"], "blob": BASE64_STANDARD.encode(hat)}]}),
                );
            }
            "notifications/cancelled" => eprintln!("cancelled {}", message["params"]["requestId"]),
            "tools/call" => {
                let image = |bytes: &[u8]| json!({"type": "image", "data": BASE64_STANDARD.encode(bytes), "mimeType": "image/png"});
                match message["params"]["arguments"]["prompt"].as_str().unwrap_or_default() {
                    "large" => answer(json!({"content": [text("here"), image(&large)]})),
                    "link" => {
                        answer(json!({"content": [{"type": "resource_link", "uri": "out://1", "name": "1"}]}))
                    }
                    "environment" => {
                        let mut names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
                        names.sort();
                        answer(json!({"content": [text(names.join(" "))], "isError": true}));
                    }
                    "refuse" => answer(
                        json!({"content": [text(format!("no: {}", std::env::var("SERVER_KEY").unwrap_or_default()))], "isError": true}),
                    ),
                    "die" => {
                        eprintln!("these are the last words");
                        std::process::exit(3);
                    }
                    "silence" => {}
                    // Answered together with the next one, which comes first.
                    "wait" => held.push(id.clone()),
                    "ping first" => {
                        say(&json!({"jsonrpc": "2.0", "id": "p1", "method": "ping"}));
                        say(&json!({"jsonrpc": "2.0", "id": "p2", "method": "roots/list"}));
                        let pong = lines.next().unwrap_or_default();
                        let no = lines.next().unwrap_or_default();
                        assert!(pong.contains("p1") && no.contains("-32601"), "{pong} {no}");
                        answer(json!({"content": [image(hat)]}));
                    }
                    "process" => {
                        let mut child =
                            Command::new("sleep").arg("600").spawn().expect("sleep is everywhere");
                        let ids = format!("{} {}", std::process::id(), child.id());
                        std::thread::spawn(move || child.wait());
                        answer(json!({"content": [text(ids)], "isError": true}));
                    }
                    _ => {
                        answer(json!({"content": [image(hat)]}));
                        for id in held.drain(..) {
                            say(&json!({"jsonrpc": "2.0", "id": id, "result": {"content": [image(&large)]}}));
                        }
                    }
                }
            }
            _ => {}
        }
    }
}
