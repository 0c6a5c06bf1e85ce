//! Links: what a caller is given to get at the bytes, and whether a link that comes back is ours and still runs.

use super::{Delivery, Settings, ThumbnailFormat, storage::Storage};
use crate::store::Image;
use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use plugin_api::Mime;
use ring::hmac;
use std::{sync::Arc, time::Duration};
use url::Url;
use uuid::Uuid;

/// Named endings of the two kinds of thumbnail.
pub(super) const THUMB_ENDINGS: [&str; 2] = ["thumb.webp", "thumb.jpg"];
/// How much longer than the configured life a signed link may still run: clocks of several nodes differ.
const SLACK_SECONDS: i64 = 3_600;

/// A link to an image, and when it ends (microseconds UTC; `None`: never).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub url: String,
    pub expires_us: Option<i64>,
}

/// The keys that links are signed with. Links of a previous key work until they end.
#[derive(Clone)]
pub struct LinkKeys {
    pub current: [u8; 32],
    pub previous: Vec<[u8; 32]>,
}

/// Where links lead.
#[derive(Debug, Clone)]
pub enum LinkBase {
    /// To `{public_url}/images/...`; known only once the port is bound, and may change on a reload.
    Http(Arc<ArcSwap<String>>),
    /// Nobody serves links: to the stored file itself, or to the bucket.
    File,
}

impl LinkBase {
    pub fn http(public_url: &str) -> LinkBase {
        LinkBase::Http(Arc::new(ArcSwap::from_pointee(public_url.to_owned())))
    }
}

/// The ending of an image's file name.
pub(super) fn extension(image: &Image) -> &'static str {
    Mime::parse(&image.mime).map_or("bin", Mime::extension)
}

pub(super) fn thumb_ending(format: ThumbnailFormat) -> &'static str {
    match format {
        ThumbnailFormat::Webp => THUMB_ENDINGS[0],
        ThumbnailFormat::Jpeg => THUMB_ENDINGS[1],
    }
}

pub(super) struct Links {
    delivery: Delivery,
    base_url: Option<String>,
    ttl_seconds: i64,
    base: LinkBase,
    sign: hmac::Key,
    accept: Vec<hmac::Key>,
}

impl Links {
    pub fn new(settings: &Settings, keys: &LinkKeys, base: LinkBase) -> Links {
        let key = |bytes: &[u8; 32]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Links {
            delivery: settings.delivery,
            base_url: settings.base_url.clone(),
            ttl_seconds: i64::try_from(settings.signed_url_ttl.as_secs()).unwrap_or(i64::MAX),
            base,
            sign: key(&keys.current),
            accept: std::iter::once(&keys.current).chain(&keys.previous).map(key).collect(),
        }
    }

    pub fn base(&self) -> &LinkBase {
        &self.base
    }

    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        hmac::sign(&self.sign, text).as_ref().to_vec()
    }

    /// Whether this was signed here, with the current secret or one before.
    pub fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        self.accept.iter().any(|key| hmac::verify(key, text, signature).is_ok())
    }

    /// Whether links lead to a server; else they name files of this machine.
    pub fn served(&self) -> bool {
        matches!(self.base, LinkBase::Http(_))
    }

    pub fn link(&self, image: &Image, ending: &str, now_us: i64, storage: &Storage) -> Link {
        let expires_us = image.expires_us;
        let thumb = THUMB_ENDINGS.contains(&ending);
        let ends = now_us.div_euclid(1_000_000).saturating_add(self.ttl_seconds);
        let ends = expires_us.map_or(ends, |us| ends.min(us.div_euclid(1_000_000)));
        let presigned = || {
            let life = Duration::from_secs(u64::try_from(ends - now_us.div_euclid(1_000_000)).ok()?);
            let url = storage.presigned(&image.object_key, life)?;
            Some(Link { url, expires_us: Some(ends.saturating_mul(1_000_000)) })
        };
        let at_base = || {
            let base = self.base_url.as_ref().filter(|_| self.delivery == Delivery::BaseUrl)?;
            Some(Link { url: format!("{}/{}", base.trim_end_matches('/'), image.object_key), expires_us })
        };
        let public_url = match &self.base {
            LinkBase::Http(url) => url.load(),
            LinkBase::File => {
                let file = storage.local_path(&image.object_key).and_then(|p| Url::from_file_path(p).ok());
                let file = file.map(|url| Link { url: url.into(), expires_us });
                let link = file.or_else(at_base).or_else(presigned);
                return link.unwrap_or_else(|| Link { url: String::new(), expires_us });
            }
        };
        // Thumbnails have no object until they are asked for: only the gateway's own links lead to them.
        let direct = match self.delivery {
            Delivery::BaseUrl if !thumb => at_base(),
            // Where the bucket cannot sign just now, the gateway serves the image itself.
            Delivery::Presigned if !thumb => presigned(),
            _ => None,
        };
        if let Some(link) = direct {
            return link;
        }
        let dot = if thumb { '-' } else { '.' };
        let url = format!("{}/images/{}{dot}{ending}", public_url.trim_end_matches('/'), image.id);
        if self.delivery == Delivery::Public {
            return Link { url, expires_us };
        }
        let signature = BASE64.encode(hmac::sign(&self.sign, &signed_text(image.id, ending, ends)));
        Link {
            url: format!("{url}?exp={ends}&sig={signature}"),
            expires_us: Some(ends.saturating_mul(1_000_000)),
        }
    }

    /// Every origin that a link can have.
    pub fn origins(&self, storage: &Storage) -> Vec<String> {
        let gateway = match &self.base {
            LinkBase::Http(url) => Some(url.load().to_string()),
            LinkBase::File => None,
        };
        let elsewhere = match self.delivery {
            Delivery::BaseUrl => self.base_url.clone(),
            Delivery::Presigned => storage.presigned("origin", Duration::from_secs(60)),
            Delivery::Signed | Delivery::Public => None,
        };
        let mut origins: Vec<String> = Vec::new();
        for url in gateway.into_iter().chain(elsewhere) {
            let origin = Url::parse(&url).map(|url| url.origin());
            if let Some(origin) = origin.ok().filter(|o| o.is_tuple()).map(|o| o.ascii_serialization())
                && !origins.contains(&origin)
            {
                origins.push(origin);
            }
        }
        origins
    }

    /// Whether a request may see the image; the seconds that its link still runs (`None`: without end).
    pub fn admit(&self, id: Uuid, ending: &str, query: &str, now_us: i64) -> Result<Option<i64>, Denied> {
        if self.delivery == Delivery::Public {
            return Ok(None);
        }
        let (ends, signature) = exp_and_sig(query).ok_or(Denied)?;
        let text = signed_text(id, ending, ends);
        if !self.signed(&text, &signature) {
            return Err(Denied);
        }
        let left = ends.saturating_sub(now_us.div_euclid(1_000_000));
        let longest = self.ttl_seconds.saturating_add(SLACK_SECONDS);
        if left > 0 && left <= longest { Ok(Some(left)) } else { Err(Denied) }
    }
}

/// The link is not ours, has ended, or was changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied;

fn signed_text(id: Uuid, ending: &str, ends: i64) -> Vec<u8> {
    format!("image-link-1|{id}|{ending}|{ends}").into_bytes()
}

/// Exactly one `exp` and one `sig`, nothing else, each in its one spelling.
fn exp_and_sig(query: &str) -> Option<(i64, Vec<u8>)> {
    let (mut exp, mut sig) = (None, None);
    for pair in query.split('&') {
        let slot = match pair.split_once('=')? {
            ("exp", value) => exp.replace(value),
            ("sig", value) => sig.replace(value),
            _ => return None,
        };
        if slot.is_some() {
            return None;
        }
    }
    let (exp, sig) = (exp?, sig?);
    let ends: i64 = exp.parse().ok()?;
    (ends.to_string() == exp).then_some(())?;
    Some((ends, BASE64.decode(sig).ok()?))
}
