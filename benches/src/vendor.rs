//! A vendor that speaks OpenAI's image dialect and answers at once, on a thread of this process: its CPU time is not
//! the gateway's. The first part of the path says how it behaves.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

/// In how many pieces, and how far apart, `/slow` sends the large image.
const PIECES: usize = 30;
const PAUSE: Duration = Duration::from_millis(100);
const REFUSAL: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 33\r\n\r\n\
    {\"error\":{\"message\":\"slow down\"}}";

pub struct Vendor {
    pub address: SocketAddr,
    first: Arc<Mutex<Option<Instant>>>,
    released: watch::Sender<bool>,
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    first: Arc<Mutex<Option<Instant>>>,
    released: watch::Receiver<bool>,
}

impl Vendor {
    /// `/small`, `/large` and `/slow` answer with these images, `/held` with the small one when it is released, `/refuse`
    /// with 429, `/never` not at all.
    ///
    /// # Errors
    /// No socket can be had.
    pub fn start(small: &[u8], large: &[u8]) -> Result<Vendor> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let first = Arc::new(Mutex::new(None));
        let (released, hears) = watch::channel(false);
        let (small, large) = (answer(small), answer(large));
        let answers = Arc::new(Answers { small, large, first: first.clone(), released: hears });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    let answers = answers.clone();
                    tokio::spawn(async move { serve(stream, &answers).await.ok() });
                }
            });
        });
        Ok(Vendor { address, first, released })
    }

    pub fn url(&self, behaviour: &str) -> String {
        format!("http://{}/{behaviour}/v1", self.address)
    }

    /// From now on `/held` waits,
    pub fn hold(&self) {
        self.released.send_replace(false);
    }

    /// and from now on it answers.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Forgets what has been asked.
    pub fn forget(&self) {
        *self.first.lock().unwrap_or_else(|e| e.into_inner()) = None;
    }

    /// When it was first asked since.
    pub fn first_asked(&self) -> Option<Instant> {
        *self.first.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn answer(image: &[u8]) -> Vec<u8> {
    let body = format!(r#"{{"created":1780000000,"data":[{{"b64_json":"{}"}}]}}"#, STANDARD.encode(image));
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

async fn serve(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        bytes.clear();
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            if is_whole(&bytes) {
                break;
            }
        }
        answers.first.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert_with(Instant::now);
        let path = bytes.strip_prefix(b"POST ").unwrap_or_default();
        match path.get(..4) {
            Some(b"/sma") => stream.write_all(&answers.small).await?,
            Some(b"/lar") => stream.write_all(&answers.large).await?,
            Some(b"/slo") => {
                for piece in answers.large.chunks(answers.large.len().div_ceil(PIECES)) {
                    stream.write_all(piece).await?;
                    sleep(PAUSE).await;
                }
            }
            Some(b"/hel") => {
                answers.released.clone().wait_for(|released| *released).await.ok();
                stream.write_all(&answers.small).await?;
            }
            Some(b"/ref") => stream.write_all(REFUSAL).await?,
            _ => std::future::pending().await,
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

/// A PNG of at most `bytes` bytes, and little less: rows of noise, which cannot be compressed, above plain ones.
///
/// # Errors
/// It cannot be encoded.
pub fn png(edge: u32, bytes: usize) -> Result<Vec<u8>> {
    let mut noisy_rows = u32::try_from(bytes / (edge as usize * 3))?;
    loop {
        let png = with_noise(edge, noisy_rows)?;
        match noisy_rows.checked_sub(1) {
            Some(fewer) if png.len() > bytes => noisy_rows = fewer,
            _ => return Ok(png),
        }
    }
}

fn with_noise(edge: u32, rows: u32) -> Result<Vec<u8>> {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    let picture = image::RgbImage::from_fn(edge, edge, |_, y| {
        image::Rgb(if y < rows { [noise(), noise(), noise()] } else { [40, 90, 160] })
    });
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_with_encoder(PngEncoder::new_with_quality(
        &mut png,
        CompressionType::Level(6),
        FilterType::NoFilter,
    ))?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_have_the_sizes_that_the_table_names() {
        for (edge, bytes) in [(256, 12_000), (1024, 1_300_000)] {
            let png = png(edge, bytes).unwrap();
            let off = png.len().abs_diff(bytes) as f64 / bytes as f64;
            assert!(off < 0.1 && png.len() <= bytes, "{} bytes, wanted {bytes}", png.len());
        }
    }

    #[test]
    fn a_request_is_whole_with_the_last_byte_of_its_body() {
        let request = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        assert!(is_whole(request) && !is_whole(&request[..request.len() - 1]) && !is_whole(&request[..20]));
    }
}
