//! One answer on disk. The lifted parts come first, as they stream in; then the text; then what is needed to read
//! the answer again after a crash. A file without its last line is an answer that never came whole.

use crate::{
    Answer, Blob,
    answer::BlobFile,
    lift::{Lifter, Sink},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

const MAGIC: &[u8; 8] = b"IGSPOOL1";
/// An answer's text is short once the base64 is out of it.
const TEXT_CAP: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Trailer {
    status: u16,
    headers: Vec<(String, String)>,
    /// Offset, length, damaged.
    blobs: Vec<(u64, u64, bool)>,
    text: (u64, u64),
    binary: bool,
    cut_short: bool,
}

/// Takes one answer while it streams.
pub struct SpoolFile {
    path: PathBuf,
    /// Kept until the gateway deletes it, and safe on disk before it is read.
    durable: bool,
    out: Option<BufWriter<File>>,
    at: u64,
    blobs: Vec<(u64, u64, bool)>,
    form: Option<Form>,
}

enum Form {
    Text(Lifter),
    Binary,
}

struct Parts<'a>(&'a mut SpoolFile);

impl Sink for Parts<'_> {
    fn begin(&mut self) -> io::Result<()> {
        let at = self.0.at;
        self.0.blobs.push((at, 0, false));
        Ok(())
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)?;
        if let Some(blob) = self.0.blobs.last_mut() {
            blob.1 += bytes.len() as u64;
        }
        Ok(())
    }
    fn end(&mut self, damaged: bool) -> io::Result<()> {
        if let Some(blob) = self.0.blobs.last_mut() {
            blob.2 = damaged;
        }
        Ok(())
    }
}

impl SpoolFile {
    /// A durable file is written as `<path>.part` and gets its name when it is whole.
    pub fn create(path: PathBuf, durable: bool) -> SpoolFile {
        SpoolFile { path, durable, out: None, at: 0, blobs: Vec::new(), form: None }
    }

    fn part(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".part");
        name.into()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.out.is_none() {
            let file = File::options().write(true).create(true).truncate(true).open(self.part())?;
            self.out = Some(BufWriter::with_capacity(64 << 10, file));
        }
        if let Some(out) = &mut self.out {
            out.write_all(bytes)?;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// The next piece of the body. Whether it is text is told by its first byte that is no white space.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.form.is_none() {
            let Some(first) = bytes.iter().find(|b| !b.is_ascii_whitespace()) else { return Ok(()) };
            let text = matches!(first, b'{' | b'[' | b'"' | b'<' | b':') || first.is_ascii_alphanumeric();
            // RIFF, GIF and the box size of AVIF begin with letters or NUL: pictures first.
            let text = text && !is_picture(bytes);
            self.form = Some(if text { Form::Text(Lifter::new(TEXT_CAP)) } else { Form::Binary });
            if !text {
                Parts(self).begin()?;
            }
        }
        match self.form.take() {
            Some(Form::Text(mut lifter)) => {
                let done = lifter.push(bytes, &mut Parts(self));
                self.form = Some(Form::Text(lifter));
                done
            }
            form => {
                self.form = form;
                Parts(self).write(bytes)
            }
        }
    }

    /// The body is at its end. Blocking when durable: one fsync of the file and one of its folder.
    pub fn finish(mut self, status: StatusCode, headers: HeaderMap, cut_short: bool) -> io::Result<Answer> {
        let mut text = Vec::new();
        let binary = matches!(self.form, Some(Form::Binary));
        if let Some(Form::Text(mut lifter)) = self.form.take() {
            lifter.finish(&mut Parts(&mut self))?;
            text = std::mem::take(&mut lifter.residue);
        }
        if self.durable {
            let trailer = Trailer {
                status: status.as_u16(),
                headers: headers
                    .iter()
                    .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
                    .collect(),
                blobs: self.blobs.clone(),
                text: (self.at, text.len() as u64),
                binary,
                cut_short,
            };
            let trailer = serde_json::to_vec(&trailer)?;
            self.append(&text)?;
            self.append(&trailer)?;
            self.append(&(trailer.len() as u64).to_le_bytes())?;
            self.append(MAGIC)?;
        }
        let file = match self.out.take() {
            Some(out) => {
                let file = out.into_inner().map_err(|e| e.into_error())?;
                if self.durable {
                    file.sync_data()?;
                }
                std::fs::rename(self.part(), &self.path)?;
                if self.durable
                    && let Some(folder) = self.path.parent()
                {
                    File::open(folder)?.sync_all()?;
                }
                Some(Arc::new(BlobFile { path: std::mem::take(&mut self.path), temporary: !self.durable }))
            }
            None => None,
        };
        let blob = |(offset, len, damaged): (u64, u64, bool)| match &file {
            Some(file) => Blob::in_file(file.clone(), offset, len, damaged),
            None => Blob::from(bytes::Bytes::new()),
        };
        let blobs = std::mem::take(&mut self.blobs).into_iter().map(blob).collect();
        Ok(Answer { status, headers, text: text.into(), blobs, binary, cut_short })
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if self.out.is_some() {
            std::fs::remove_file(self.part()).ok(); // given up half-way
        }
    }
}

fn is_picture(bytes: &[u8]) -> bool {
    imagesize::image_type(bytes).is_ok()
}

/// Reads an answer that a durable [`SpoolFile`] left behind. `None`: it never came whole.
///
/// # Errors
/// The file cannot be read.
pub fn adopt(path: &Path) -> io::Result<Option<Answer>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut end = [0; 16];
    if len < 16 {
        return Ok(None);
    }
    file.seek(SeekFrom::End(-16))?;
    file.read_exact(&mut end)?;
    let (size, magic) = end.split_at(8);
    let size = u64::from_le_bytes(size.try_into().unwrap_or_default());
    if magic != MAGIC || size > len - 16 {
        return Ok(None);
    }
    let mut stretch = |offset: u64, len: u64| -> io::Result<Vec<u8>> {
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&mut file).take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let Ok(trailer) = serde_json::from_slice::<Trailer>(&stretch(len - 16 - size, size)?) else {
        return Ok(None);
    };
    let Ok(status) = StatusCode::from_u16(trailer.status) else { return Ok(None) };
    let text = stretch(trailer.text.0, trailer.text.1)?;
    let mut headers = HeaderMap::new();
    for (name, value) in trailer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let kept = Arc::new(BlobFile { path: path.to_owned(), temporary: false });
    let blob = |(offset, len, damaged)| Blob::in_file(kept.clone(), offset, len, damaged);
    let blobs = trailer.blobs.into_iter().map(blob).collect();
    Ok(Some(Answer {
        status,
        headers,
        text: text.into(),
        blobs,
        binary: trailer.binary,
        cut_short: trailer.cut_short,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lift::BASE64;
    use base64::Engine as _;

    #[test]
    fn an_answer_is_read_again_from_disk_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let image: Vec<u8> = (0..20_000_u32).map(|n| (n * 31) as u8).collect();
        let body = format!(r#"{{"data":[{{"b64_json":"{}"}}]}}"#, BASE64.encode(&image));
        let mut spool = SpoolFile::create(path.clone(), true);
        for chunk in body.as_bytes().chunks(999) {
            spool.push(chunk).unwrap();
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", "req_1".parse().unwrap());
        let first = spool.finish(StatusCode::OK, headers, false).unwrap();
        let again = adopt(&path).unwrap().expect("the file is whole");
        for answer in [&first, &again] {
            let json: serde_json::Value = answer.json().unwrap();
            let blob = answer.blob(json["data"][0]["b64_json"].as_str().unwrap()).unwrap();
            assert_eq!(blob.read().unwrap(), image);
            assert_eq!(answer.header("x-request-id"), Some("req_1"));
        }
        drop((first, again));
        assert!(path.exists(), "a durable answer stays until the gateway deletes it");
    }

    #[test]
    fn a_half_written_file_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut spool = SpoolFile::create(path.clone(), true);
        spool.push(br#"{"data":[]}"#).unwrap();
        spool.finish(StatusCode::OK, HeaderMap::new(), false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(adopt(&path).unwrap().is_none(), "cut after {len} bytes");
        }
    }

    #[test]
    fn a_binary_body_is_one_blob_and_a_temporary_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        let mut spool = SpoolFile::create(path.clone(), false);
        spool.push(b"\x89PNG\r\n\x1a\nrest").unwrap();
        let answer = spool.finish(StatusCode::OK, HeaderMap::new(), false).unwrap();
        assert!(answer.binary && answer.blobs.len() == 1);
        assert_eq!(answer.blobs[0].len(), 12);
        drop(answer);
        assert!(!path.exists());
    }
}
