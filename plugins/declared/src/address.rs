//! Addresses in descriptions.

use url::Url;

/// # Errors
/// It is no http(s) address with a host, or it holds a credential.
pub fn parse(text: &str) -> Result<Url, String> {
    let bad = || format!("`{text}` is not an address such as https://api.example.com/v1");
    let url = Url::parse(text).map_err(|_| bad())?;
    let good = matches!(url.scheme(), "https" | "http") && url.host().is_some();
    match good && url.username().is_empty() && url.password().is_none() {
        true => Ok(url),
        false => Err(bad()),
    }
}

/// RFC 3986: everything but the unreserved characters.
pub fn percent(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            b'/' if keep_slash => out.push('/'),
            byte if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub fn is_header_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}
