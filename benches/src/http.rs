//! HTTP/1.1 as lean as it goes: a kept-alive socket, requests made beforehand, answers read to their last byte.

use anyhow::{Result, bail, ensure};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A request as bytes; `key` becomes the bearer.
pub fn request(method: &str, path: &str, key: Option<&str>, body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\n");
    if let Some(key) = key {
        text += &format!("authorization: Bearer {key}\r\n");
    }
    if method == "POST" {
        text += "content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
                 mcp-protocol-version: 2025-11-25\r\n";
        text += &format!("content-length: {}\r\n", body.len());
    }
    format!("{text}\r\n{body}").into_bytes()
}

/// One connection, and what was read last.
pub struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// An answer whose body is in memory.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

struct Head {
    status: u16,
    /// Where the body begins.
    body: usize,
    length: Option<usize>,
}

impl Connection {
    /// # Errors
    /// Nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, bytes: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request and reads its answer, which must say its length.
    ///
    /// # Errors
    /// The connection ended, or the answer has no length.
    pub async fn call(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        let Head { status, body, length } = self.begin(request).await?;
        let Some(length) = length else { bail!("an answer of {status} without a length") };
        let end = body + length;
        self.bytes.reserve(end.saturating_sub(self.bytes.len()));
        while self.bytes.len() < end {
            ensure!(self.stream.read_buf(&mut self.bytes).await? > 0, "the answer broke off");
        }
        Ok(Reply { status, body: &self.bytes[body..end] })
    }

    /// Sends a request whose answer streams, and waits for the first of its events.
    ///
    /// # Errors
    /// The answer is no stream, or ended.
    pub async fn open_stream(&mut self, request: &[u8]) -> Result<()> {
        let Head { status, body, length } = self.begin(request).await?;
        ensure!(
            status == 200 && length.is_none(),
            "not a stream: {status} {}",
            String::from_utf8_lossy(&self.bytes)
        );
        while self.bytes.len() == body {
            ensure!(self.stream.read_buf(&mut self.bytes).await? > 0, "the stream ended");
        }
        self.bytes = Vec::new();
        Ok(())
    }

    /// What still comes of a stream that was opened, to its last chunk.
    ///
    /// # Errors
    /// The stream broke off.
    pub async fn rest_of_stream(&mut self) -> Result<&[u8]> {
        while !self.bytes.ends_with(b"\r\n0\r\n\r\n") {
            ensure!(self.stream.read_buf(&mut self.bytes).await? > 0, "the stream broke off");
        }
        Ok(&self.bytes)
    }

    async fn begin(&mut self, request: &[u8]) -> Result<Head> {
        self.bytes.clear();
        self.stream.write_all(request).await?;
        loop {
            ensure!(self.stream.read_buf(&mut self.bytes).await? > 0, "the connection was closed");
            if let Some(head) = head(&self.bytes)? {
                return Ok(head);
            }
        }
    }
}

/// `None`: not all of it is there.
fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end])?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let Some(status) = status else { bail!("no answer of HTTP: {text}") };
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse()?);
        }
    }
    Ok(Some(Head { status, body: end + 4, length }))
}
