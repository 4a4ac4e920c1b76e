//! Answers that come bit by bit: long lists, logs, and the events of a job (contract §9, §10, §11).

use bytes::{Buf, Bytes, BytesMut};
use reqwest::header::{ACCEPT, HeaderName};
use serde_json::Value;

use super::call::{Call, json_of};
use super::{Client, ClientError};
use crate::domain::ids::JobId;
use crate::domain::notification::Message;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The longest event that is read, in bytes. What is longer does not come from a labrun server.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// A body on its way in.
#[derive(Debug)]
pub struct ByteStream(reqwest::Response);

impl ByteStream {
    /// Gives the next bytes; `None` at the end.
    ///
    /// # Errors
    /// `Transport` when the connection broke before the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        Ok(self.0.chunk().await?)
    }
}

/// A page of a list (contract §9).
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows, an array as the server sent it.
    pub rows: Value,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
    /// How many rows there are on all pages, if that was asked for.
    pub total: Option<u64>,
}

/// A transition of a job, with its place in the event log.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its place.
    pub id: i64,
    /// What happened.
    pub message: Message,
}

/// The events of a job, from its present state on.
#[derive(Debug)]
pub struct Events {
    client: Client,
    job: JobId,
    last: Option<i64>,
    stream: Option<ByteStream>,
    buffer: BytesMut,
}

impl Client {
    /// Gives a page of a list of `jobs`, `job-templates` and so on; `spec` as contract §9 has it.
    ///
    /// # Errors
    /// As [`ClientError`] tells.
    pub async fn page(&self, of: &str, spec: &Value) -> Result<Page, ClientError> {
        let answer = self.send(&Call::post(format!("/v1/{of}/list")).json(spec)?).await?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let next = header("x-next-cursor").map(str::to_owned);
        let total = header("x-total-count").and_then(|count| count.parse().ok());
        Ok(Page { rows: json_of(answer).await?, next, total })
    }

    /// Gives the JSON of a whole list as it comes.
    ///
    /// # Errors
    /// As [`ClientError`] tells.
    pub async fn whole_list(&self, of: &str, spec: &Value) -> Result<ByteStream, ClientError> {
        Ok(ByteStream(self.send(&Call::post(format!("/v1/{of}/list")).json(spec)?).await?))
    }

    /// Gives the log of a job's attempt, the last one when none is named, from its byte `after` on. With `follow` it
    /// ends when the attempt has.
    ///
    /// # Errors
    /// As [`ClientError`] tells.
    pub async fn read_log(
        &self,
        job: JobId,
        attempt: Option<i64>,
        after: u64,
        follow: bool,
    ) -> Result<ByteStream, ClientError> {
        let attempt = attempt.map_or(String::new(), |attempt| format!("&attempt={attempt}"));
        let path = format!("/v1/jobs/{job}/log?after={after}&follow={follow}{attempt}");
        Ok(ByteStream(self.send(&Call::get(path)).await?))
    }

    /// Gives the events of a job: first its present state, then every transition from there on.
    pub fn events(&self, job: JobId) -> Events {
        Events { client: self.clone(), job, last: None, stream: None, buffer: BytesMut::new() }
    }
}

impl Events {
    /// Gives the next event. `None` when the server has ended the stream, as it does when it stops. Called again after
    /// that, or after an error, it connects anew and goes on behind the last event that it gave: none is left out.
    ///
    /// # Errors
    /// `Transport` when no connection comes about or it breaks, `Refused` with 404 when there is no such job.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        let event = self.read().await;
        if !matches!(event, Ok(Some(_))) {
            self.stream = None;
            self.buffer.clear();
        }
        event
    }

    async fn read(&mut self) -> Result<Option<Event>, ClientError> {
        if self.stream.is_none() {
            let call = Call::get(format!("/v1/jobs/{}/events", self.job));
            let call = call.header(ACCEPT, "text/event-stream".to_owned());
            let call = match self.last {
                Some(last) => call.header(LAST_EVENT_ID, last.to_string()),
                None => call,
            };
            self.stream = Some(ByteStream(self.client.send(&call).await?));
        }
        loop {
            while let Some(block) = take_block(&mut self.buffer) {
                if let Some(event) = read_block(&block)? {
                    self.last = Some(event.id);
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(ClientError::Unexpected("an event without an end".to_owned()));
            }
            let Some(stream) = &mut self.stream else { return Ok(None) };
            match stream.next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Takes everything up to the next empty line, which ends an event.
fn take_block(buffer: &mut BytesMut) -> Option<BytesMut> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let block = buffer.split_to(end);
    buffer.advance(2);
    Some(block)
}

/// Reads the lines of an event; a block of comments alone is none.
fn read_block(block: &[u8]) -> Result<Option<Event>, ClientError> {
    let unexpected = |what: &str| ClientError::Unexpected(format!("{what} in a stream of events"));
    let text = std::str::from_utf8(block).map_err(|_| unexpected("no text"))?;
    let field = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().map(|value| value.strip_prefix(' ').unwrap_or(value))
    };
    let Some(data) = field("data") else { return Ok(None) };
    let id = field("id").and_then(|id| id.parse().ok()).ok_or_else(|| unexpected("no place"))?;
    let message = serde_json::from_str(data).map_err(|error| unexpected(&error.to_string()))?;
    Ok(Some(Event { id, message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_at_empty_lines_and_comments_passed_over() {
        let message = r#"{"transition":"start","description":"","pk":7,"progress":0.0,"cancelled":false,"node":1,"transition_data":{}}"#;
        let text = format!(": labrun\n\nid: 12\ndata: {message}\n\n: still here\n\nid: 13\nda");
        let mut buffer = BytesMut::from(text.as_bytes());
        let mut events = Vec::new();
        while let Some(block) = take_block(&mut buffer) {
            events.extend(read_block(&block).unwrap());
        }
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].id, events[0].message.pk), (12, JobId(7)));
        assert_eq!(&buffer[..], b"id: 13\nda");
        assert!(read_block(b"id: x\ndata: {}").is_err() && read_block(b"id: 1\ndata: {}").is_err());
    }
}
