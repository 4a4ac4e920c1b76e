//! Resumable uploads: tus 1.0.0, its core and the extensions creation, creation-with-upload, expiration, checksum and
//! termination.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::harness::{ADMIN, Held, Lab, OTHER, Reply, Request, Setup, sha256, until};

/// A call in tus.
fn tus<'a>(lab: &'a Lab, method: &str, path: &str) -> Request<'a> {
    lab.request(method, path).header("tus-resumable", "1.0.0")
}

/// Begins an upload of an output.
fn begin<'a>(lab: &'a Lab, held: Held, name: &str, length: usize) -> Request<'a> {
    let path = format!("/v1/jobs/{}/outputs/{name}/str", held.job);
    tus(lab, "POST", &path).node(held.node).header("upload-length", length.to_string())
}

/// Gives a call the type and the bytes of a piece.
fn typed(request: Request<'_>) -> Request<'_> {
    request.header("content-type", "application/offset+octet-stream").bytes("data")
}

/// Sends a piece.
fn piece<'a>(lab: &'a Lab, held: Held, place: &str, offset: usize, bytes: &[u8]) -> Request<'a> {
    let call = tus(lab, "PATCH", place).node(held.node).header("upload-offset", offset.to_string());
    call.header("content-type", "application/offset+octet-stream").bytes(bytes)
}

fn place(reply: &Reply) -> String {
    reply.header("location").expect("a place").to_owned()
}

#[track_caller]
fn offset(reply: &Reply) -> u64 {
    reply.header("upload-offset").and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no offset: {reply}"))
}

async fn head(lab: &Lab, place: &str) -> Reply {
    tus(lab, "HEAD", place).await
}

fn announced(bytes: &[u8]) -> String {
    format!("filename {},sha256 {}", STANDARD.encode("a.csv"), STANDARD.encode(sha256(bytes)))
}

#[tokio::test]
async fn discovery_tells_versions_extensions_and_checksums() {
    let lab = Lab::shared().await;
    let reply = lab.request("OPTIONS", "/v1/uploads").anonymous().await.expect(204);
    assert_eq!(reply.header("tus-version"), Some("1.0.0"));
    assert_eq!(reply.header("tus-extension"), Some("creation,creation-with-upload,expiration,checksum,termination"));
    assert_eq!(reply.header("tus-checksum-algorithm"), Some("sha1,sha256"));
    assert_eq!(reply.header("tus-max-size"), None);
    let small = Lab::start_with(Setup::default().with(&["--output-bytes-max", "1000"]));
    let reply = small.request("OPTIONS", "/v1/uploads").anonymous().await.expect(204);
    assert_eq!(reply.header("tus-max-size"), Some("1000"));
}

#[tokio::test]
async fn an_output_comes_in_pieces_and_is_there_when_all_of_it_is() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let begun = begin(&lab, held, "o", bytes.len()).header("upload-metadata", announced(&bytes)).await.expect(201);
    assert_eq!((offset(&begun), begun.header("tus-resumable")), (0, Some("1.0.0")));
    let at = place(&begun);
    for (from, to) in [(0, 1), (1, 100_000), (100_000, 100_000), (100_000, bytes.len())] {
        let before = head(&lab, &at).await.expect(200);
        assert_eq!(offset(&before), from as u64);
        assert_eq!(before.header("upload-length"), Some(bytes.len().to_string().as_str()));
        assert_eq!(before.header("upload-metadata"), Some(announced(&bytes).as_str()));
        assert_eq!(before.header("cache-control"), Some("no-store"));
        assert!(before.header("upload-expires").is_some_and(|date| date.ends_with(" GMT")));
        assert_eq!(lab.read(held.job).await["outputs"], serde_json::json!([]));
        let reply = piece(&lab, held, &at, from, &bytes[from..to]).await.expect(204);
        assert_eq!(offset(&reply), to as u64);
        assert!(reply.header("upload-expires").is_some());
    }
    assert_eq!(offset(&head(&lab, &at).await.expect(200)), bytes.len() as u64);
    let info = lab.get(&format!("/v1/jobs/{}/outputs/o/str/info", held.job)).await.expect(200).json();
    assert_eq!((&info["sha256"], &info["size"]), (&sha256(&bytes).into(), &bytes.len().into()));
    let got = lab.get(&format!("/v1/jobs/{}/outputs/o/str", held.job)).await.expect(200);
    assert_eq!(got.body, bytes);
    let shown = lab.get(&at).await.expect(200).json();
    assert_eq!((&shown["output"], &shown["received"]), (&info["pk"], &bytes.len().into()));
    assert!(shown["finished_time"].is_string());
    // A client whose last answer was lost may send it again.
    assert_eq!(offset(&piece(&lab, held, &at, bytes.len(), b"").await.expect(204)), bytes.len() as u64);
    piece(&lab, held, &at, 100_000, &bytes[100_000..]).await.refuses(409, "offset_mismatch");
    piece(&lab, held, &at, bytes.len(), b"more").await.refuses(413, "too_large");
}

#[tokio::test]
async fn bytes_that_nothing_names_come_in_pieces_too() {
    let lab = Lab::shared().await;
    let held = lab.held().await;
    let bytes = lab.unique("a blob in pieces").into_bytes();
    let begun = tus(&lab, "POST", "/v1/blobs").header("upload-length", bytes.len().to_string()).await.expect(201);
    let at = place(&begun);
    assert_eq!(offset(&piece(&lab, held, &at, 0, &bytes[..5]).await.expect(204)), 5);
    lab.get(&format!("/v1/blobs/{}", sha256(&bytes))).await.expect(404);
    piece(&lab, held, &at, 5, &bytes[5..]).await.expect(204);
    assert_eq!(lab.get(&at).await.expect(200).json()["sha256"], sha256(&bytes));
    assert_eq!(lab.get(&format!("/v1/blobs/{}", sha256(&bytes))).await.expect(200).body, bytes);
    let listed = lab.get("/v1/uploads").await.expect(200);
    assert!(listed.pks().contains(&begun.pk()));
    assert!(!lab.get("/v1/uploads").by(OTHER).await.expect(200).pks().contains(&begun.pk()));
}

#[tokio::test]
async fn the_first_piece_may_come_with_the_beginning_and_be_all() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let whole = lab.unique("all at once").into_bytes();
    for (name, sent) in [("part", 4), ("whole", whole.len()), ("nothing", 0)] {
        let call = begin(&lab, held, name, whole.len()).header("content-type", "application/offset+octet-stream");
        let begun = call.bytes(&whole[..sent]).await.expect(201);
        assert_eq!(offset(&begun), sent as u64, "{name}");
        assert_eq!(begun.json()["output"].is_i64(), sent == whole.len(), "{name}");
    }
    let empty = begin(&lab, held, "empty", 0).await.expect(201);
    assert_eq!(offset(&head(&lab, &place(&empty)).await), 0);
    let info = lab.get(&format!("/v1/jobs/{}/outputs/empty/str/info", held.job)).await.expect(200).json();
    assert_eq!(info["size"], 0);
    // Bytes of another type than those of tus are not taken for a piece.
    let call = begin(&lab, held, "json", 4).header("content-type", "application/json");
    call.bytes("data").await.refuses(415, "unsupported_media_type");
}

#[tokio::test]
async fn bytes_that_the_server_has_need_not_be_sent() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let bytes = lab.unique("known bytes").into_bytes();
    lab.put(&format!("/v1/blobs/{}", sha256(&bytes))).bytes(bytes.clone()).await.expect(201);
    let begun = begin(&lab, held, "o", bytes.len()).header("upload-metadata", announced(&bytes)).await.expect(201);
    assert_eq!(offset(&begun), bytes.len() as u64);
    assert!(begun.json()["output"].is_i64());
    // And again: the same output.
    let again = begin(&lab, held, "o", bytes.len()).header("upload-metadata", announced(&bytes)).await.expect(201);
    assert_eq!(again.json()["output"], begun.json()["output"]);
    let wrong = begin(&lab, held, "p", bytes.len() + 1).header("upload-metadata", announced(&bytes)).await;
    wrong.refuses(400, "digest_mismatch");
    let other = begin(&lab, held, "o", 5).header("upload-metadata", announced(b"other")).await;
    other.refuses(400, "duplicate_output");
}

#[tokio::test]
async fn what_is_not_tus_is_told_so() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let begun = begin(&lab, held, "o", 4).await.expect(201);
    let at = place(&begun);
    // No version, or another.
    for call in [
        typed(lab.request("PATCH", &at).header("upload-offset", "0")),
        typed(lab.request("PATCH", &at).header("upload-offset", "0").header("tus-resumable", "0.2.2")),
        lab.delete(&at),
    ] {
        let reply = call.node(held.node).await.refuses(412, "tus_version");
        assert_eq!(reply.header("tus-version"), Some("1.0.0"));
    }
    lab.request("HEAD", &at).await.expect(412);
    let path = format!("/v1/jobs/{}/outputs/p/str", held.job);
    let old = lab.post(&path).node(held.node).header("tus-resumable", "0.2.2").header("upload-length", "1");
    old.await.refuses(412, "tus_version");
    // No length, no offset, no type.
    for length in ["", "-1", "1.5", "x", "18446744073709551616", "9223372036854775808"] {
        let call = tus(&lab, "POST", &path).node(held.node).header("upload-length", length);
        call.await.refuses(400, "bad_header");
    }
    tus(&lab, "POST", &path).node(held.node).await.refuses(400, "bad_header");
    typed(tus(&lab, "PATCH", &at).node(held.node)).await.refuses(400, "bad_header");
    let untyped = tus(&lab, "PATCH", &at).node(held.node).header("upload-offset", "0").bytes("data");
    untyped.await.refuses(415, "unsupported_media_type");
    for metadata in ["sha256 !", "sha256", "sha256 YWJj", &format!("a {}", "A".repeat(5_000))] {
        begin(&lab, held, "p", 4).header("upload-metadata", metadata).await.refuses(400, "bad_header");
    }
    // At another place than where it is.
    for wrong in [1, 4] {
        let reply = piece(&lab, held, &at, wrong, b"data").await.refuses(409, "offset_mismatch");
        assert_eq!(offset(&reply), 0);
    }
    // More than was announced, told by its length or not.
    piece(&lab, held, &at, 0, b"data and more").await.refuses(413, "too_large");
    assert_eq!(offset(&head(&lab, &at).await), 0);
    piece(&lab, held, "/v1/uploads/999999", 0, b"data").await.refuses(404, "not_found");
    piece(&lab, held, &at, 0, b"data").await.expect(204);
}

#[tokio::test]
async fn a_piece_that_is_not_what_its_checksum_says_does_not_count() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let begun = begin(&lab, held, "o", 8).await.expect(201);
    let at = place(&begun);
    let sha1 = |bytes: &[u8]| format!("sha1 {}", STANDARD.encode(Sha1::digest(bytes)));
    let by_sha256 = |bytes: &[u8]| format!("sha256 {}", STANDARD.encode(Sha256::digest(bytes)));
    for checksum in [sha1(b"fact"), by_sha256(b"fact")] {
        let reply = piece(&lab, held, &at, 0, b"data").header("upload-checksum", checksum).await;
        reply.refuses(460, "checksum_mismatch");
        assert_eq!(offset(&head(&lab, &at).await), 0);
    }
    for (checksum, code) in [("md5 YQ==", "unknown_checksum"), ("sha256", "bad_header"), ("sha1 !", "bad_header")] {
        piece(&lab, held, &at, 0, b"data").header("upload-checksum", checksum).await.refuses(400, code);
    }
    piece(&lab, held, &at, 0, b"more").header("upload-checksum", sha1(b"more")).await.expect(204);
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"data")));
    piece(&lab, held, &at, 4, b"fact").header("content-digest", &digest).await.refuses(460, "checksum_mismatch");
    piece(&lab, held, &at, 4, b"data").header("content-digest", digest).await.expect(204);
    let got = lab.get(&format!("/v1/jobs/{}/outputs/o/str", held.job)).await.expect(200);
    assert_eq!(got.body, b"moredata");
    // One that was wrong from the start is nowhere.
    let call = begin(&lab, held, "p", 4).header("content-type", "application/offset+octet-stream");
    call.header("upload-checksum", sha1(b"fact")).bytes("data").await.refuses(460, "checksum_mismatch");
    let open = lab.get("/v1/uploads").await.expect(200).json();
    assert!(open.as_array().unwrap().iter().all(|upload| upload["job"] != held.job || upload["name"] != "p"));
}

#[tokio::test]
async fn bytes_that_are_not_those_announced_leave_nothing() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let begun = begin(&lab, held, "o", 4).header("upload-metadata", announced(b"fact")).await.expect(201);
    let at = place(&begun);
    piece(&lab, held, &at, 0, b"da").await.expect(204);
    piece(&lab, held, &at, 2, b"ta").await.refuses(400, "digest_mismatch");
    head(&lab, &at).await.expect(404);
    assert_eq!(lab.read(held.job).await["outputs"], serde_json::json!([]));
}

#[tokio::test]
async fn whoever_may_not_add_the_output_may_not_go_on_with_it() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let begun = begin(&lab, held, "o", 8).await.expect(201);
    let at = place(&begun);
    // Without the node that holds the job; and others, staff included, at all.
    let bare = tus(&lab, "PATCH", &at).header("upload-offset", "0");
    let bare = bare.header("content-type", "application/offset+octet-stream").bytes("data");
    bare.clone().await.refuses(403, "permission_denied");
    bare.by(ADMIN).await.refuses(403, "permission_denied");
    piece(&lab, held, &at, 0, b"data").header("attempt", "7").await.refuses(409, "stale_attempt");
    // None of that cost anything.
    piece(&lab, held, &at, 0, b"data").await.expect(204);
    lab.act(held, "finish").await.expect(200);
    piece(&lab, held, &at, 4, b"data").await.refuses(406, "wrong_phase");
    let late = begin(&lab, held, "p", 4).await;
    late.refuses(406, "wrong_phase");
}

#[tokio::test]
async fn a_reset_takes_half_sent_outputs_with_it() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let at = place(&begin(&lab, held, "o", 8).await.expect(201));
    piece(&lab, held, &at, 0, b"data").await.expect(204);
    lab.fail(held).await.expect(200);
    lab.act(held, "reset").await.expect(200);
    lab.act(held, "start").await.expect(200);
    piece(&lab, held, &at, 4, b"data").await.refuses(404, "not_found");
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_gone() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    for override_it in [false, true] {
        let at = place(&begin(&lab, held, "o", 8).await.expect(201));
        piece(&lab, held, &at, 0, b"data").await.expect(204);
        let call = if override_it {
            tus(&lab, "POST", &at).header("x-http-method-override", "DELETE")
        } else {
            tus(&lab, "DELETE", &at)
        };
        call.await.expect(204);
        head(&lab, &at).await.expect(404);
        piece(&lab, held, &at, 4, b"data").await.refuses(404, "not_found");
    }
    let at = place(&begin(&lab, held, "o", 4).await.expect(201));
    let call = tus(&lab, "POST", &at).node(held.node).header("x-http-method-override", "PATCH");
    let call = call.header("upload-offset", "0").header("content-type", "application/offset+octet-stream");
    call.bytes("data").await.expect(204);
    tus(&lab, "POST", &at).await.refuses(400, "bad_header");
    // What came of it stays.
    tus(&lab, "DELETE", &at).await.expect(204);
    lab.get(&format!("/v1/jobs/{}/outputs/o/str", held.job)).await.expect(200);
}

#[tokio::test]
async fn two_pieces_at_once_are_one_and_a_refusal() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let end = crate::harness::deadline();
    // The slow one has its turn when the other is refused. If it came while the other had it, it was refused itself.
    let (at, mut connection, refused) = 'tries: loop {
        let at = place(&begin(&lab, held, &lab.unique("o"), 8).await.expect(201));
        let slow = lab.head("PATCH", &at, crate::harness::USER).await;
        let slow = format!(
            "{slow}Node-Id: {}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: 8\r\n\r\nda",
            held.node
        );
        let mut connection = lab.raw();
        connection.send(slow);
        for _ in 0..50 {
            let other = piece(&lab, held, &at, 0, b"").await;
            if other.status == 423 {
                break 'tries (at, connection, other);
            }
        }
        assert!(std::time::Instant::now() < end, "the slow one never had its turn");
    };
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refuses(423, "upload_busy");
    tus(&lab, "DELETE", &at).await.refuses(423, "upload_busy");
    connection.send("tamore!");
    assert_eq!(connection.reply().expect("an answer").expect(204).header("upload-offset"), Some("8"));
}

#[tokio::test]
async fn what_came_before_a_connection_broke_off_counts() {
    let lab = Lab::shared().await;
    let held = lab.started().await;
    let at = place(&begin(&lab, held, "o", 8).await.expect(201));
    let head_of = lab.head("PATCH", &at, crate::harness::USER).await;
    let cut = format!(
        "{head_of}Node-Id: {}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: 8\r\n\r\ndata",
        held.node
    );
    let mut connection = lab.raw();
    connection.send(cut).end();
    drop(connection);
    let end = crate::harness::deadline();
    while offset(&head(&lab, &at).await.expect(200)) != 4 {
        assert!(std::time::Instant::now() < end, "what came was not kept");
    }
    piece(&lab, held, &at, 4, b"more").await.expect(204);
    let got = lab.get(&format!("/v1/jobs/{}/outputs/o/str", held.job)).await.expect(200);
    assert_eq!(got.body, b"datamore");
}

#[tokio::test]
async fn limits_are_told_before_a_byte_is_sent() {
    let lab = Lab::start_with(Setup::default().with(&["--output-bytes-max", "1000", "--uploads-open-max", "2"]));
    let held = lab.started().await;
    begin(&lab, held, "o", 1_001).await.refuses(413, "too_large");
    let first = begin(&lab, held, "a", 1_000).await.expect(201);
    begin(&lab, held, "b", 1_000).await.expect(201);
    let refused = begin(&lab, held, "c", 1_000).await.refuses(429, "too_many_uploads");
    assert!(refused.header("retry-after").is_some());
    // Others are not kept from theirs; and one that ends makes room.
    tus(&lab, "POST", "/v1/blobs").by(OTHER).header("upload-length", "5").await.expect(201);
    tus(&lab, "DELETE", &place(&first)).await.expect(204);
    begin(&lab, held, "c", 1_000).await.expect(201);
    // Beyond any disk.
    let lab = Lab::shared().await;
    let held = lab.started().await;
    begin(&lab, held, "o", usize::MAX >> 1).await.refuses(507, "no_space");
}

#[tokio::test]
async fn an_acknowledged_offset_outlives_a_kill() {
    let lab = Lab::start();
    let held = lab.started().await;
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let begun = begin(&lab, held, "o", bytes.len()).header("upload-metadata", announced(&bytes)).await.expect(201);
    let at = place(&begun);
    let ends = [0, 10, 700_000, 700_001, bytes.len()];
    for pair in ends.windows(2) {
        piece(&lab, held, &at, pair[0], &bytes[pair[0]..pair[1]]).await.expect(204);
        lab.server(|server| server.restart());
        assert_eq!(offset(&head(&lab, &at).await.expect(200)), pair[1] as u64);
    }
    let got = lab.get(&format!("/v1/jobs/{}/outputs/o/str", held.job)).await.expect(200);
    assert_eq!(got.body, bytes);
    let shown: Value = lab.get(&at).await.expect(200).json();
    assert_eq!(shown["sha256"], sha256(&bytes));
    let dir = lab.server(|server| server.dir().to_owned());
    let left = || dir.join("blobs/partial").read_dir().expect("a folder").count();
    until("the files of uploads to go", || (left() == 0).then_some(()));
}
