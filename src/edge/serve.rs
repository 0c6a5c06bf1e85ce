//! Binding the sockets, serving them, and stopping without losing what is under way.

use super::{
    Settings,
    body::Room,
    exchange::Exchange,
    faces::Faces,
    front::{Front, Http2},
    origin::Doors,
    pages::Pages,
    peer::Trusted,
    streams::Streams,
};
use pingora::{
    listeners::{ListenerConfig, tls::TlsSettings},
    protocols::l4::stream::L4BufferSettings,
    server::Fds,
    services::{Service as _, listening::Service},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::IntoRawFd,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpSocket, lookup_host},
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

const BACKLOG: u32 = 1024;
/// Of a connection, for as long as it is open. Requests are read in one piece anyway; answers are put together, but over
/// TLS, where what waits has buffers enough and two short records cost little more than one.
const READ_BUFFER: usize = 0;
const WRITE_BUFFER: usize = 4096;
const TLS_WRITE_BUFFER: usize = 0;
/// Streams may say this much longer once the gateway stops: enough for an answer that is nearly there.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("server.listen: `{0}` is no address; write it like 127.0.0.1:8000")]
    Address(String),
    #[error("cannot listen on {address}: {source}")]
    Io { address: String, source: io::Error },
    #[error(
        "server.listen: {0} is reachable from other machines; set server.tls, or server.insecure: true if that is meant"
    )]
    Insecure(SocketAddr),
    #[error("server.trusted_proxies: `{0}` is neither an address nor a network like 10.0.0.0/8")]
    Proxy(String),
    #[error("server.tls: {0}")]
    Tls(String),
}

/// Sockets that listen but are not served yet.
pub struct Bound {
    settings: Settings,
    sockets: Vec<(TcpListener, SocketAddr)>,
    trusted: Trusted,
}

/// Opens the configured sockets. Port 0 takes a free one.
///
/// # Errors
/// [`BindError`]; nothing stays open.
pub async fn bind(settings: Settings) -> Result<Bound, BindError> {
    let trusted = Trusted::parse(&settings.trusted_proxies).map_err(BindError::Proxy)?;
    if let Some(tls) = &settings.tls {
        tls_settings(tls)?; // a bad certificate is told before anything listens
    }
    let mut sockets = Vec::new();
    for text in settings.listen.as_slice() {
        let failed = |source| BindError::Io { address: text.clone(), source };
        let found = lookup_host(text.as_str()).await.map_err(|_| BindError::Address(text.clone()))?;
        let address = found.into_iter().next().ok_or_else(|| BindError::Address(text.clone()))?;
        if !address.ip().is_loopback() && settings.tls.is_none() && !settings.insecure {
            return Err(BindError::Insecure(address));
        }
        let socket = listen(address).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        sockets.push((socket, bound));
    }
    if sockets.is_empty() {
        return Err(BindError::Address(String::new()));
    }
    Ok(Bound { settings, sockets, trusted })
}

/// Raises the limit of open files to what this user may have, and tells it.
fn descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).ok();
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections may be open at once. However many clients come, the jobs that run keep descriptors for the
/// database, their answers and their vendors: half of what there is, 1,024 at most.
fn connections(wanted: u32, descriptors: u64) -> u32 {
    let most = descriptors - (descriptors / 2).min(1_024);
    wanted.min(u32::try_from(most).unwrap_or(u32::MAX)).min(Semaphore::MAX_PERMITS as u32)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

impl Bound {
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|(_, address)| *address).collect()
    }

    /// What links and snippets say: the configured URL, else the first bound address. No slash at the end.
    pub fn public_url(&self) -> String {
        if let Some(url) = &self.settings.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let mut address = self.sockets.first().map_or(([127, 0, 0, 1], 0).into(), |(_, address)| *address);
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("{}://{address}", if self.settings.tls.is_some() { "https" } else { "http" })
    }

    /// Answers requests until `stop` turns true; then refuses new work, lets running requests end within
    /// `shutdown_grace`, and returns whether all did.
    ///
    /// # Errors
    /// [`BindError::Tls`]: the certificate or its key cannot be used.
    pub async fn serve(self, faces: Faces, stop: watch::Receiver<bool>) -> Result<bool, BindError> {
        // Pingora's clock is a thread made when first needed, and a panic for ever where none can be made by then.
        pingora::time::fast_timeout::fast_sleep(Duration::from_millis(1)).await;
        let grace = *self.settings.shutdown_grace;
        let connections = connections(self.settings.limits.connections, descriptors());
        let slots = Arc::new(Semaphore::new(connections as usize));
        let exchange = Arc::new(self.exchange(faces, stop.clone()));
        let front = Front {
            exchange: exchange.clone(),
            http2: Arc::new(Http2::new(exchange.clone())),
            slots: slots.clone(),
        };
        let mut service = Service::new("front".into(), front);
        let mut fds = Fds::new();
        for (socket, address) in self.sockets {
            let address = address.to_string();
            fds.add(address.clone(), socket.into_raw_fd());
            let listener = ListenerConfig::tcp(address);
            let buffered = |write| L4BufferSettings::new(READ_BUFFER, write);
            service.add_listener(match &self.settings.tls {
                Some(tls) => listener.l4_buffer(buffered(TLS_WRITE_BUFFER)).tls(tls_settings(tls)?),
                None => listener.l4_buffer(buffered(WRITE_BUFFER)),
            });
        }
        let fds = Arc::new(parking_lot::Mutex::new(fds));
        let (close, closed) = watch::channel(false);
        let accepting = tokio::spawn(async move { service.start_service(Some(fds), closed, 1).await });

        let deadline = drained(stop, exchange.running.subscribe(), grace).await;
        close.send_replace(true);
        accepting.await.ok();
        Ok(timeout_at(deadline, slots.acquire_many(connections)).await.is_ok())
    }

    fn exchange(&self, faces: Faces, stop: watch::Receiver<bool>) -> Exchange {
        let public_url = self.public_url();
        let loopback = self.sockets.iter().all(|(_, address)| address.ip().is_loopback());
        Exchange {
            faces,
            limits: self.settings.limits.clone(),
            room: Room::new(&self.settings.limits),
            doors: Doors::new(&self.settings, &public_url, loopback),
            trusted: self.trusted.clone(),
            pages: Pages::new(public_url),
            streams: Streams::default(),
            stop,
            last_words: LAST_WORDS.min(*self.settings.shutdown_grace / 2),
            running: watch::Sender::new(0),
        }
    }
}

/// Waits for the stop, then until no request runs or the grace is over. Connections are accepted meanwhile, so that
/// probes and newcomers hear of the stop instead of finding a closed door. Gives the end of the grace.
async fn drained(
    mut stop: watch::Receiver<bool>,
    mut running: watch::Receiver<usize>,
    grace: Duration,
) -> Instant {
    if stop.wait_for(|stop| *stop).await.is_err() {
        tracing::warn!("whoever could stop the front is gone; it stops");
    }
    let deadline = Instant::now() + grace;
    timeout_at(deadline, running.wait_for(|running| *running == 0)).await.ok();
    deadline
}

/// Pingora panics on files that it cannot use, so they are tried first.
fn tls_settings(tls: &super::Tls) -> Result<TlsSettings, BindError> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let failed = |file: &str, what: &dyn std::fmt::Display| BindError::Tls(format!("{file}: {what}"));
    let chain: Vec<CertificateDer> = CertificateDer::pem_file_iter(&tls.cert_file)
        .and_then(Iterator::collect)
        .map_err(|e| failed(&tls.cert_file, &e))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|e| failed(&tls.key_file, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| failed(&tls.cert_file, &e))?;
    let mut settings =
        TlsSettings::intermediate(&tls.cert_file, &tls.key_file).map_err(|e| failed(&tls.cert_file, &e))?;
    settings.enable_h2();
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn connections_leave_descriptors_to_the_jobs() {
        for (wanted, descriptors, granted) in [
            (20_000, 256, 128),
            (20_000, 1_024, 512),
            (20_000, 20_000, 18_976),
            (20_000, u64::MAX, 20_000),
            (100, 256, 100),
            (20_000, 0, 0),
        ] {
            assert_eq!(connections(wanted, descriptors), granted, "{wanted} of {descriptors}");
        }
    }
}
