//! The answer to `GET /images/{name}`, without a word about any HTTP library. Whoever may not see an image learns
//! nothing: an unknown id, a broken or an ended link and a wrong name get the same answer.

use super::{
    ImageError, Images, link, name, preview,
    range::{self, Wanted},
};
use crate::{store::Image, telemetry::utc};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use plugin_api::Mime;
use std::{io, time::Duration};
use tokio::{sync::mpsc, time::timeout};

/// Larger images are read while they are sent.
const WHOLE: u64 = 256 << 10;
/// Whoever asks for an image waits no longer for storage to say whether it is there; storage itself tries on for longer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest time a private cache keeps an image.
const LONGEST_CACHE_SECONDS: i64 = 86_400;

/// What to send after the head.
#[derive(Debug)]
pub enum ImageBody {
    Empty,
    Bytes(Bytes),
    /// Pieces in order; dropping the receiver stops the reading. An `Err` is the last: break the connection off.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

/// What is served: the stored bytes, or a thumbnail of them.
struct Served {
    mime: Mime,
    etag: String,
    len: u64,
    /// Already in memory; else in storage under the row's key.
    bytes: Option<Bytes>,
}

impl Images {
    /// Answers a GET (or a HEAD, whose body the caller drops) for one image. `name`: the last segment of the path
    /// as it was sent, not decoded; `query`: what followed the `?`.
    pub async fn serve(&self, name: &str, query: &str, headers: &HeaderMap) -> Response<ImageBody> {
        match self.answer(name, query, headers).await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(ImageError::Missing) => not_found(),
            Err(error) => {
                tracing::error!(error = %error, "an image could not be served");
                away()
            }
        }
    }

    async fn answer(
        &self,
        name: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Option<Response<ImageBody>>, ImageError> {
        let now_us = self.clock.now_us();
        let Some(asked) = name::parse(name) else { return Ok(None) };
        let Ok(left) = self.links.admit(asked.id, asked.ending, query, now_us) else { return Ok(None) };
        let Some(image) = self.rows.image(asked.id).await? else { return Ok(None) };
        if let Some(at) = image.deleted_us {
            return Ok(Some(gone(at)));
        }
        if image.expires_us.is_some_and(|end| end <= now_us) {
            return Ok(None);
        }
        let Some(served) = self.find(&image, asked.ending).await? else { return Ok(None) };

        let known = range::is_known(headers, &served.etag);
        let wanted = if known { Wanted::Whole } else { range::wanted(headers, &served.etag, served.len) };
        let (status, from, to) = match wanted {
            _ if known => (StatusCode::NOT_MODIFIED, 0, 0),
            Wanted::Whole => (StatusCode::OK, 0, served.len),
            Wanted::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last + 1),
            Wanted::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
        };
        let body = if from == to { ImageBody::Empty } else { self.body(&image, &served, from, to).await? };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        let cache = left.unwrap_or(LONGEST_CACHE_SECONDS).min(LONGEST_CACHE_SECONDS);
        let head = answer.headers_mut();
        describe(head, &served.etag, cache, image.created_us);
        match status {
            StatusCode::NOT_MODIFIED => {}
            StatusCode::RANGE_NOT_SATISFIABLE => {
                head.insert(header::CONTENT_LENGTH, 0.into());
                set(head, header::CONTENT_RANGE, &format!("bytes */{}", served.len));
            }
            _ => {
                head.insert(header::CONTENT_TYPE, HeaderValue::from_static(served.mime.as_str()));
                head.insert(header::CONTENT_LENGTH, (to - from).into());
                set(head, header::CONTENT_DISPOSITION, &format!("inline; filename=\"{name}\""));
            }
        }
        if status == StatusCode::PARTIAL_CONTENT {
            set(head, header::CONTENT_RANGE, &format!("bytes {from}-{}/{}", to - 1, served.len));
        }
        Ok(Some(answer))
    }

    async fn find(&self, image: &Image, ending: &str) -> Result<Option<Served>, ImageError> {
        let Some(mime) = Mime::parse(&image.mime) else { return Ok(None) };
        if ending == mime.extension() {
            let late = |_| ImageError::Storage(format!("no answer in {} s", PATIENCE.as_secs()));
            let looked = timeout(PATIENCE, self.storage.length(&image.object_key)).await.map_err(late)?;
            let len = looked?.ok_or(ImageError::Missing)?;
            if i64::try_from(len).ok() != Some(image.bytes) {
                tracing::error!(image.id = %image.id, found = len, recorded = image.bytes, "stored image has another length");
                return Ok(None);
            }
            return Ok(Some(Served { mime, etag: format!("\"{}\"", image.sha256), len, bytes: None }));
        }
        if ending != link::thumb_ending(self.settings.thumbnail.format) || !preview::possible(mime) {
            return Ok(None);
        }
        let Some((mime, bytes)) = self.thumbnail(image).await? else { return Ok(None) };
        let etag = format!("\"{}-{}\"", image.sha256, self.settings.thumbnail.edge);
        Ok(Some(Served { mime, etag, len: bytes.len() as u64, bytes: Some(bytes) }))
    }

    async fn body(
        &self,
        image: &Image,
        served: &Served,
        from: u64,
        to: u64,
    ) -> Result<ImageBody, ImageError> {
        if let Some(bytes) = &served.bytes {
            return Ok(ImageBody::Bytes(bytes.slice(from as usize..to as usize)));
        }
        let mut pieces = self.storage.stream(&image.object_key, from, to).await?;
        if to - from > WHOLE {
            return Ok(ImageBody::Stream(pieces));
        }
        let piece = pieces.recv().await.ok_or(ImageError::Missing)?;
        piece.map(ImageBody::Bytes).map_err(|error| ImageError::Storage(error.to_string()))
    }
}

/// The headers that every answer about a visible image carries.
fn describe(head: &mut HeaderMap, etag: &str, cache_seconds: i64, created_us: i64) {
    guard(head);
    set(head, header::ETAG, etag);
    set(head, header::CACHE_CONTROL, &format!("private, max-age={cache_seconds}, immutable"));
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(at) = jiff::Timestamp::from_microsecond(created_us) {
        set(head, header::LAST_MODIFIED, &at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    }
}

/// Whatever the bytes are, a browser shows a picture and runs nothing.
fn guard(head: &mut HeaderMap) {
    head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
}

fn set(head: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        head.insert(name, value);
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<ImageBody> {
    let text = text.into();
    let length = text.len();
    let mut answer = Response::new(ImageBody::Bytes(text));
    *answer.status_mut() = status;
    let head = answer.headers_mut();
    guard(head);
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    head.insert(header::CONTENT_LENGTH, length.into());
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn not_found() -> Response<ImageBody> {
    plain(StatusCode::NOT_FOUND, "No image is here: the link is wrong or has ended.\n")
}

/// For those whose link is good.
fn gone(deleted_us: i64) -> Response<ImageBody> {
    plain(StatusCode::GONE, format!("This image was deleted on {}.\n", utc(deleted_us)))
}

fn away() -> Response<ImageBody> {
    let mut answer =
        plain(StatusCode::SERVICE_UNAVAILABLE, "Images cannot be read just now. Try again in a moment.\n");
    answer.headers_mut().insert(header::RETRY_AFTER, 5.into());
    answer
}
