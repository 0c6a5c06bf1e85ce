//! One answer on disk. The lifted parts come first, as they stream in; then the text; then what is needed to read
//! the answer again after a crash. A file without its last line is an answer that never came whole.
//!
//! Where the disk refuses, the answer goes on in memory: it may be paid for.

use crate::{
    Answer, Blob,
    answer::BlobFile,
    failpoint,
    lift::{Lifter, Sink},
    paper::Paper,
    spares::Spares,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
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
    part: PathBuf,
    /// Kept until the gateway deletes it, and safe on disk before it is read.
    durable: bool,
    spares: Arc<Spares>,
    out: Option<Paper>,
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
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let (part, spares) = (part.into(), Arc::default());
        SpoolFile { path, part, durable, spares, out: None, at: 0, blobs: Vec::new(), form: None }
    }

    /// Writes on one of these files, if there is one.
    pub fn on(mut self, spares: Arc<Spares>) -> SpoolFile {
        self.spares = spares;
        self
    }

    /// The text so far, without its base64; empty while it is not known to be text.
    pub fn text(&self) -> &[u8] {
        match &self.form {
            Some(Form::Text(lifter)) => &lifter.residue,
            _ => &[],
        }
    }

    /// Bytes that it holds: text, and decoded base64.
    pub fn len(&self) -> u64 {
        self.at + self.text().len() as u64
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives it another name in the same folder, before its end.
    pub(crate) fn becomes(&mut self, path: PathBuf, durable: bool) {
        (self.path, self.durable) = (path, durable);
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.get_or_insert_with(|| Paper::on(self.spares.make(&self.part))).append(bytes)?;
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
        let kept = self.keep()?;
        let blob = |(offset, len, damaged): (u64, u64, bool)| match &kept {
            Kept::Nothing => Blob::from(Bytes::new()),
            Kept::File(file) => Blob::in_file(file.clone(), offset, len, damaged),
            Kept::Memory(all) => {
                Blob::in_memory(all.slice(offset as usize..(offset + len) as usize), damaged)
            }
        };
        let blobs = std::mem::take(&mut self.blobs).into_iter().map(blob).collect();
        Ok(Answer { status, headers, text: text.into(), blobs, binary, cut_short })
    }

    /// Gives the part its name. Where the disk refuses, everything is read back and written once more; where it
    /// refuses again, the answer lives in memory alone.
    ///
    /// # Errors
    /// The disk takes nothing and does not give back what it took either.
    fn keep(&mut self) -> io::Result<Kept> {
        let Some(paper) = self.out.take() else { return Ok(Kept::Nothing) };
        let all = match paper.finish()? {
            Ok(file) => match self.give_name(&file) {
                Ok(()) => return Ok(self.file()),
                Err(error) => {
                    tracing::warn!(%error, "an answer could not be kept on disk: it is written again");
                    read_back(&file, self.at)?
                }
            },
            Err(all) => all,
        };
        match Paper::rewrite(&self.part, &all).and_then(|file| self.give_name(&file)) {
            Ok(()) => Ok(self.file()),
            Err(error) => {
                tracing::error!(%error, bytes = all.len(), "an answer is kept in memory alone: a crash would lose it");
                std::fs::remove_file(&self.part).ok();
                if !self.durable {
                    std::fs::remove_file(&self.path).ok();
                }
                Ok(Kept::Memory(all.into()))
            }
        }
    }

    fn give_name(&self, file: &File) -> io::Result<()> {
        if self.durable {
            failpoint("answer.received")?;
            file.sync_data()?;
        }
        std::fs::rename(&self.part, &self.path)?;
        if self.durable
            && let Some(folder) = self.path.parent()
        {
            File::open(folder)?.sync_all()?;
            failpoint("answer.kept")?;
        }
        Ok(())
    }

    fn file(&self) -> Kept {
        Kept::File(Arc::new(BlobFile { path: self.path.clone(), temporary: !self.durable }))
    }
}

/// Where the bytes of a finished answer are.
enum Kept {
    Nothing,
    File(Arc<BlobFile>),
    Memory(Bytes),
}

/// The first `len` bytes of a file that was just written.
pub(crate) fn read_back(mut file: &File, len: u64) -> io::Result<Vec<u8>> {
    let mut all = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.seek(SeekFrom::Start(0))?;
    file.take(len).read_to_end(&mut all)?;
    if all.len() as u64 == len { Ok(all) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if self.out.is_some() {
            std::fs::remove_file(&self.part).ok(); // given up half-way
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

    /// An answer with one picture, whose base64 is whole or not.
    fn take(path: &Path, durable: bool, image: &[u8], meanwhile: impl FnOnce()) -> Answer {
        let body = format!(r#"{{"data":[{{"b64_json":"{}"}}]}}"#, BASE64.encode(image));
        let mut spool = SpoolFile::create(path.to_owned(), durable);
        body.as_bytes().chunks(999).for_each(|chunk| spool.push(chunk).unwrap());
        meanwhile();
        spool.finish(StatusCode::OK, HeaderMap::new(), false).unwrap()
    }

    #[test]
    fn an_answer_that_the_disk_refuses_is_handed_out_from_memory() {
        let dir = tempfile::tempdir().unwrap();
        let image: Vec<u8> = (0..300_000_u32).map(|n| (n * 31) as u8).collect();
        let full = dir.path().join("full");
        let nowhere = dir.path().join("no folder/a");
        for path in [full, nowhere] {
            for durable in [true, false] {
                // Every write to this device fails with ENOSPC.
                std::os::unix::fs::symlink("/dev/full", dir.path().join("full.part")).ok();
                let answer = take(&path, durable, &image, || ());
                assert_eq!(answer.blobs[0].read().unwrap(), image, "{}", path.display());
                assert!(!answer.blobs[0].is_damaged() && !path.exists());
            }
        }
    }

    #[test]
    fn an_answer_is_on_disk_after_all_where_the_disk_takes_it_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/a");
        let image = vec![7; 200_000];
        let folder = path.parent().unwrap().to_owned();
        let answer = take(&path, true, &image, || std::fs::create_dir(folder).unwrap());
        assert_eq!(answer.blobs[0].read().unwrap(), image);
        let again = adopt(&path).unwrap().expect("it survives a crash");
        assert_eq!(again.blobs[0].read().unwrap(), image);
    }

    #[test]
    fn broken_base64_stays_broken_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = SpoolFile::create(dir.path().join("no folder/a"), true);
        let body = format!(r#"{{"data":[{{"b64_json":"{}!!"}}]}}"#, BASE64.encode([7; 3_000]));
        spool.push(body.as_bytes()).unwrap();
        let answer = spool.finish(StatusCode::OK, HeaderMap::new(), false).unwrap();
        assert!(answer.blobs[0].is_damaged());
    }
}
