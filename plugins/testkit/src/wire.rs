//! HTTP/1.1 requests as bytes: read from a socket or from a recorded file.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::path::Path;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// One part of a multipart body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenPart {
    pub name: String,
    pub file_name: Option<String>,
    pub content_type: Option<String>,
    pub bytes: Bytes,
}

impl Recorded {
    /// A recorded request: CRLF head, body as sent.
    ///
    /// # Panics
    /// When the file is missing or is no request.
    pub fn from_file(path: &Path) -> Recorded {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        match parse(&bytes) {
            Ok(Some((request, _))) => request,
            other => panic!("{}: no whole request: {other:?}", path.display()),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type without its parameters, in lower case.
    pub fn essence(&self) -> Option<String> {
        self.header("content-type").map(essence)
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The parts of a multipart body, in their order; empty when it is none.
    pub fn parts(&self) -> Vec<SeenPart> {
        let boundary = self
            .header("content-type")
            .and_then(|text| text.split(';').find_map(|p| p.trim().strip_prefix("boundary=")))
            .map(|b| b.trim_matches('"').to_owned());
        boundary.map(|b| split_parts(&self.body, &b)).unwrap_or_default()
    }
}

pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    haystack.get(from..)?.windows(needle.len()).position(|w| w == needle).map(|at| at + from)
}

fn header_lines(head: &[u8]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in head.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let colon = line.iter().position(|b| *b == b':').ok_or("a header line without a colon")?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|e| e.to_string())?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|e| e.to_string())?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The first request in a buffer and its length in bytes. `None`: it is not all there yet.
pub(crate) fn parse(buffer: &[u8]) -> Result<Option<(Recorded, usize)>, String> {
    let Some(end) = find(buffer, b"\r\n\r\n", 0) else { return Ok(None) };
    let line_end = find(buffer, b"\r\n", 0).unwrap_or(end);
    let line = std::str::from_utf8(&buffer[..line_end]).map_err(|e| e.to_string())?;
    let mut words = line.split(' ');
    let (Some(method), Some(path), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("`{line}` is no request line"));
    };
    let headers = header_lines(&buffer[line_end..end])?;
    let rest = &buffer[end + 4..];
    let chunked = headers.get("transfer-encoding").is_some_and(|v| v.as_bytes().ends_with(b"chunked"));
    let (body, used) = if chunked {
        match dechunk(rest)? {
            Some(done) => done,
            None => return Ok(None),
        }
    } else {
        let length = match headers.get("content-length") {
            Some(text) => text.to_str().ok().and_then(|t| t.parse().ok()).ok_or("bad content-length")?,
            None => 0_usize,
        };
        match rest.get(..length) {
            Some(body) => (Bytes::copy_from_slice(body), length),
            None => return Ok(None),
        }
    };
    let request = Recorded { method: method.into(), path: path.into(), headers, body };
    Ok(Some((request, end + 4 + used)))
}

fn dechunk(mut rest: &[u8]) -> Result<Option<(Bytes, usize)>, String> {
    let (whole, mut body) = (rest.len(), Vec::new());
    loop {
        let Some(end) = find(rest, b"\r\n", 0) else { return Ok(None) };
        let line = std::str::from_utf8(&rest[..end]).map_err(|e| e.to_string())?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("`{size}` is no chunk size"))?;
        let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else { return Ok(None) };
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[end + 2 + size + 2..];
        if size == 0 {
            return Ok(Some((body.into(), whole - rest.len())));
        }
    }
}

fn split_parts(body: &[u8], boundary: &str) -> Vec<SeenPart> {
    let mark = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut at = find(body, mark.as_bytes(), 0);
    while let Some(begin) = at.map(|a| a + mark.len()) {
        let next = find(body, mark.as_bytes(), begin);
        if let (Some(next), Some(head_end)) = (next, find(body, b"\r\n\r\n", begin))
            && head_end + 4 <= next.saturating_sub(2)
        {
            let headers = header_lines(&body[begin..head_end]).unwrap_or_default();
            let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            let disposition = text("content-disposition").unwrap_or_default();
            let field = |key: &str| {
                disposition.split(';').find_map(|p| {
                    let value = p.trim().strip_prefix(key)?.strip_prefix('=')?;
                    Some(value.trim_matches('"').to_owned())
                })
            };
            parts.push(SeenPart {
                name: field("name").unwrap_or_default(),
                file_name: field("filename"),
                content_type: text("content-type"),
                bytes: Bytes::copy_from_slice(&body[head_end + 4..next - 2]),
            });
        }
        at = next;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_whole_and_not_before() {
        let plain = b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
        let chunked =
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n";
        for whole in [&plain[..], &chunked[..]] {
            for len in 0..whole.len() {
                assert!(parse(&whole[..len]).unwrap().is_none(), "{len} bytes are not enough");
            }
            let mut twice = whole.to_vec();
            twice.extend_from_slice(b"GET");
            let (request, used) = parse(&twice).unwrap().unwrap();
            assert_eq!((used, &request.body[..]), (whole.len(), &b"hello"[..]));
        }
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn multipart_parts_keep_their_bytes() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\r\nx\r\n--b--\r\n";
        let parts = split_parts(body.as_bytes(), "b");
        assert_eq!((parts[0].name.as_str(), &parts[0].bytes[..]), ("n", &b"1"[..]));
        assert_eq!(parts[1].file_name.as_deref(), Some("a.png"));
        assert_eq!(&parts[1].bytes[..], b"\r\nx", "the body may begin with a line break");
    }
}
