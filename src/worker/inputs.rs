//! The inputs of a job: files are fetched, with their digests checked; all else is text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::away::{Away, Pauses, passes};
use super::command::text_of;
use super::names::{Taken, extension};
use crate::client::{Client, ClientError};
use crate::domain::ids::OutputId;
use crate::domain::types::{Kind, Type, blob_digest, parse};
use crate::wire::job::TypedValue;

/// The folder of inputs within that of a run.
pub(crate) const FOLDER: &str = "inputs";

/// Where the bytes of an input are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Bytes by their SHA-256, in hex.
    Blob(String),
    /// An output of another job.
    Output(OutputId),
}

/// Fetches the inputs that are files; gives for each input its path, or its value as text. Waits while the server is
/// away.
///
/// # Errors
/// A sentence that names the input that can't be had.
pub(crate) async fn fetch(
    client: &Client,
    away: &Away,
    inputs: BTreeMap<String, TypedValue>,
    run_dir: &Path,
) -> Result<BTreeMap<String, String>, String> {
    let folder = run_dir.join(FOLDER);
    let (mut taken, mut values) = (Taken::default(), BTreeMap::new());
    for (name, TypedValue { value, type_name }) in inputs {
        let text = match source(&value, &type_name) {
            None => text_of(&value),
            Some(source) => {
                let mut pauses = Pauses::default();
                let path = loop {
                    match fetch_one(client, &source, &name, &type_name, &folder, &mut taken).await {
                        Ok(path) => break path,
                        Err(error) if passes(&error) => {
                            away.failed(&error);
                            pauses.next().await;
                        }
                        Err(error) => return Err(format!("the input {name:?} can't be fetched: {error}")),
                    }
                };
                away.answered();
                path.into_os_string()
                    .into_string()
                    .map_err(|_| "the worker's folder has a name that is not UTF-8".to_owned())?
            }
        };
        values.insert(name, text);
    }
    Ok(values)
}

/// Says where the bytes of a value are; `None` when it is a value as it stands.
fn source(value: &serde_json::Value, type_name: &str) -> Option<Source> {
    let type_ = parse(type_name).ok()?;
    let is_output = |type_: &Type| type_.kind() == Some(Kind::JobOutput);
    match type_.kind()? {
        Kind::Blob => blob_digest(value).map(|hex| Source::Blob(hex.to_owned())),
        Kind::JobOutput => value.as_i64().map(|pk| Source::Output(OutputId(pk))),
        Kind::Pk if is_output(&type_.argument(0)) => value.as_i64().map(|pk| Source::Output(OutputId(pk))),
        _ => None,
    }
}

async fn fetch_one(
    client: &Client,
    source: &Source,
    name: &str,
    type_name: &str,
    folder: &Path,
    taken: &mut Taken,
) -> Result<PathBuf, ClientError> {
    match source {
        Source::Blob(sha256) => {
            let path = folder.join(taken.name(name, extension(type_name).as_deref()));
            client.get_blob_file(sha256, &path, |_, _| {}).await?;
            Ok(path)
        }
        Source::Output(output) => {
            let output = client.output(*output).await?;
            let path = folder.join(taken.name(name, extension(&output.type_name).as_deref()));
            if output.deletion_time.is_none() {
                client.download_file(output.job, &output.name, &output.type_name, &path, |_, _| {}).await?;
            } else {
                // It was there when the job was made; its bytes still are.
                client.get_blob_file(&output.sha256, &path, |_, _| {}).await?;
            }
            Ok(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blobs_and_outputs_of_jobs_are_files_and_all_else_is_not() {
        let hex = "0123456789abcdef".repeat(4);
        let blob = json!(format!("sha256:{hex}"));
        assert_eq!(source(&blob, "BLOB<'csv'>"), Some(Source::Blob(hex)));
        assert_eq!(source(&json!(7), "JobOutput<BLOB<'csv'>>"), Some(Source::Output(OutputId(7))));
        assert_eq!(source(&json!(7), "PK<JobOutput<JSON>>"), Some(Source::Output(OutputId(7))));
        for (value, type_name) in [(json!(7), "PK<Dataset>"), (blob, "str"), (json!(7), "int"), (json!(7), "pk<job>")] {
            assert_eq!(source(&value, type_name), None, "{type_name}");
        }
    }
}
