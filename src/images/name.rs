//! Names: of objects in storage, and of the files in links.

use super::{Keep, Owner};
use crate::images::link::THUMB_ENDINGS;
use plugin_api::Mime;
use uuid::Uuid;

/// `{team}/{yyyy}/{mm}/{dd}/{job}-{index}-{first 16 of the hash}.{ext}`. The job makes it unique, the hash makes a
/// repeat with the same bytes land on the same key. A folder for each job would cost a local disk as much as the image.
pub(super) fn object_key(what: &Keep<'_>, mime: Mime, sha256: &str) -> String {
    let day = jiff::Timestamp::from_microsecond(what.created_us)
        .unwrap_or_default()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    format!(
        "{}/{:04}/{:02}/{:02}/{}-{}-{}.{}",
        path_safe(what.team),
        day.year(),
        day.month(),
        day.day(),
        what.job_id,
        what.position,
        sha256.get(..16).unwrap_or(sha256),
        mime.extension(),
    )
}

/// The folder of an object's smaller copies.
pub(super) fn copies(object_key: &str) -> String {
    format!("{object_key}.copies/")
}

/// The type of an object, by the end of its key: what a bucket says of it when it is asked directly.
pub(super) fn content_type(key: &str) -> &'static str {
    let ending = key.rsplit('.').next().unwrap_or_default();
    let all = [Mime::Png, Mime::Jpeg, Mime::Webp, Mime::Gif, Mime::Avif];
    all.into_iter().find(|mime| mime.extension() == ending).map_or("application/octet-stream", Mime::as_str)
}

/// `uploads/{team}/{id}.{ext}`.
pub(super) fn upload_key(team: &str, id: Uuid, mime: Mime) -> String {
    format!("uploads/{}/{id}.{}", path_safe(team), mime.extension())
}

/// Reads a key that [`object_key`], [`upload_key`] or [`copies`] made.
pub(super) fn owner(key: &str) -> Option<Owner> {
    let object_key = key.split_once(".copies/").map_or(key, |(object, _)| object);
    let id = |name: &str| Uuid::try_parse(name.get(..36)?).ok();
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let job_id = match object_key.split('/').collect::<Vec<_>>()[..] {
        ["uploads", _, name] => {
            id(name).filter(|_| name.as_bytes().get(36) == Some(&b'.'))?;
            None
        }
        [_, year, month, day, name] if [year, month, day].into_iter().all(number) => {
            let job_id = id(name)?;
            let (position, rest) = name.get(36..)?.strip_prefix('-')?.split_once('-')?;
            let (hash, _) = rest.split_once('.')?;
            (number(position) && hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
                .then_some(())?;
            Some(job_id)
        }
        _ => return None,
    };
    Some(Owner { object_key: object_key.to_owned(), job_id })
}

/// One folder name: letters, digits, `-` and `_` stay, every other byte becomes `~` and its two hexadecimal
/// digits, so that different teams have different folders.
fn path_safe(team: &str) -> String {
    let mut safe = String::with_capacity(team.len());
    for byte in team.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => safe.push(byte.into()),
            _ => safe.push_str(&format!("~{byte:02x}")),
        }
    }
    if safe.is_empty() { "~".into() } else { safe }
}

/// What a served name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub id: Uuid,
    /// `png`, or `thumb.webp`.
    pub ending: &'a str,
}

/// Reads the last segment of a path as it was sent: anything that ends in `{id}.{ext}` or `{id}-thumb.{ext}`.
/// Names are plain ASCII; an escape or a separator of any kind is no name.
pub(super) fn parse(name: &str) -> Option<Asked<'_>> {
    const ID: usize = 36;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.len() > 255 || name.starts_with('.') || !name.bytes().all(plain) {
        return None;
    }
    let thumb = THUMB_ENDINGS.iter().find_map(|ending| {
        let stem = name.strip_suffix(ending)?.strip_suffix('-')?;
        Some((stem, *ending))
    });
    let (stem, ending) = thumb.or_else(|| name.rsplit_once('.'))?;
    let text = stem.get(stem.len().checked_sub(ID)?..)?;
    let id = Uuid::try_parse(text).ok()?;
    // One spelling per image: the signature covers the id, and caches see one name.
    (id.to_string() == text).then_some(Asked { id, ending })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190d4a8-6b1e-7c3a-9d55-0a1b2c3d4e5f";

    #[test]
    fn a_key_tells_team_day_job_and_bytes() {
        let job_id = Uuid::parse_str(ID).unwrap();
        // 2026-11-21T23:59:59.999999Z: the last microsecond of the day in UTC.
        let what = Keep { job_id, position: 2, team: "acme", created_us: 1_795_305_599_999_999 };
        let key = object_key(&what, Mime::Jpeg, "0123456789abcdef0123");
        assert_eq!(key, format!("acme/2026/11/21/{ID}-2-0123456789abcdef.jpg"));
        let next = Keep { created_us: what.created_us + 1, ..what };
        assert!(object_key(&next, Mime::Png, "00").starts_with("acme/2026/11/22/"));
    }

    #[test]
    fn a_key_tells_its_owner_and_a_strange_one_nothing() {
        let job_id = Uuid::parse_str(ID).unwrap();
        let what = Keep { job_id, position: 12, team: "a/b", created_us: 1_795_305_599_999_999 };
        let key = object_key(&what, Mime::Jpeg, "0123456789abcdef0123");
        let of_job = Some(Owner { object_key: key.clone(), job_id: Some(job_id) });
        assert_eq!(owner(&key), of_job);
        assert_eq!(owner(&format!("{}256.webp", copies(&key))), of_job);
        let key = upload_key("..", job_id, Mime::Png);
        assert_eq!(owner(&key), Some(Owner { object_key: key.clone(), job_id: None }));
        for strange in [
            "README.md",
            "uploads/t/x.png",
            "t/2026/11/21/x.png",
            &format!("t/2026/11/21/{ID}.png"),
            &format!("t/2026/11/21/{ID}-0-0123.png"),
            &format!("t/2026/xi/21/{ID}-0-0123456789abcdef.png"),
            &format!("else/t/2026/11/21/{ID}-0-0123456789abcdef.png"),
        ] {
            assert_eq!(owner(strange), None, "{strange}");
        }
    }

    #[test]
    fn no_team_name_leaves_its_folder() {
        for (team, folder) in [
            ("../x", "~2e~2e~2fx"),
            ("..", "~2e~2e"),
            ("", "~"),
            ("a/b", "a~2fb"),
            ("a\\b\0", "a~5cb~00"),
            ("é", "~c3~a9"),
            (".temp", "~2etemp"),
        ] {
            assert_eq!(path_safe(team), folder, "{team:?}");
        }
    }

    #[test]
    fn any_name_that_ends_in_id_and_extension_is_taken() {
        let id = Uuid::parse_str(ID).unwrap();
        for name in [format!("{ID}.png"), format!("hero_2-flux-schnell-{ID}.png"), format!("a.b{ID}.png")] {
            assert_eq!(parse(&name), Some(Asked { id, ending: "png" }), "{name}");
        }
        assert_eq!(parse(&format!("{ID}-thumb.webp")), Some(Asked { id, ending: "thumb.webp" }));
    }

    #[test]
    fn odd_names_are_no_names() {
        let upper = ID.to_uppercase();
        let long = "x".repeat(4096);
        for name in [
            String::new(),
            "con".into(),
            ID.into(),
            format!("../{ID}.png"),
            format!("..%2f{ID}.png"),
            format!("%2e%2e%2f{ID}.png"),
            format!("..%5c{ID}.png"),
            format!("..\\{ID}.png"),
            format!("%252e{ID}.png"),
            format!("%c0%ae{ID}.png"),
            format!("{ID}%00.png"),
            format!("{ID}\0.png"),
            format!("/{ID}.png"),
            format!("{long}{ID}.png"),
            format!("{upper}.png"),
            format!("é{ID}.png"),
            format!(".{ID}.png"),
            format!("{}.png", ID.replace('-', "")),
            format!("{{{ID}}}.png"),
            format!("{ID} .png"),
        ] {
            assert_eq!(parse(&name), None, "{name}");
        }
        // The row decides about the ending: none of these is a stored type.
        assert_eq!(parse(&format!("{ID}.")).map(|a| a.ending), Some(""));
        assert_eq!(parse(&format!("{ID}.png.")), None, "a trailing dot moves the id away");
    }
}
