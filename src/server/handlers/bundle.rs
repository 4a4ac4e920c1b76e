//! All outputs of a job at once: as lines for `sha256sum -c`, or as one archive (contract §11).

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::http::HeaderValue;
use warp::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use warp::reply::{Reply, Response};

use crate::blobs::{Blobs, Digest};
use crate::domain::file_name::is_unsafe;
use crate::domain::ids::JobId;
use crate::filter::fold;
use crate::server::error::ApiError;
use crate::server::request::Call;
use crate::wire::Output;

/// Bytes that are read and sent at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Archives that are made at a time. Each holds a thread for as long as its client takes, and there are to be threads left
/// for everything else.
pub(crate) const ARCHIVES_MAX: usize = 64;
/// Pieces that may wait for a slow client.
const PIECES_WAITING: usize = 2;

/// `GET /v1/jobs/{PK}/manifest`.
pub(crate) async fn manifest(call: &mut Call) -> Result<Response, ApiError> {
    let outputs = call.app.store.live_outputs(JobId(call.pk())).await?;
    let lines: String =
        named(outputs).into_iter().map(|(name, output)| format!("{}  {name}\n", output.sha256)).collect();
    let mut response = Response::new(lines.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// `GET /v1/jobs/{PK}/archive?format=zip|tar`: files under the names that the manifest gives.
pub(crate) async fn archive(call: &mut Call) -> Result<Response, ApiError> {
    let job = JobId(call.pk());
    let (write, media, extension): (Writer, _, _) = match call.query_param("format").as_deref() {
        None | Some("zip") => (write_zip, "application/zip", "zip"),
        Some("tar") => (write_tar, "application/x-tar", "tar"),
        Some(_) => return Err(ApiError::field("format", "Must be zip or tar.")),
    };
    let files = named(call.app.store.live_outputs(job).await?);
    let blobs = call.app.blobs.clone();
    let (sender, mut pieces) = mpsc::channel(PIECES_WAITING);
    if call.method != warp::http::Method::HEAD {
        let turn = call.app.archives.clone().try_acquire_owned();
        let turn = turn.map_err(|_| ApiError::unavailable("Too many archives are being made; try again later."))?;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut pipe = Pipe { sender, piece: Vec::with_capacity(PIECE_BYTES) };
            if let Err(error) = write(&blobs, &files, &mut pipe).and_then(|()| pipe.flush()) {
                tracing::warn!(%error, job = job.0, "an archive broke off");
                // The connection is cut, so that the client does not take the part for the whole.
                drop(pipe.sender.blocking_send(Err(error)));
            }
        });
    }
    let stream = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    let mut response = warp::reply::stream(stream).into_response();
    let name = format!("attachment; filename=\"job-{job}.{extension}\"");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(ApiError::internal)?);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Gives every output a file name that is safe, stays inside its folder, and is the only one of its kind, also where
/// case does not count.
fn named(outputs: Vec<Output>) -> Vec<(String, Output)> {
    let mut taken = HashSet::new();
    // The last number that each name was given, since looking through all of them again takes too long for thousands.
    let mut last_numbers: HashMap<String, u32> = HashMap::new();
    let mut files = Vec::with_capacity(outputs.len());
    for output in outputs {
        let plain = safe(&output.name);
        let number = last_numbers.entry(fold(&plain)).or_default();
        let name = loop {
            *number += 1;
            let name = if *number == 1 { plain.clone() } else { format!("{plain}.{number}") };
            if taken.insert(fold(&name)) {
                break name;
            }
        };
        files.push((name, output));
    }
    files
}

/// Makes a file name of an output's name: what a file system or `sha256sum` reads in its own way becomes `_`.
fn safe(name: &str) -> String {
    let keep = |c: char| if is_unsafe(c) { '_' } else { c };
    // Leaves room for a number, and for four bytes a character, in the 255 bytes of a name.
    let mut safe = String::new();
    for c in name.chars().map(keep) {
        if safe.len() + c.len_utf8() > 240 {
            break;
        }
        safe.push(c);
    }
    let trimmed = safe.trim_start_matches(['.', '-', ' ']).trim_end_matches(['.', ' ']);
    if trimmed.is_empty() { "output".to_owned() } else { trimmed.to_owned() }
}

type Writer = fn(&Blobs, &[(String, Output)], &mut Pipe) -> io::Result<()>;

/// Writes a zip whose files are stored as they are; it needs no way back, so that it can be sent as it is made.
fn write_zip(blobs: &Blobs, files: &[(String, Output)], out: &mut Pipe) -> io::Result<()> {
    let mut zip = zip::ZipWriter::new_stream(out);
    for (name, output) in files {
        let large = u32::try_from(output.size).is_err();
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .unix_permissions(0o644)
            .large_file(large);
        zip.start_file(name, options).map_err(io::Error::other)?;
        io::copy(&mut bytes_of(blobs, output)?, &mut zip)?;
    }
    zip.finish().map_err(io::Error::other)?;
    Ok(())
}

fn write_tar(blobs: &Blobs, files: &[(String, Output)], out: &mut Pipe) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for (name, output) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(output.size).map_err(io::Error::other)?);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(output.creation_time.as_seconds()).unwrap_or(0));
        tar.append_data(&mut header, name, bytes_of(blobs, output)?)?;
    }
    tar.finish()
}

/// Opens an output's bytes; a file that is shorter than its row says is an error, and not an archive with a gap.
fn bytes_of(blobs: &Blobs, output: &Output) -> io::Result<impl Read + use<>> {
    let digest: Digest = output.sha256.parse().map_err(|_| io::Error::other("a row's digest can't be read"))?;
    let size = u64::try_from(output.size).map_err(io::Error::other)?;
    match blobs.open_file(digest)? {
        Some(file) if file.metadata()?.len() == size => Ok(file),
        Some(_) | None => Err(io::Error::other(format!("the bytes of output {} are damaged or gone", output.pk))),
    }
}

/// Sends what is written into it, in pieces, as fast as the client takes them.
struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.piece.len();
        let taken = bytes.len().min(room);
        self.piece.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client hung up");
        self.sender.blocking_send(Ok(piece.into())).map_err(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn names_stay_inside_their_folder() {
        for (name, expected) in [
            ("table", "table"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("child:output", "child_output"),
            ("a\\b\"c", "a_b_c"),
            ("...", "output"),
            ("-rf", "rf"),
            ("µM – 試料", "µM – 試料"),
            ("gpj.\u{202e}exe", "gpj._exe"),
        ] {
            assert_eq!(safe(name), expected);
        }
        assert!(safe(&"試".repeat(200)).len() <= 240);
    }
}
