//! A TCP proxy between the gateway and a vendor that does what networks do: latency, little bandwidth, small slices,
//! resets, half-open connections, slow ends, and cuts after so many bytes. Each direction has faults of its own.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// What happens to a direction once its bytes are through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// RST.
    Reset,
    /// FIN.
    Close,
    /// Nothing comes through any more, and nobody is told.
    Swallow,
}

/// The faults of one direction. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Toxic {
    /// Before each piece.
    pub latency: Duration,
    /// Bytes a second.
    pub bandwidth: Option<u64>,
    /// At most so many bytes at a time, with a pause after each.
    pub slicer: Option<(usize, Duration)>,
    /// After so many bytes of this direction.
    pub cut: Option<(u64, Cut)>,
    /// Between the end of the sender and its being told.
    pub slow_close: Duration,
}

/// The faults of a connection.
#[derive(Debug, Clone, Default)]
pub struct Toxics {
    /// From the gateway to the vendor.
    pub up: Toxic,
    /// From the vendor to the gateway.
    pub down: Toxic,
    /// So many times the proxy answers so by itself as soon as the first bytes of a request are there, and closes.
    pub instead: Option<(Vec<u8>, usize)>,
}

/// The proxy. It stops, and drops its connections, with the value.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    vendor: OnceLock<SocketAddr>,
    toxics: watch::Sender<Toxics>,
    /// Answers given by itself since the faults were set.
    instead: AtomicUsize,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1, without faults at first.
    pub async fn start() -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (vendor, instead) = (OnceLock::new(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { vendor, toxics: watch::Sender::new(Toxics::default()), instead });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Proxy { address, shared, accepting }
    }

    /// Who is behind it; set once.
    pub fn to(&self, vendor: SocketAddr) {
        self.shared.vendor.set(vendor).expect("it has one vendor");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections; the next ones have these faults.
    pub async fn set(&self, toxics: Toxics) {
        self.shared.instead.store(0, Ordering::Relaxed);
        self.shared.toxics.send_replace(toxics);
        // The gateway must hear of the ends before it sends the next request on one of them.
        sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new(); // dropped with this task
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                let (shared, mut changes) = (shared.clone(), shared.toxics.subscribe());
                connections.spawn(async move {
                    let toxics = changes.borrow_and_update().clone();
                    tokio::select! {
                        _ = relay(client, &shared, &toxics) => {}
                        _ = changes.changed() => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(mut client: TcpStream, shared: &Shared, toxics: &Toxics) -> io::Result<()> {
    client.set_nodelay(true)?;
    if let Some((answer, times)) = &toxics.instead
        && shared.instead.fetch_add(1, Ordering::Relaxed) < *times
    {
        if client.read(&mut [0; 64]).await? == 0 {
            return Ok(());
        }
        client.write_all(answer).await?;
        return client.shutdown().await;
    }
    let vendor = *shared.vendor.get().ok_or(io::ErrorKind::NotConnected)?;
    let vendor = TcpStream::connect(vendor).await?;
    vendor.set_nodelay(true)?;
    let ((from_client, mut to_client), (from_vendor, mut to_vendor)) =
        (client.into_split(), vendor.into_split());
    let both = tokio::try_join!(
        pipe(from_client, &mut to_vendor, &toxics.up),
        pipe(from_vendor, &mut to_client, &toxics.down)
    );
    if let Err(Ended::Cut(Cut::Reset)) = both {
        to_client.as_ref().set_zero_linger()?;
        to_vendor.as_ref().set_zero_linger()?;
    }
    Ok(())
}

/// Why both directions end at once.
enum Ended {
    Cut(Cut),
    Io,
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Ended {
        Ended::Io
    }
}

async fn pipe(mut from: OwnedReadHalf, to: &mut OwnedWriteHalf, toxic: &Toxic) -> Result<(), Ended> {
    let (most, pause) = toxic.slicer.unwrap_or((64 << 10, Duration::ZERO));
    let mut buffer = vec![0; most.clamp(1, 64 << 10)];
    let mut passed = 0_u64;
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            sleep(toxic.slow_close).await;
            return Ok(to.shutdown().await?);
        }
        sleep(toxic.latency + pause).await;
        if let Some(bandwidth) = toxic.bandwidth {
            sleep(Duration::from_secs_f64(n as f64 / bandwidth as f64)).await;
        }
        let let_through = toxic.cut.map_or(n, |(at, _)| n.min((at - passed.min(at)) as usize));
        to.write_all(&buffer[..let_through]).await?;
        passed += let_through as u64;
        match toxic.cut {
            Some((at, Cut::Swallow)) if passed >= at => {
                // Until the sender gives up by itself.
                while from.read(&mut buffer).await? > 0 {}
                return Ok(());
            }
            Some((at, cut)) if passed >= at => {
                // A reset throws away what was not read yet: give it the time.
                sleep(Duration::from_millis(50)).await;
                return Err(Ended::Cut(cut));
            }
            _ => {}
        }
    }
}
