//! A caller that takes a broken connection for an answer: none.

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(in crate::scenarios) struct Caller {
    pub(in crate::scenarios) http: reqwest::Client,
    pub(in crate::scenarios) base: String,
    pub(in crate::scenarios) token: String,
    pub(in crate::scenarios) node: Option<i64>,
}

impl Caller {
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> Option<(u16, Vec<u8>)> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(node) = self.node {
            request = request.header("node-id", node);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let reply = request.body(body).send().await.ok()?;
        let status = reply.status().as_u16();
        Some((status, reply.bytes().await.ok()?.to_vec()))
    }

    /// Makes a call that the rules allow; `None` when the server was killed under it.
    pub(in crate::scenarios) async fn done(&self, method: &str, path: &str, body: Vec<u8>) -> Option<Value> {
        let (status, body) = self.send(method, path, &[], body).await?;
        assert!((200..=201).contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&body));
        Some(serde_json::from_slice(&body).expect("JSON"))
    }

    /// Begins an upload in pieces; gives it as it is shown.
    pub(in crate::scenarios) async fn begin(&self, path: &str, length: usize) -> Option<Value> {
        let headers = [("tus-resumable", "1.0.0".to_owned()), ("upload-length", length.to_string())];
        let (status, body) = self.send("POST", path, &headers, Vec::new()).await?;
        assert_eq!(status, 201, "POST {path}: {}", String::from_utf8_lossy(&body));
        Some(serde_json::from_slice(&body).expect("JSON"))
    }

    /// Sends a piece of an upload.
    pub(in crate::scenarios) async fn piece(
        &self,
        path: &str,
        offset: usize,
        bytes: Vec<u8>,
    ) -> Option<(u16, Vec<u8>)> {
        let headers = [
            ("tus-resumable", "1.0.0".to_owned()),
            ("upload-offset", offset.to_string()),
            ("content-type", "application/offset+octet-stream".to_owned()),
        ];
        self.send("PATCH", path, &headers, bytes).await
    }

    /// Reads from a server that runs.
    pub(in crate::scenarios) async fn read(&self, path: &str) -> (u16, Vec<u8>) {
        self.send("GET", path, &[], Vec::new()).await.expect("an answer")
    }

    /// The children of a meta-job, in order of their making, from a server that runs.
    pub(in crate::scenarios) async fn children(&self, parent: i64) -> Vec<Value> {
        self.list_children(parent).await.expect("an answer")
    }

    /// The same; `None` when the server was killed under it.
    pub(in crate::scenarios) async fn list_children(&self, parent: i64) -> Option<Vec<Value>> {
        let spec = json!({"expressions": [{"type": "exact", "field": "parent", "value": parent}]});
        let listed = self.done("POST", "/v1/jobs/list", spec.to_string().into()).await?;
        Some(listed.as_array().expect("a list").clone())
    }
}
