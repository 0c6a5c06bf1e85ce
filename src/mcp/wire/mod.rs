//! What travels: JSON-RPC frames, the era they belong to, the headers beside them, and the streams that carry
//! them. Knows nothing of tools.

pub mod era;
pub mod frame;
pub mod headers;
pub mod listening;
pub mod progress;
pub mod sse;
pub mod stdio;
