//! A client that sends exactly what it is told to.

use super::soon;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

pub struct Wire {
    read: OwnedReadHalf,
    /// `None`: somebody else writes.
    write: Option<Writer>,
    ahead: Vec<u8>,
    /// Replies to HEAD have no body.
    pub headless: bool,
}

/// The writing half of a connection.
pub struct Writer(OwnedWriteHalf);

impl Writer {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }
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
        let (read, write) = TcpStream::connect(address).await.unwrap().into_split();
        Wire { read, write: Some(Writer(write)), ahead: Vec::new(), headless: false }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write.as_mut().unwrap().send(bytes).await;
    }

    /// For a sender of its own, while this one reads.
    pub fn split_writer(&mut self) -> Writer {
        self.write.take().unwrap()
    }

    /// Says that nothing more will be sent.
    pub async fn close_half(&mut self) {
        self.write.as_mut().unwrap().0.shutdown().await.unwrap();
    }

    /// False: the connection is closed.
    async fn more(&mut self) -> bool {
        let mut part = [0; 8192];
        let read = soon(self.read.read(&mut part)).await.unwrap_or(0);
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

    /// The reply, unless the connection is closed first.
    pub async fn try_reply(&mut self) -> Option<Reply> {
        while self.ahead.is_empty() {
            if !self.more().await {
                return None;
            }
        }
        Some(self.reply().await)
    }

    /// Everything until the server closes.
    pub async fn rest(mut self) -> String {
        while self.more().await {}
        String::from_utf8(self.ahead).unwrap()
    }

    /// Waits until the server closes, and fails if it says anything more.
    pub async fn closed(mut self) {
        assert!(!self.more().await, "unexpected: {:?}", String::from_utf8_lossy(&self.ahead));
    }
}
