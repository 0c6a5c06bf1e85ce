//! Lines of stdio: one JSON value each, bounded.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Longest line, as the HTTP face's default body cap.
const LINE_MAX: u64 = 20 << 20;

/// Reads lines off a byte stream.
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Text(Vec<u8>),
    /// Longer than is kept; it has been skipped.
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(input: R) -> Lines<R> {
        Lines { reader: BufReader::new(input), line: Vec::new() }
    }

    /// The next line that is not blank; `None` at the end of the input. May be dropped and called again.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let room = LINE_MAX.saturating_sub(self.line.len() as u64);
            let ended = match room {
                0 => {
                    self.skip_line().await?;
                    self.line.clear();
                    return Ok(Some(Line::TooLong));
                }
                // What was read stays in `line` when this is dropped half-way.
                room => (&mut self.reader).take(room).read_until(b'\n', &mut self.line).await? == 0,
            };
            let whole = self.line.ends_with(b"\n");
            if !whole && !ended {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let text = line.trim_ascii();
            if !text.is_empty() {
                return Ok(Some(Line::Text(text.to_vec())));
            }
            if ended {
                return Ok(None);
            }
        }
    }

    async fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let seen = self.reader.fill_buf().await?;
            let (used, ended) = match seen.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (seen.len(), seen.is_empty()),
            };
            self.reader.consume(used);
            if ended {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_trimmed_blank_ones_skipped_and_the_last_needs_no_end() {
        let mut lines = Lines::new(&b"{}\r\n\n  \n[1]"[..]);
        assert_eq!(lines.next().await.unwrap(), Some(Line::Text(b"{}".to_vec())));
        assert_eq!(lines.next().await.unwrap(), Some(Line::Text(b"[1]".to_vec())));
        assert_eq!(lines.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_too_long_is_skipped_and_the_next_one_read() {
        let long = format!("{}\n{{}}\n", "x".repeat(LINE_MAX as usize + 10));
        let mut lines = Lines::new(long.as_bytes());
        assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().await.unwrap(), Some(Line::Text(b"{}".to_vec())));
    }
}
