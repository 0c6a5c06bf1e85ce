//! Walks a file's structure from its beginning to its end marker. A file that was cut on its way has no end;
//! what follows the end is nobody's business. No pixel is decoded, so a walk costs no more than reading.

use plugin_api::Mime;
use std::{
    fmt,
    io::{self, BufRead, BufReader, Read},
};

/// No animation of a vendor comes near; a bomb does.
const MAX_FRAMES: u64 = 1_000;

#[derive(Debug)]
pub(super) enum Flaw {
    Cut,
    Broken(&'static str),
    Frames,
    Read(io::Error),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Cut => f.write_str("it ends before its end marker"),
            Flaw::Broken(what) => f.write_str(what),
            Flaw::Frames => write!(f, "it has more than {MAX_FRAMES} frames"),
            Flaw::Read(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Flaw {
        if error.kind() == io::ErrorKind::UnexpectedEof { Flaw::Cut } else { Flaw::Read(error) }
    }
}

/// `reader` is at the first byte of `len`.
pub(super) fn walk(mime: Mime, reader: &mut impl Read, len: u64) -> Result<(), Flaw> {
    let mut walk = Walk { inner: BufReader::with_capacity(64 << 10, reader), at: 0, len };
    let done = match mime {
        Mime::Png => walk.png(),
        Mime::Jpeg => walk.jpeg(),
        Mime::Webp => walk.webp(),
        Mime::Gif => walk.gif(),
        Mime::Avif => walk.avif(),
    };
    // What the buffer holds has been read already, so the caller's hash has seen it.
    done
}

struct Walk<R> {
    inner: BufReader<R>,
    at: u64,
    len: u64,
}

impl<R: Read> Walk<R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }
    fn byte(&mut self) -> Result<u8, Flaw> {
        Ok(self.take::<1>()?[0])
    }
    fn skip(&mut self, n: u64) -> Result<(), Flaw> {
        if n > self.len.saturating_sub(self.at) {
            return Err(Flaw::Cut);
        }
        let mut left = n;
        while left > 0 {
            let here = self.inner.fill_buf()?.len();
            if here == 0 {
                return Err(Flaw::Cut);
            }
            let step = here.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.inner.consume(step);
            left -= step as u64;
        }
        self.at += n;
        Ok(())
    }

    /// Length, type, data, checksum; IEND is last.
    fn png(&mut self) -> Result<(), Flaw> {
        self.skip(8)?;
        let mut data = false;
        loop {
            let length = u32::from_be_bytes(self.take()?);
            let kind: [u8; 4] = self.take()?;
            if !kind.iter().all(u8::is_ascii_alphabetic) || length > i32::MAX as u32 {
                return Err(Flaw::Broken("a chunk is not one"));
            }
            match &kind {
                b"IDAT" => data = true,
                b"IEND" if data => return self.skip(u64::from(length) + 4),
                b"IEND" => return Err(Flaw::Broken("it has no image data")),
                b"acTL" if length == 8 => {
                    frames(u32::from_be_bytes(self.take()?).into())?;
                    self.skip(8)?;
                    continue;
                }
                _ => {}
            }
            self.skip(u64::from(length) + 4)?;
        }
    }

    /// Marker segments; after a scan header, entropy-coded bytes up to the next marker; EOI is last.
    fn jpeg(&mut self) -> Result<(), Flaw> {
        self.skip(2)?;
        let mut scanned = false;
        let mut marker = self.marker()?;
        loop {
            match marker {
                0xD9 if scanned => return Ok(()),
                0xD9 => return Err(Flaw::Broken("it has no image data")),
                0x01 | 0xD0..=0xD8 => marker = self.marker()?,
                _ => {
                    let length = u16::from_be_bytes(self.take()?);
                    self.skip(u64::from(length.checked_sub(2).ok_or(Flaw::Broken("a segment is not one"))?))?;
                    if marker == 0xDA {
                        scanned = true;
                        marker = self.end_of_scan()?;
                    } else {
                        marker = self.marker()?;
                    }
                }
            }
        }
    }

    fn marker(&mut self) -> Result<u8, Flaw> {
        if self.byte()? != 0xFF {
            return Err(Flaw::Broken("a segment does not begin with a marker"));
        }
        loop {
            match self.byte()? {
                0xFF => {}
                0x00 => return Err(Flaw::Broken("a segment does not begin with a marker")),
                marker => return Ok(marker),
            }
        }
    }

    /// Passes over the scan's bytes to the marker that ends it. FF 00 is a data byte, FF D0 to D7 a restart.
    fn end_of_scan(&mut self) -> Result<u8, Flaw> {
        let mut after_ff = false;
        loop {
            let buffer = self.inner.fill_buf()?;
            if buffer.is_empty() {
                return Err(Flaw::Cut);
            }
            let mut used = 0;
            let mut found = None;
            while let Some(&byte) = buffer.get(used) {
                if after_ff {
                    used += 1;
                    match byte {
                        0xFF => {}
                        0x00 | 0xD0..=0xD7 => after_ff = false,
                        marker => {
                            found = Some(marker);
                            break;
                        }
                    }
                } else {
                    let rest = buffer.get(used..).unwrap_or_default();
                    match rest.iter().position(|b| *b == 0xFF) {
                        Some(n) => {
                            used += n + 1;
                            after_ff = true;
                        }
                        None => used = buffer.len(),
                    }
                }
            }
            self.inner.consume(used);
            self.at += used as u64;
            if let Some(marker) = found {
                return Ok(marker);
            }
        }
    }

    /// RIFF tells the length of all; the chunks inside must fill it.
    fn webp(&mut self) -> Result<(), Flaw> {
        self.skip(4)?;
        let end = u64::from(u32::from_le_bytes(self.take()?)) + 8;
        if end > self.len {
            return Err(Flaw::Cut);
        }
        self.skip(4)?;
        let (mut data, mut animated) = (false, 0);
        while self.at + 8 <= end {
            let kind: [u8; 4] = self.take()?;
            let length = u64::from(u32::from_le_bytes(self.take()?));
            match &kind {
                b"VP8 " | b"VP8L" => data = true,
                b"ANMF" => {
                    data = true;
                    animated += 1;
                    frames(animated)?;
                }
                _ => {}
            }
            if self.at + length > end {
                return Err(Flaw::Cut);
            }
            // Chunks have even lengths; some writers leave the last byte out.
            self.skip((length + length % 2).min(self.len - self.at))?;
        }
        if data { Ok(()) } else { Err(Flaw::Broken("it has no image data")) }
    }

    /// Blocks of sub-blocks; the trailer `;` is last.
    fn gif(&mut self) -> Result<(), Flaw> {
        self.skip(10)?;
        let flags = self.byte()?;
        self.skip(2)?;
        self.colours(flags)?;
        let mut images = 0;
        loop {
            match self.byte()? {
                0x21 => {
                    self.skip(1)?;
                    self.sub_blocks()?;
                }
                0x2C => {
                    images += 1;
                    frames(images)?;
                    self.skip(8)?;
                    let flags = self.byte()?;
                    self.colours(flags)?;
                    self.skip(1)?;
                    self.sub_blocks()?;
                }
                0x3B if images > 0 => return Ok(()),
                0x3B => return Err(Flaw::Broken("it has no image data")),
                _ => return Err(Flaw::Broken("a block is not one")),
            }
        }
    }

    fn colours(&mut self, flags: u8) -> Result<(), Flaw> {
        if flags & 0x80 == 0 { Ok(()) } else { self.skip(3 << ((flags & 7) + 1)) }
    }

    fn sub_blocks(&mut self) -> Result<(), Flaw> {
        loop {
            match self.byte()? {
                0 => return Ok(()),
                n => self.skip(n.into())?,
            }
        }
    }

    /// Boxes that fill the file, with the coded data among them.
    fn avif(&mut self) -> Result<(), Flaw> {
        let mut data = false;
        while self.at < self.len {
            let start = self.at;
            let short = u64::from(u32::from_be_bytes(self.take()?));
            let kind: [u8; 4] = self.take()?;
            let size = match short {
                0 => self.len - start,
                1 => u64::from_be_bytes(self.take()?),
                size => size,
            };
            data |= &kind == b"mdat";
            let rest = size.checked_sub(self.at - start).ok_or(Flaw::Broken("a box is not one"))?;
            self.skip(rest)?;
        }
        if data { Ok(()) } else { Err(Flaw::Cut) }
    }
}

fn frames(n: u64) -> Result<(), Flaw> {
    if n > MAX_FRAMES { Err(Flaw::Frames) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

    fn avif() -> Vec<u8> {
        let mut file = b"\0\0\0\x14ftypavif\0\0\0\0mif1".to_vec();
        file.extend(b"\0\0\0\x09meta\0");
        file.extend(b"\0\0\0\x0cmdatdata");
        file
    }

    fn cases() -> Vec<(Mime, Vec<u8>)> {
        vec![
            (Mime::Png, include_bytes!("testdata/fox_1024.png").to_vec()),
            (Mime::Png, include_bytes!("testdata/fox_1024_alpha.png").to_vec()),
            (Mime::Jpeg, include_bytes!("testdata/fox_64.jpg").to_vec()),
            (Mime::Webp, include_bytes!("testdata/fox_64_alpha.webp").to_vec()),
            (Mime::Gif, GIF.to_vec()),
            (Mime::Avif, avif()),
        ]
    }

    fn of(mime: Mime, bytes: &[u8]) -> Result<(), Flaw> {
        walk(mime, &mut &bytes[..], bytes.len() as u64)
    }

    #[test]
    fn whole_files_are_whole_and_may_have_something_after_their_end() {
        for (mime, mut bytes) in cases() {
            of(mime, &bytes).unwrap();
            if mime != Mime::Avif {
                bytes.extend(b"\n<!-- made by x -->");
                of(mime, &bytes).unwrap();
            }
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_not_whole() {
        for (mime, bytes) in cases() {
            for len in 0..bytes.len() {
                assert!(of(mime, &bytes[..len]).is_err(), "{mime} cut to {len} of {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn an_end_marker_inside_a_thumbnail_is_not_the_end() {
        let jpeg = include_bytes!("testdata/fox_64.jpg");
        let mut wrapped = vec![0xFF, 0xD8, 0xFF, 0xE1];
        wrapped.extend(((jpeg.len() + 2) as u16).to_be_bytes());
        wrapped.extend(jpeg);
        assert!(of(Mime::Jpeg, &wrapped).is_err(), "only the embedded preview is there");
        wrapped.extend(&jpeg[2..]);
        of(Mime::Jpeg, &wrapped).unwrap();
    }

    #[test]
    fn ten_thousand_frames_are_too_many() {
        let fox = include_bytes!("testdata/fox_1024.png");
        let mut bomb = fox[..33].to_vec(); // signature and IHDR
        bomb.extend(b"\0\0\0\x08acTL\0\0\x27\x10\0\0\0\0\0\0\0\0");
        bomb.extend(&fox[33..]);
        assert!(matches!(of(Mime::Png, &bomb), Err(Flaw::Frames)));

        let mut gif = GIF[..GIF.len() - 1].to_vec();
        for _ in 0..10_000 {
            gif.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0");
        }
        gif.push(b';');
        assert!(matches!(of(Mime::Gif, &gif), Err(Flaw::Frames)));
    }
}
