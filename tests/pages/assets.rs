//! Assets: kept by browsers for ever, and nothing from anywhere else.

use crate::harness::{Lab, attribute};

#[tokio::test]
async fn assets_are_kept_for_ever_and_change_their_names() {
    let lab = Lab::shared().await;
    let page = lab.get("/login").anonymous().await.expect(200).text();
    for before in [r#"rel="stylesheet" href=""#, r#"<script src=""#, r#"rel="icon" href=""#] {
        let path = attribute(&page, before);
        let asset = lab.get(path).anonymous().await.expect(200);
        assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"), "{path}");
        let tag = asset.header("etag").expect("a tag").to_owned();
        let again = lab.get(path).anonymous().header("if-none-match", &tag).await.expect(304);
        assert!(again.body.is_empty() && again.header("etag") == Some(&tag));
        let head = lab.request("HEAD", path).anonymous().await.expect(200);
        assert_eq!(head.header("content-length"), Some(asset.body.len().to_string().as_str()));
    }
    lab.get("/assets/style.css").anonymous().await.expect(404);
    lab.get("/assets/..%2F..%2Fetc%2Fpasswd").anonymous().await.expect(404);
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_have_no_code_or_style_in_them() {
    let lab = Lab::shared().await;
    let job = lab.finished().await.job;
    let visitor = crate::harness::Visitor::log_in(&lab, crate::harness::ADMIN).await;
    for path in ["/jobs".to_owned(), format!("/jobs/{job}"), "/nowhere".to_owned()] {
        let page = visitor.get(&path).await.text();
        for bad in ["http://", "https://", "<style", "style=\"", "onclick", "onload", "javascript:", "<script>"] {
            assert!(!page.contains(bad), "{path} has {bad}");
        }
    }
}
