//! Lifts base64 out of a JSON (or SSE) answer while it streams: every string longer than [`THRESHOLD`] that is
//! base64 is decoded straight into the spool, and a short marker takes its place in the text that is parsed.
//! So an answer of a hundred megabytes is parsed as a few hundred bytes, and never stands in memory whole.

use base64::{Engine, alphabet, engine};
use std::io;

/// Shorter strings stay where they are.
pub const THRESHOLD: usize = 1024;
/// How the marker of blob `n` begins, followed by the number. No vendor text starts with this control character.
pub const MARK: &str = "\u{1}blob:";

/// Base64 characters that are decoded at once; a multiple of four.
const STRIDE: usize = 16 << 10;

/// Standard alphabet, padding or not: vendors do both.
pub const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent),
);

/// Where decoded bytes go.
pub trait Sink {
    fn begin(&mut self) -> io::Result<()>;
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// `damaged`: the text was no base64 to its end.
    fn end(&mut self, damaged: bool) -> io::Result<()>;
}

enum State {
    Outside,
    /// In a string whose first bytes (as they stand in the text) are gathered in `head`.
    Gathering {
        escaped: bool,
    },
    /// In a string that is no base64: passed through.
    Plain {
        escaped: bool,
    },
    Lifting {
        escape: Vec<u8>,
    },
}

pub struct Lifter {
    state: State,
    head: Vec<u8>,
    /// Base64 characters not yet decoded.
    pending: Vec<u8>,
    damaged: bool,
    blobs: usize,
    /// What remains of the text.
    pub residue: Vec<u8>,
    residue_cap: usize,
}

impl Lifter {
    pub fn new(residue_cap: usize) -> Lifter {
        Lifter {
            state: State::Outside,
            head: Vec::new(),
            pending: Vec::new(),
            damaged: false,
            blobs: 0,
            residue: Vec::new(),
            residue_cap,
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.residue.len() + bytes.len() > self.residue_cap {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the answer's text is over its cap"));
        }
        self.residue.extend_from_slice(bytes);
        Ok(())
    }

    pub fn push(&mut self, mut chunk: &[u8], sink: &mut dyn Sink) -> io::Result<()> {
        while !chunk.is_empty() {
            let used = match &mut self.state {
                State::Outside => {
                    let end = memchr::memchr(b'"', chunk).map_or(chunk.len(), |at| at + 1);
                    if chunk[end - 1] == b'"' {
                        self.state = State::Gathering { escaped: false };
                        self.head.clear();
                    }
                    self.keep(&chunk[..end])?;
                    end
                }
                State::Gathering { escaped } => {
                    let mut at = 0;
                    let mut closed = false;
                    while at < chunk.len() && self.head.len() + at < THRESHOLD {
                        match (*escaped, chunk[at]) {
                            (true, _) => *escaped = false,
                            (false, b'\\') => *escaped = true,
                            (false, b'"') => {
                                closed = true;
                                break;
                            }
                            _ => {}
                        }
                        at += 1;
                    }
                    self.head.extend_from_slice(&chunk[..at]);
                    if closed {
                        let head = std::mem::take(&mut self.head);
                        self.keep(&head)?;
                        self.keep(b"\"")?;
                        self.state = State::Outside;
                        at += 1;
                    } else if self.head.len() >= THRESHOLD {
                        let escaped = *escaped;
                        self.judge(escaped, sink)?;
                    }
                    at
                }
                State::Plain { escaped } => {
                    let mut end = chunk.len();
                    let mut closed = false;
                    for (at, byte) in chunk.iter().enumerate() {
                        match (*escaped, byte) {
                            (true, _) => *escaped = false,
                            (false, b'\\') => *escaped = true,
                            (false, b'"') => {
                                (end, closed) = (at + 1, true);
                                break;
                            }
                            _ => {}
                        }
                    }
                    if closed {
                        self.state = State::Outside;
                    }
                    self.keep(&chunk[..end])?;
                    end
                }
                State::Lifting { .. } => self.lift(chunk, sink)?,
            };
            chunk = &chunk[used..];
        }
        Ok(())
    }

    /// The gathered head is long enough to tell base64 from text.
    fn judge(&mut self, escaped: bool, sink: &mut dyn Sink) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        // A backslash at the very end belongs to an escape that is still incomplete.
        let whole = if escaped { &head[..head.len() - 1] } else { &head[..] };
        let text = unescape(whole).filter(|text| {
            let data = strip_data_prefix(text);
            data.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        });
        match text {
            Some(text) => {
                self.pending = strip_data_prefix(&text).to_vec();
                self.damaged = false;
                sink.begin()?;
                let escape = if escaped { vec![b'\\'] } else { Vec::new() };
                self.state = State::Lifting { escape };
            }
            None => {
                self.keep(&head)?;
                self.state = State::Plain { escaped };
            }
        }
        Ok(())
    }

    fn lift(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> io::Result<usize> {
        let State::Lifting { escape } = &mut self.state else { return Ok(0) };
        if !escape.is_empty() {
            escape.push(chunk[0]);
            match unescape_one(escape) {
                Some(Ok(byte)) => {
                    if !byte.is_ascii_whitespace() {
                        self.pending.push(byte);
                    }
                    escape.clear();
                }
                Some(Err(())) => {
                    self.damaged = true;
                    escape.clear();
                }
                None => {}
            }
            return Ok(1);
        }
        // A stride at a time, so that a large piece of the body is not in memory twice.
        let chunk = chunk.get(..STRIDE).unwrap_or(chunk);
        let end = memchr::memchr2(b'"', b'\\', chunk).unwrap_or(chunk.len());
        self.pending.extend_from_slice(&chunk[..end]);
        match chunk.get(end) {
            Some(b'\\') => {
                escape.push(b'\\');
                self.decode(false, sink)?;
                Ok(end + 1)
            }
            Some(_) => {
                self.decode(true, sink)?;
                sink.end(self.damaged)?;
                let mark = format!("\\u0001blob:{}\"", self.blobs);
                self.blobs += 1;
                self.keep(mark.as_bytes())?;
                self.state = State::Outside;
                Ok(end + 1)
            }
            None => {
                self.decode(false, sink)?;
                Ok(end)
            }
        }
    }

    fn decode(&mut self, last: bool, sink: &mut dyn Sink) -> io::Result<()> {
        let mut out = [0; STRIDE / 4 * 3];
        let mut done = 0;
        while !self.damaged {
            let left = &self.pending[done..];
            let take = if left.len() >= STRIDE {
                STRIDE
            } else if last {
                left.len()
            } else {
                break;
            };
            if take == 0 {
                break;
            }
            match BASE64.decode_slice(&left[..take], &mut out) {
                Ok(n) => sink.write(&out[..n])?,
                Err(_) => self.damaged = true,
            }
            done += take;
        }
        self.pending.drain(..if self.damaged { self.pending.len() } else { done });
        Ok(())
    }

    /// The text ended. A string that was still being lifted is damaged.
    pub fn finish(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        match self.state {
            State::Lifting { .. } => {
                self.decode(true, sink)?;
                sink.end(true)?;
            }
            State::Gathering { .. } => {
                let head = std::mem::take(&mut self.head);
                self.keep(&head)?;
            }
            State::Outside | State::Plain { .. } => {}
        }
        self.state = State::Outside;
        Ok(())
    }
}

/// `data:image/png;base64,` and the like is not part of the data.
pub fn strip_data_prefix(text: &[u8]) -> &[u8] {
    if !text.starts_with(b"data:") {
        return text;
    }
    let comma = text.iter().take(128).position(|b| *b == b',');
    comma.map_or(text, |at| &text[at + 1..])
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let mut escape = vec![b'\\'];
        let byte = loop {
            escape.push(*bytes.next()?);
            if let Some(done) = unescape_one(&escape) {
                break done.ok()?;
            }
        };
        if !byte.is_ascii_whitespace() {
            out.push(byte);
        }
    }
    Some(out)
}

/// One JSON escape of an ASCII character. `None`: not complete yet.
fn unescape_one(escape: &[u8]) -> Option<Result<u8, ()>> {
    match escape.get(1)? {
        b'/' => Some(Ok(b'/')),
        b'n' | b'r' | b't' => Some(Ok(b'\n')),
        b'u' if escape.len() < 6 => None,
        b'u' => {
            let code =
                std::str::from_utf8(&escape[2..6]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
            Some(code.ok_or(()))
        }
        _ => Some(Err(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Kept(Vec<(Vec<u8>, bool)>);
    impl Sink for Kept {
        fn begin(&mut self) -> io::Result<()> {
            self.0.push((Vec::new(), false));
            Ok(())
        }
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.last_mut().unwrap().0.extend_from_slice(bytes);
            Ok(())
        }
        fn end(&mut self, damaged: bool) -> io::Result<()> {
            self.0.last_mut().unwrap().1 = damaged;
            Ok(())
        }
    }

    fn run(text: &[u8], step: usize) -> (String, Vec<(Vec<u8>, bool)>) {
        let (mut lifter, mut kept) = (Lifter::new(1 << 20), Kept::default());
        for chunk in text.chunks(step.max(1)) {
            lifter.push(chunk, &mut kept).unwrap();
        }
        lifter.finish(&mut kept).unwrap();
        (String::from_utf8(lifter.residue).unwrap(), kept.0)
    }

    #[test]
    fn long_base64_is_decoded_and_replaced_by_a_marker() {
        let image: Vec<u8> = (0..50_000_u32).map(|n| (n * 7) as u8).collect();
        let base64 = BASE64.encode(&image);
        for (prefix, breaks) in [("", false), ("data:image\\/png;base64,", false), ("", true)] {
            let mut data = base64.clone();
            if breaks {
                data = data
                    .as_bytes()
                    .chunks(76)
                    .map(|l| std::str::from_utf8(l).unwrap())
                    .collect::<Vec<_>>()
                    .join("\\r\\n");
            }
            let text = format!(r#"{{"data":[{{"b64_json":"{prefix}{data}"}}],"note":"a \"quoted\" word"}}"#);
            for step in [1, 7, 1023, 1024, 1025, 100_000] {
                let (residue, blobs) = run(text.as_bytes(), step);
                let json: serde_json::Value = serde_json::from_str(&residue).unwrap();
                assert_eq!(json["data"][0]["b64_json"], format!("{MARK}0"), "step {step}");
                assert_eq!(json["note"], "a \"quoted\" word");
                assert!(
                    blobs.len() == 1 && blobs[0].0 == image && !blobs[0].1,
                    "step {step} prefix {prefix}"
                );
            }
        }
    }

    #[test]
    fn long_text_stays_text_and_bad_base64_is_marked_damaged() {
        let prose = "a fox runs over the hill ".repeat(200);
        let (residue, blobs) = run(format!(r#"{{"revised_prompt":"{prose}"}}"#).as_bytes(), 100);
        assert!(residue.contains(&prose) && blobs.is_empty());
        let bad = format!(r#"{{"b64_json":"{}!!!{}"}}"#, "QUJD".repeat(2000), "QUJD".repeat(20));
        let (_, blobs) = run(bad.as_bytes(), 333);
        assert!(blobs[0].1, "a wrong character in the middle is noticed");
        let (_, cut) = run(format!(r#"{{"b64_json":"{}"#, "QUJD".repeat(2000)).as_bytes(), 333);
        assert!(cut[0].1, "a cut string is noticed");
    }

    proptest! {
        #[test]
        fn what_is_not_lifted_is_unchanged(words in proptest::collection::vec("[ -~]{0,80}", 0..40), step in 1_usize..200) {
            let text = serde_json::to_string(&words).unwrap();
            let (residue, blobs) = run(text.as_bytes(), step);
            prop_assert_eq!(residue, text);
            prop_assert!(blobs.is_empty());
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..5000), step in 1_usize..700) {
            let (mut lifter, mut kept) = (Lifter::new(1 << 20), Kept::default());
            for chunk in bytes.chunks(step) {
                lifter.push(chunk, &mut kept).unwrap();
            }
            lifter.finish(&mut kept).unwrap();
        }
    }
}
