//! `Range` and the conditional headers of one GET (RFC 9110, sections 13 and 14).

use http::{HeaderMap, header};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    /// From the first byte to the last, both included.
    Part(u64, u64),
    Unsatisfiable,
}

/// Which bytes of `len` are asked for. Several ranges, other units and nonsense get the whole.
pub(super) fn wanted(headers: &HeaderMap, etag: &str, len: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok()).map(str::trim);
    if text(header::IF_RANGE).is_some_and(|condition| condition != etag) {
        return Wanted::Whole;
    }
    let Some((first, last)) =
        text(header::RANGE).and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(Some(digits.parse::<u64>().unwrap_or(u64::MAX)))
        }
        _ => None,
    };
    match (number(first), number(last)) {
        (Some(Some(first)), Some(last)) => {
            let last = last.unwrap_or(u64::MAX);
            if last < first {
                Wanted::Whole
            } else if first >= len {
                Wanted::Unsatisfiable
            } else {
                Wanted::Part(first, last.min(len - 1))
            }
        }
        (Some(None), Some(Some(suffix))) if suffix == 0 || len == 0 => Wanted::Unsatisfiable,
        (Some(None), Some(Some(suffix))) => Wanted::Part(len.saturating_sub(suffix), len - 1),
        _ => Wanted::Whole,
    }
}

/// The caller has these bytes already: one of its entity tags is ours, compared weakly, or `*`.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn one_range_is_answered_and_all_else_gets_the_whole() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (range, expected) in [
            ("bytes=0-99", Part(0, 99)),
            ("bytes=0-0", Part(0, 0)),
            ("bytes=10-", Part(10, 999)),
            ("bytes=-10", Part(990, 999)),
            ("bytes=-5000", Part(0, 999)),
            ("bytes=900-5000", Part(900, 999)),
            ("bytes=999-99999999999999999999999", Part(999, 999)),
            ("bytes=1000-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-1,5-6", Whole),
            ("bytes=9-1", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("items=0-1", Whole),
        ] {
            assert_eq!(wanted(&with(&[("range", range)]), "\"e\"", 1000), expected, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), "\"e\"", 1000), Whole);
    }

    #[test]
    fn a_range_of_other_bytes_than_the_caller_has_is_answered_with_the_whole() {
        let old = with(&[("range", "bytes=5-"), ("if-range", "\"old\"")]);
        assert_eq!(wanted(&old, "\"e\"", 10), Wanted::Whole);
        let same = with(&[("range", "bytes=5-"), ("if-range", "\"e\"")]);
        assert_eq!(wanted(&same, "\"e\"", 10), Wanted::Part(5, 9));
    }

    #[test]
    fn a_known_tag_is_found_in_lists_and_weak_forms() {
        for value in ["\"e\"", "W/\"e\"", "\"x\", \"e\"", "*"] {
            assert!(is_known(&with(&[("if-none-match", value)]), "\"e\""), "{value}");
        }
        assert!(!is_known(&with(&[("if-none-match", "\"x\"")]), "\"e\""));
        assert!(!is_known(&HeaderMap::new(), "\"e\""));
    }
}
