//! The form of a job, as a browser without scripts sends it.

use serde_json::json;

use crate::harness::{ADMIN, Lab, Reply, USER, Visitor};

/// Sends a form with files: each part a name, a file's name or nothing, and bytes.
async fn send(visitor: &Visitor<'_>, path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Reply {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.extend(format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend_from_slice(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    visitor.request("POST", path).header("content-type", "multipart/form-data; boundary=edge").bytes(body).await
}

async fn template(lab: &Lab) -> i64 {
    let parameter = |of: &str, default: serde_json::Value| json!({"types": [of], "help": "", "default": default, "default_type": of, "const": false});
    let document = json!({
        "name": lab.unique("form"), "version": 1, "scope": "public", "licence": "MIT", "description": "<b>bold</b>",
        "specific": {"job_type": "", "executor_class": "", "required_packages": "", "body": "",
            "inputs": [{"name": "trace", "types": ["BLOB<'csv'>"], "help": "<i>help</i>", "options": ""}],
            "parameters": {"width": parameter("int", json!(7)), "name <1>": parameter("str", json!("x"))}},
    });
    lab.import(document).await.expect(200).pk()
}

#[tokio::test]
async fn a_form_with_a_file_makes_a_job_without_any_script() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let path = format!("/submit/{}", template(&lab).await);
    let page = user.get(&path).await.expect(200).text();
    for text in [
        "&#60;b&#62;bold",
        "&#60;i&#62;help",
        "name=\"p.0.width\" type=\"number\" step=\"1\" value=\"7\"",
        "name &#60;1&#62;",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    let csrf = user.csrf.as_bytes();
    let file = vec![b'x'; 3 << 20];
    let reply = send(
        &user,
        &path,
        &[
            ("csrf", None, csrf),
            ("i.0.trace", None, b""),
            ("i.0.trace", Some("a.csv"), &file),
            ("p.0.width", None, b"9"),
            ("p.0.name <1>", None, b"x"),
            ("description", None, "µ".as_bytes()),
            ("hold", None, b"on"),
        ],
    )
    .await
    .expect(303);
    let job: i64 = reply.header("location").and_then(|way| way.strip_prefix("/jobs/")?.parse().ok()).expect("a job");
    let made = lab.read(job).await;
    assert_eq!(
        (&made["parameter_values"], &made["hold"]),
        (&json!({"width": {"value": 9, "type": "int"}}), &json!(true)),
        "{made}"
    );
    let digest = made["input_values"]["trace"]["value"].as_str().and_then(|text| text.strip_prefix("sha256:"));
    let kept = lab.get(&format!("/v1/blobs/{}", digest.expect("a digest"))).await.expect(200);
    assert_eq!(kept.body, file);
}

#[tokio::test]
async fn a_file_is_looked_at_only_from_a_page_of_ours() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let path = format!("/submit/{}", template(&lab).await);
    let file: (&str, Option<&str>, &[u8]) = ("i.0.trace", Some("a"), b"x");
    send(&user, &path, &[file]).await.expect(403);
    send(&user, &path, &[("csrf", None, b"wrong"), file]).await.expect(403);
    send(&user, &path, &[file, ("csrf", None, user.csrf.as_bytes())]).await.expect(403);
    let broken = user.request("POST", &path).header("content-type", "multipart/form-data; boundary=edge").bytes("--ed");
    assert!([400, 403].contains(&broken.await.status));
    let no_edge = user.request("POST", &path).header("content-type", "multipart/form-data").bytes("x");
    assert!([400, 403].contains(&no_edge.await.status));
    let upload = |csrf: &str| user.request("POST", "/uploads").header("x-csrf-token", csrf).bytes("data");
    upload("wrong").await.expect(403);
    let kept = upload(&user.csrf).await.expect(201).json();
    assert_eq!(kept["sha256"], "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7");
}

#[tokio::test]
async fn what_comes_before_a_part_has_a_limit() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let head = format!(
        "POST /submit/{} HTTP/1.1\r\nHost: lab\r\nCookie: {}\r\nAccept: text/html\r\n\
         Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: 100000000\r\n\r\n",
        template(&lab).await,
        user.cookie
    );
    let csrf = format!("--edge\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n{}\r\n", user.csrf);
    for begun in ["", "--edge\r\nX-A: ", "--edge\r\n", &format!("{csrf}--edge\r\nX-A: ")] {
        // The rest never comes: the answer does not wait for it.
        let mut raw = lab.raw();
        raw.send(&head).send(begun).send(vec![b'a'; 1 << 20]);
        let reply = raw.reply().expect("an answer").expect(400);
        assert!(reply.text().contains("more than 65536 bytes come before a part"), "{begun:?}: {reply}");
    }
}

#[tokio::test]
async fn the_names_of_fields_count_as_their_texts_do() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let path = format!("/submit/{}", template(&lab).await);
    let name = "n".repeat(32 << 10);
    let mut parts: Vec<(&str, Option<&str>, &[u8])> = vec![(&name, None, b""); 33];
    parts.insert(0, ("csrf", None, user.csrf.as_bytes()));
    send(&user, &path, &parts).await.expect(413);
}

#[tokio::test]
async fn what_is_wrong_is_told_at_its_field_and_the_rest_stays() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let path = format!("/submit/{}", template(&lab).await);
    let digest = format!("sha256:{}", "0".repeat(64));
    let reply = user.post(
        &path,
        &[("i.0.trace", &digest), ("p.0.width", "wide"), ("description", "\"><script>"), ("priority", "high")],
    );
    let page = reply.await.expect(400).text();
    for text in
        ["p0-problem\">The text can", "There are no bytes with the digest", "not a text.", "&#34;&#62;&#60;script&#62;"]
    {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    let page = user.post(&path, &[("labels", "x"), ("p.0.width", "8")]).await.expect(400).text();
    assert!(page.contains("has no `=`") && page.contains("value=\"8\""), "{page}");
    user.get("/submit/987654").await.expect(404);
    assert!(user.part("/submit?q=nothing+has+this").await.expect(200).text().contains("No template has that"));
}

#[tokio::test]
async fn a_template_that_is_deleted_makes_no_job() {
    let lab = Lab::shared().await;
    let user = Visitor::log_in(&lab, USER).await;
    let template = lab.import(crate::harness::document(&lab.unique("gone"))).await.expect(200).pk();
    lab.delete(&format!("/v1/job-templates/{template}")).by(ADMIN).await.expect(204);
    let page = user.post(&format!("/submit/{template}"), &[]).await.expect(400).text();
    assert!(page.contains("The template is deleted"), "{page}");
}
