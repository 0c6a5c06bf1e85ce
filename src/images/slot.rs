//! Upload slots: a link that takes one image, once. Everything it stands for is in the link itself, signed, so a slot
//! that is never used leaves nothing behind.

use super::{Images, link::LinkBase};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a slot waits for its bytes.
const LIFE_SECONDS: i64 = 15 * 60;

/// What a slot stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub id: Uuid,
    pub team: String,
    pub key: String,
    /// Seconds UTC.
    pub ends: i64,
}

/// A new slot's link, and when it ends (microseconds UTC).
#[derive(Debug, Clone)]
pub struct SlotLink {
    pub id: Uuid,
    pub url: String,
    pub expires_us: i64,
}

impl Images {
    /// A link for one `PUT` of an image; `None` where nobody serves links (stdio).
    pub fn slot(&self, team: &str, key: &str) -> Option<SlotLink> {
        let LinkBase::Http(public_url) = self.links.base() else { return None };
        let ends = self.clock.now_us().div_euclid(1_000_000) + LIFE_SECONDS;
        let slot = Slot { id: Uuid::new_v4(), team: team.to_owned(), key: key.to_owned(), ends };
        let text = BASE64.encode(serde_json::to_vec(&slot).ok()?);
        let signature = BASE64.encode(self.links.sign(&signed_text(&text)));
        let url = format!("{}/uploads/{text}.{signature}", public_url.load().trim_end_matches('/'));
        Some(SlotLink { id: slot.id, url, expires_us: ends * 1_000_000 })
    }

    /// The slot behind the end of a link; `None`: it is not ours, was changed, or has ended.
    pub fn open_slot(&self, token: &str) -> Option<Slot> {
        let (text, signature) = token.split_once('.')?;
        let signature = BASE64.decode(signature).ok()?;
        self.links.signed(&signed_text(text), &signature).then_some(())?;
        let slot: Slot = serde_json::from_slice(&BASE64.decode(text).ok()?).ok()?;
        let left = slot.ends - self.clock.now_us().div_euclid(1_000_000);
        (0..=LIFE_SECONDS).contains(&left).then_some(slot)
    }
}

fn signed_text(text: &str) -> Vec<u8> {
    format!("upload-slot-1|{text}").into_bytes()
}
