//! Stories about the gateway as its users meet it: the real program, a real database, a fake vendor.
//!
//! Every story starts its own gateway in a temporary folder, without the variables that hold vendors' keys, so no
//! real key is ever spent. `cargo test` builds the second program they need (`tests/vendors`).

#![allow(clippy::unwrap_used)]

mod auth;
mod cancel;
mod cli;
mod crash;
mod eras;
mod first_call;
mod front;
mod full_disk;
mod house;
mod idempotency;
mod isolation;
mod openai;
mod shapes;
mod stdio;
mod support;
mod tools;
mod workers_ai;
