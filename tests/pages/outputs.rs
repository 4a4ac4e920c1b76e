//! Outputs: what they look like, and that nothing of them runs.

use crate::harness::{Held, Lab, Reply, USER, Visitor};

/// Uploads bytes under a name.
async fn put(lab: &Lab, held: Held, name: &str, bytes: impl Into<Vec<u8>>) -> i64 {
    lab.upload(held, name, "t", bytes).await.expect(200).pk()
}

async fn preview(visitor: &Visitor<'_>, output: i64) -> String {
    visitor.part(&format!("/outputs/{output}")).await.expect(200).text()
}

#[tokio::test]
async fn each_kind_of_bytes_is_shown_in_its_way() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let held = lab.started().await;
    let csv = "time,signal\n".to_owned() + &(0..2_000).map(|x| format!("{x},{}\n", x % 7)).collect::<String>();
    let table = preview(&user, put(&lab, held, "table", csv).await).await;
    for text in ["<polyline", "over time", "<th scope=\"col\">signal</th>", "Not all rows"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    let tree = preview(&user, put(&lab, held, "tree", r#"{"a": [1, null, {"b": "<i>"}]}"#).await).await;
    assert!(tree.contains("<details open>") && tree.contains("&#60;i&#62;") && tree.contains("null"), "{tree}");
    let bad = preview(&user, put(&lab, held, "bad-tree", r#"{"a": "#).await).await;
    assert!(bad.contains("<pre"), "{bad}");
    let text = preview(&user, put(&lab, held, "text", "hello\n<b>").await).await;
    assert!(text.contains("hello\n&#60;b&#62;"), "{text}");
    let hex = preview(&user, put(&lab, held, "bytes", vec![0, 1, 0xff]).await).await;
    assert!(hex.contains("00000000  00 01 ff"), "{hex}");
    assert!(preview(&user, put(&lab, held, "nothing", "").await).await.contains("It is empty."));
    let long = preview(&user, put(&lab, held, "long", "x".repeat(3 << 20)).await).await;
    assert!(long.len() < 200_000 && long.contains("Made from the first 66 kB of 3.1 MB"), "{}", long.len());
}

#[tokio::test]
async fn images_are_shown_under_their_own_type_and_can_do_nothing() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let held = lab.started().await;
    let evil = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    let svg = put(&lab, held, "%3Cscript%3Ealert(1)%3C%2Fscript%3E", evil).await;
    let shown = preview(&user, svg).await;
    assert!(shown.contains(&format!("<img class=\"picture\" src=\"/outputs/{svg}/image\"")), "{shown}");
    assert!(!shown.contains("<script"), "{shown}");
    let image = user.get(&format!("/outputs/{svg}/image")).await.expect(200);
    assert_eq!(image.header("content-type"), Some("image/svg+xml"));
    is_locked(&image);
    assert_eq!(image.body, evil.as_bytes());
    let html = put(&lab, held, "page.html", "<html><script>alert(1)</script></html>").await;
    user.get(&format!("/outputs/{html}/image")).await.expect(404);
    let text = preview(&user, html).await;
    assert!(text.contains("&#60;script&#62;alert(1)") && !text.contains("<script"), "{text}");
    let page = user.get(&format!("/outputs/{svg}")).await.expect(200).text();
    assert!(!page.contains("<script>alert"), "{page}");
}

/// What is opened by itself has no script, no frame, and nothing to load.
#[track_caller]
fn is_locked(reply: &Reply) {
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("sandbox"), "{policy}");
    assert!(!policy.contains("script-src"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn downloads_are_the_same_bytes_and_never_opened_in_place() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let held = lab.started().await;
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let output = put(&lab, held, "raw", bytes.clone()).await;
    let reply = user.get(&format!("/outputs/{output}/download")).await.expect(200);
    assert!(reply.body == bytes, "other bytes");
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    assert!(
        reply.header("content-disposition").is_some_and(|text| text.starts_with("attachment")),
        "{:?}",
        reply.headers
    );
    let part = user.get(&format!("/outputs/{output}/download")).header("range", "bytes=4-7").await.expect(206);
    assert_eq!(part.body, bytes[4..8]);
    lab.delete(&format!("/v1/job-outputs/{output}")).by(crate::harness::ADMIN).await.expect(204);
    let deleted = user.get(&format!("/outputs/{output}")).await.expect(200).text();
    assert!(deleted.contains("deleted"), "{deleted}");
}
