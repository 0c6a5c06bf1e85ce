//! The front: sockets, HTTP, and what stands before the MCP face. Only this module and `app` see pingora types.
//! It authenticates and limits; what a call means is `mcp`'s, what an image is `images`'.

mod answer;
mod body;
pub mod clients;
mod exchange;
mod faces;
mod front;
mod head;
mod home;
mod oauth;
mod origin;
mod pages;
mod park;
mod peer;
mod route;
mod serve;
mod settings;
mod streaming;
mod streams;
mod write;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Body, Chunks, Refusal, json};
pub use faces::{Endpoint, Faces, ImageHandler, McpHandler, Standing, Standings, ToolCard, UploadHandler};
pub use serve::{BindError, Bound, bind};
pub use settings::{RequestLimits, Settings, Tls};
