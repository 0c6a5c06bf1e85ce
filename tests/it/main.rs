//! Stories about the gateway as its users meet it: the real program, a real database, a fake vendor.
//!
//! Every story starts its own gateway in a temporary folder, without the variables that hold vendors' keys, so no
//! real key is ever spent. `cargo test` builds the second program they need (`tests/vendors`).

#![allow(clippy::unwrap_used)]

mod auth;
mod bucket;
mod cancel;
mod cli;
mod crash;
#[path = "support/database.rs"]
#[allow(dead_code)] // the store's tests use all of it
mod database;
mod databases;
mod deleting;
mod doubao;
mod editing;
mod eras;
mod every_model;
mod first_call;
mod front;
mod full_disk;
mod gemini;
mod house;
mod http_vendor;
mod hunyuan;
mod idempotency;
mod isolation;
mod mcp_server;
mod nodes;
mod openai;
mod pausing;
mod predecessors;
mod quotas;
mod qwen;
mod reload;
mod result_urls;
mod routing;
mod self_hosted;
mod shapes;
mod stdio;
mod streams;
#[allow(dead_code)] // the fault harness uses all of it
mod support;
mod tasks;
mod tokens;
mod tools;
mod usage;
mod wire;
mod workers_ai;
