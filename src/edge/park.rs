//! Streams of HTTP/1.1 that wait. Their session and the task that read the request go, with all their memory; the
//! socket and the stream's own parts stay, in a small task that writes the chunks itself.

use super::{
    answer::Chunks,
    front::Front,
    streaming::{Asked, Running, Streaming},
    write::{Left, PART, Pace, timely},
};
use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::{
    GetSocketDigest as _, SocketDigest, Stream, http::ServerSession, l4::stream::Stream as L4Stream,
};
use std::{
    future::{pending, poll_fn},
    io, net,
    os::fd::{AsRawFd as _, BorrowedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

/// What is taken of a next request while the stream still runs. The rest stays with the client.
const AHEAD: usize = 1024;

/// A connection whose session is over.
enum Socket {
    Plain(TcpStream),
    /// Over TLS, as the library reads and writes it.
    Tls(Stream),
}

/// A stream that waits.
struct Parked {
    socket: Socket,
    /// The beginning of the next request, where the client sent it already.
    ahead: Option<BytesMut>,
    chunks: Box<dyn Chunks>,
    asked: Asked,
    running: Running,
    keeps: bool,
}

/// Whether a stream's session can be let go: it is HTTP/1.1, and its request was read to the end.
pub fn can_park(session: &mut ServerSession) -> bool {
    let version = session.req_header().version;
    matches!(session, ServerSession::H1(_)) && version == http::Version::HTTP_11 && session.is_body_done()
}

/// Goes on with the stream without its session, then with the connection's next request.
pub async fn park(
    front: Arc<Front>,
    slot: OwnedSemaphorePermit,
    session: ServerSession,
    streaming: Streaming,
) {
    let ServerSession::H1(session) = session else { return };
    let keeps = session.will_keepalive();
    let (stream, ahead) = if keeps {
        let Ok(Some(reusable)) = session.reuse().await else { return };
        reusable.into_parts()
    } else {
        (session.into_inner(), None)
    };
    let Ok(socket) = Socket::of(stream) else { return };
    let Streaming { chunks, status, asked, running } = streaming;
    let mut parked = Parked { socket, ahead, chunks, asked, running, keeps };
    tokio::spawn(async move {
        let sent = parked.stream(front.exchange.pace()).await;
        let Parked { socket, ahead, chunks, asked, running, keeps } = parked;
        drop(chunks);
        asked.log(if sent.is_ok() { status.as_str() } else { "left" });
        drop((asked, running));
        if sent.is_ok()
            && keeps
            && let Ok(stream) = socket.into_stream()
        {
            front.resume(stream, ahead, slot).await;
        }
    });
}

impl Parked {
    /// Writes every part as it comes, then the last chunk.
    async fn stream(&mut self, pace: Pace<'_>) -> Result<(), Left> {
        let over = pace.over();
        tokio::pin!(over);
        loop {
            let chunk = tokio::select! {
                chunk = self.chunks.next() => chunk,
                () = left(&mut self.socket, &mut self.ahead) => return Err(Left),
                () = &mut over => None,
            };
            match chunk {
                None => break,
                Some(Ok(bytes)) => Box::pin(self.socket.chunks(bytes, &pace)).await?,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the body broke off");
                    return Err(Left);
                }
            }
        }
        timely(&pace, self.socket.write(&b"0\r\n\r\n"[..])).await?;
        if !self.keeps {
            timely(&pace, self.socket.shutdown()).await?;
        }
        Ok(())
    }
}

/// Ends when the client has left. A request that it sends meanwhile is kept for later, as far as it came at once.
async fn left(socket: &mut Socket, ahead: &mut Option<BytesMut>) {
    if ahead.is_none() {
        match poll_fn(|cx| socket.poll_bytes(cx)).await {
            Ok(bytes) if !bytes.is_empty() => *ahead = Some(bytes),
            _ => return,
        }
    }
    pending().await
}

impl Socket {
    /// Takes a plain socket out of the library's stream: what that holds beside it is larger than all the rest.
    fn of(stream: Stream) -> io::Result<Socket> {
        let Some(plain) = stream.as_any().downcast_ref::<L4Stream>() else { return Ok(Socket::Tls(stream)) };
        // The stream gives its descriptor as a number only, and never gives it away.
        #[allow(unsafe_code)]
        // SAFETY: `stream` is alive until after the copy, and so is its descriptor.
        let twin = unsafe { BorrowedFd::borrow_raw(plain.as_raw_fd()) }.try_clone_to_owned()?;
        drop(stream); // leaves the runtime before its twin enters it
        TcpStream::from_std(net::TcpStream::from(twin)).map(Socket::Plain)
    }

    fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Socket::Plain(socket) => {
                let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
                let mut stream = L4Stream::from(socket);
                stream.set_socket_digest(digest);
                Box::new(stream)
            }
            Socket::Tls(stream) => stream,
        })
    }

    /// What the client sends; nothing, if it will send nothing more.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
        // On the stack: no buffer is held while nothing comes.
        let mut bytes = [0; AHEAD];
        let mut bytes = ReadBuf::new(&mut bytes);
        ready!(match self {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, &mut bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_read(cx, &mut bytes),
        })?;
        Poll::Ready(Ok(BytesMut::from(bytes.filled())))
    }

    /// Writes `bytes` in chunks, each within its time.
    async fn chunks(&mut self, mut bytes: Bytes, pace: &Pace<'_>) -> Result<(), Left> {
        while !bytes.is_empty() {
            let part = bytes.split_to(PART.min(bytes.len()));
            let length = Bytes::from(format!("{:X}\r\n", part.len()));
            timely(pace, self.write(length.chain(part).chain(&b"\r\n"[..]))).await?;
        }
        Ok(())
    }

    async fn write(&mut self, mut bytes: impl Buf) -> io::Result<()> {
        match self {
            Socket::Plain(socket) => socket.write_all_buf(&mut bytes).await,
            Socket::Tls(stream) => {
                stream.write_all_buf(&mut bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Socket::Plain(socket) => socket.shutdown().await,
            Socket::Tls(stream) => AsyncWriteExt::shutdown(stream).await,
        }
    }
}
