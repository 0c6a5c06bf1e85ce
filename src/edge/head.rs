//! The request's head: strict framing and caps, before anything is believed.

use super::{RequestLimits, answer::Refusal};
use http::{HeaderMap, StatusCode};
use pingora::{http::RequestHeader, protocols::http::ServerSession};

/// Caps first, then the framing of HTTP/1: what two parsers could read in two ways is refused.
pub fn check(session: &ServerSession, limits: &RequestLimits) -> Result<(), Refusal> {
    let head = session.req_header();
    let size = match session.is_http2() {
        true => size(&head.headers) + head.raw_path().len(),
        false => session.to_h1_raw().len(),
    };
    caps(head, size, limits)?;
    match session.is_http2() {
        true => Ok(()),
        false => framing(&session.to_h1_raw(), head.version == http::Version::HTTP_11)
            .map_err(|sentence| Refusal::closing(StatusCode::BAD_REQUEST, sentence)),
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn caps(head: &RequestHeader, size: usize, limits: &RequestLimits) -> Result<(), Refusal> {
    if head.raw_path().len() > limits.uri.as_usize() {
        let sentence = format!("The request's target is longer than {}.", limits.uri);
        return Err(Refusal::closing(StatusCode::URI_TOO_LONG, sentence));
    }
    let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    if size > limits.headers.as_usize() {
        let sentence = format!("The request's header is larger than {}.", limits.headers);
        return Err(Refusal::closing(too_large, sentence));
    }
    if head.headers.len() > limits.header_fields as usize {
        let sentence = format!("The request has more than {} header fields.", limits.header_fields);
        return Err(Refusal::closing(too_large, sentence));
    }
    Ok(())
}

/// Looks at the header as it was sent: the parser before it forgives bare line feeds and drops one of two lengths.
fn framing(raw: &[u8], http11: bool) -> Result<(), &'static str> {
    if raw.contains(&0) {
        return Err("A header must not contain NUL.");
    }
    let bare = |(at, byte): (usize, &u8)| match byte {
        b'\n' => at == 0 || raw[at - 1] != b'\r',
        b'\r' => raw.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    if raw.iter().enumerate().any(bare) {
        return Err("Header lines end with CR LF.");
    }
    let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
    let text = raw.trim_ascii();
    for line in text.split(|b| *b == b'\n').skip(1) {
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err("A header must not be folded over lines.");
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err("Content-Length is a number.");
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("The only transfer coding is chunked.");
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    if lengths + codings > 1 {
        return Err("Send one Content-Length or one Transfer-Encoding.");
    }
    if hosts > 1 || (http11 && hosts == 0) {
        return Err("Send one Host header.");
    }
    Ok(())
}

/// What to say when not even a head could be read. `None`: nothing, the client has left.
pub fn unreadable(error: &pingora::Error) -> Option<Refusal> {
    use pingora::ErrorType;
    if error.etype() != &ErrorType::InvalidHTTPHeader {
        return None;
    }
    let text = error.to_string();
    let refusal = if text.contains("larger than") || text.contains("too many headers") {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Refusal::closing(status, "The request's header is too large.")
    } else {
        Refusal::closing(StatusCode::BAD_REQUEST, "This is no valid HTTP request.")
    };
    Some(refusal)
}

#[cfg(test)]
mod tests {
    use super::framing;

    #[test]
    fn a_request_that_can_be_read_in_two_ways_is_refused() {
        for bad in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            "GET / HTTP/1.1\r\nX: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        ] {
            assert!(framing(bad.as_bytes(), true).is_err(), "{bad:?}");
        }
        for good in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost:a\r\nContent-Length:  5 \r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        ] {
            assert_eq!(framing(good.as_bytes(), true), Ok(()), "{good:?}");
        }
        assert_eq!(framing(b"GET / HTTP/1.0\r\n\r\n", false), Ok(()), "HTTP/1.0 knows no Host");
    }
}
