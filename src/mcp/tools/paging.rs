//! The arguments of every list: what it is narrowed to, and which part of it. A cursor is the place of the last row
//! that was given, and belongs to the list it was given for: the same tool, team and narrowing.

use super::{
    Cx,
    arguments::{Arguments, bad},
};
use crate::{
    jobs::Refused,
    store::{Filter, Place, Window},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::digest::{SHA256, digest};
use uuid::Uuid;

/// Longest text that is looked for, in characters.
const LONGEST: usize = 200;

pub struct Paging {
    pub filter: Filter,
    pub window: Window,
    pages: Pages,
}

/// The cursors of one list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages([u8; 8]);

impl Paging {
    /// `list`: the tool, and what else of its arguments narrows the list.
    pub fn read(cx: Cx<'_>, args: &mut Arguments, list: (&str, &str)) -> Result<Paging, Refused> {
        let (text, model) = (args.text("text", LONGEST)?, args.text("model", LONGEST)?);
        let now_us = cx.inner.clock.now_us();
        let (since, until) = (args.moment("since", now_us, false)?, args.moment("until", now_us, true)?);
        if let (Some((since_us, _)), Some((until_us, said))) = (&since, &until)
            && since_us >= until_us
        {
            return Err(bad("until", format!("`until` is {said}, which is not after `since`.")));
        }
        let limit = args.integer("limit", 1..=50)?.unwrap_or(10).unsigned_abs();
        let offset = args.integer("offset", 0..=i64::from(u32::MAX))?.unwrap_or(0).unsigned_abs();
        let team = cx.call.team();
        // By the words of the caller: `7d` is another moment in every call, and still the same list.
        let words = |moment: &Option<(i64, String)>| moment.as_ref().map(|(_, said)| said.clone());
        let pages = Pages::of(&(list, team, &text, &model, words(&since), words(&until)));
        let after = match args.text("cursor", LONGEST)? {
            None => None,
            Some(_) if offset > 0 => {
                return Err(bad("offset", "`offset` counts from the start: give it or `cursor`.".into()));
            }
            Some(cursor) => Some(pages.place(&cursor).ok_or_else(foreign)?),
        };
        let (since_us, until_us) = (since.map(|(at, _)| at), until.map(|(at, _)| at));
        let filter = Filter { model, text, since_us, until_us, ..Filter::of_team(team) };
        Ok(Paging { filter, window: Window { limit, offset, after }, pages })
    }

    /// Leads to what comes after a row.
    pub fn cursor(&self, last: Place) -> String {
        self.pages.cursor(last)
    }
}

fn foreign() -> Refused {
    let text =
        "`cursor` is not of this list: repeat the other arguments of the call that gave it, or leave it out.";
    bad("cursor", text.into())
}

impl Pages {
    /// `list`: what tells it from others.
    pub fn of<T: serde::Serialize>(list: &T) -> Pages {
        let text = serde_json::to_vec(list).unwrap_or_default();
        let mut short = [0; 8];
        short.copy_from_slice(&digest(&SHA256, &text).as_ref()[..8]);
        Pages(short)
    }

    pub fn cursor(self, last: Place) -> String {
        let parts = [&last.created_us.to_be_bytes()[..], last.id.as_bytes(), &self.0];
        BASE64.encode(parts.concat())
    }

    /// `None`: the cursor is not of this list.
    pub fn place(self, cursor: &str) -> Option<Place> {
        let bytes: [u8; 32] = BASE64.decode(cursor.trim()).ok()?.try_into().ok()?;
        let (created, rest) = bytes.split_first_chunk::<8>()?;
        let (id, of) = rest.split_first_chunk::<16>()?;
        let place = Place { created_us: i64::from_be_bytes(*created), id: Uuid::from_bytes(*id) };
        (of == self.0).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_place_in_one_list() {
        let last = Place { created_us: 1_795_262_400_000_123, id: Uuid::new_v4() };
        let (mine, other) = (Pages::of(&("list_jobs", "a")), Pages::of(&("list_jobs", "b")));
        let cursor = mine.cursor(last);
        assert!(cursor.len() <= 43 && mine.place(&cursor) == Some(last), "{cursor}");
        assert_eq!(other.place(&cursor), None);
        for broken in ["", "x", &cursor[1..], &format!("{cursor}AAAA")] {
            assert_eq!(mine.place(broken), None, "{broken}");
        }
    }
}
