//! A client that sends exactly what it is told to.

use super::soon;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
    /// Replies to HEAD have no body.
    pub headless: bool,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire { stream: TcpStream::connect(address).await.unwrap(), ahead: Vec::new(), headless: false }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// False: the connection is closed.
    async fn more(&mut self) -> bool {
        let mut part = [0; 8192];
        let read = soon(self.stream.read(&mut part)).await.unwrap_or(0);
        self.ahead.extend_from_slice(&part[..read]);
        read > 0
    }

    async fn until(&mut self, mark: &[u8]) -> String {
        loop {
            if let Some(at) = self.ahead.windows(mark.len()).position(|w| w == mark) {
                let found: Vec<u8> = self.ahead.drain(..at + mark.len()).collect();
                return String::from_utf8(found[..at].to_vec()).unwrap();
            }
            assert!(self.more().await, "closed after {:?}", String::from_utf8_lossy(&self.ahead));
        }
    }

    async fn exactly(&mut self, length: usize) -> String {
        while self.ahead.len() < length {
            assert!(self.more().await, "closed inside a body");
        }
        String::from_utf8(self.ahead.drain(..length).collect()).unwrap()
    }

    pub async fn head(&mut self) -> Reply {
        let head = self.until(b"\r\n\r\n").await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: String::new() }
    }

    /// The next part of a chunked body; empty at its end.
    pub async fn chunk(&mut self) -> String {
        let length = usize::from_str_radix(&self.until(b"\r\n").await, 16).unwrap();
        let chunk = self.exactly(length).await;
        self.until(b"\r\n").await;
        chunk
    }

    pub async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                match self.chunk().await {
                    end if end.is_empty() => break,
                    chunk => reply.body += &chunk,
                }
            }
        } else if let (Some(length), false) = (reply.header("content-length"), self.headless) {
            let length = length.parse().unwrap();
            reply.body = self.exactly(length).await;
        }
        reply
    }

    /// Waits until the server closes, and fails if it says anything more.
    pub async fn closed(mut self) {
        assert!(!self.more().await, "unexpected: {:?}", String::from_utf8_lossy(&self.ahead));
    }
}
