//! MCP over stdio: one JSON value a line, the same dispatcher, requests beside each other.

use super::{
    Mcp,
    call::Profile,
    connection::{Connection, Eras, Input, Said},
    errors::Fault,
    wire::{
        frame,
        stdio::{Line, Lines},
    },
};
use crate::auth::Principal;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

/// Lines that wait to be written.
const OUTBOX: usize = 64;

impl Mcp {
    /// Serves one client until its input ends; what it asked before that is answered.
    ///
    /// # Errors
    /// Input or output broke.
    pub async fn stdio<R, W>(
        &self,
        profile: Profile,
        principal: Arc<Principal>,
        input: R,
        mut output: W,
    ) -> io::Result<()>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin,
    {
        let (outbox, mut lines) = mpsc::channel::<Vec<u8>>(OUTBOX);
        let write = async move {
            while let Some(mut line) = lines.recv().await {
                line.push(b'\n');
                output.write_all(&line).await?;
                output.flush().await?;
            }
            Ok(())
        };
        let connection = Connection::new(self, profile, principal, Eras::All, outbox);
        tokio::try_join!(connection.serve(Lines::new(input)), write)?;
        Ok(())
    }
}

impl<R: AsyncRead + Unpin + Send> Input for Lines<R> {
    async fn next(&mut self) -> io::Result<Option<Said>> {
        let line = Lines::next(self).await?;
        let message = line.map(|line| match line {
            Line::Text(text) => frame::parse(&text),
            Line::TooLong => Err(Fault::invalid_request("the line is too long")),
        });
        Ok(message.map(|message| Said { message, principal: None, idempotency_key: None, share: None }))
    }
}
