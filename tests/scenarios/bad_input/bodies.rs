//! JSON that is none, or is of the wrong kind.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, USER, document};

/// Routes that take a JSON object, each with a good body and the field that is to be spoiled.
async fn routes(lab: &Lab) -> Vec<(String, Value, &'static str)> {
    vec![
        ("/v1/users/create".to_owned(), json!({"username": lab.unique("u"), "password": "long-enough-1"}), "username"),
        ("/v1/nodes/create".to_owned(), json!({"ip": lab.unique("n"), "index": 0, "cpu_mem": 1}), "ip"),
        ("/v1/licences/create".to_owned(), json!({"name": lab.unique("l"), "url": "https://l.example"}), "name"),
        ("/v1/job-templates/import".to_owned(), document(&lab.unique("t")), "name"),
        ("/v1/jobs/list".to_owned(), json!({"expressions": []}), "expressions"),
        (format!("/v1/job-templates/{}/create-job", lab.template().await), json!({"input_values": {}}), "input_values"),
    ]
}

#[tokio::test]
async fn what_is_no_json_object_is_400_on_every_route() {
    let lab = Lab::shared().await;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let malformed = [
        "{",
        "{}}",
        "{'a': 1}",
        "{\"a\": NaN}",
        "{\"a\": Infinity}",
        "{\"a\": -Infinity}",
        "{\"a\": 1e999}",
        "{\"a\": 01}",
        "{\"a\": 1,}",
        "{\"a\": \"\u{1}\"}",
        r#"{"a": "\ud800"}"#,
        r#"{"a": "\x41"}"#,
        "\u{feff}{}",
        "nul",
        "{\"a\": undefined}",
        "// {}",
        "{} {}",
        "{,}",
        "\"a",
        &deep,
    ];
    for (path, _, _) in routes(&lab).await {
        for text in malformed {
            lab.post(&path).by(ADMIN).text(text).await.refuses(400, "malformed_json");
        }
        for text in ["[]", "[{}]", "1", "null", "true", "\"{}\"", "-0.0"] {
            lab.post(&path).by(ADMIN).text(text).await.refuses(400, "not_an_object");
        }
        for bytes in [&b"{\"a\": \"\xff\"}"[..], b"\xff\xfe{\0}\0", b"\x80"] {
            lab.post(&path).by(ADMIN).bytes(bytes).await.refuses(400, "malformed_json");
        }
    }
}

#[tokio::test]
async fn a_key_that_comes_twice_is_400_at_any_depth() {
    let lab = Lab::shared().await;
    for (path, good, field) in routes(&lab).await {
        let body = good.to_string();
        let twice = format!("{},\"{field}\":{}}}", body.trim_end_matches('}'), good[field]);
        // A template's body ends in several braces; there the key comes twice within.
        if serde_json::from_str::<Value>(&twice).is_ok() {
            lab.post(&path).by(ADMIN).text(twice).await.refuses(400, "malformed_json");
        }
        lab.post(&path).by(ADMIN).text(r#"{"x": [{"y": {"z": 1, "z": 1}}]}"#).await.refuses(400, "malformed_json");
    }
}

#[tokio::test]
async fn an_unknown_field_is_400_and_named() {
    let lab = Lab::shared().await;
    for (path, mut good, _) in routes(&lab).await {
        good["colour_of_the_lamp"] = json!(1);
        let reply = lab.post(&path).by(ADMIN).json(good).await.expect(400);
        assert!(reply.text().contains("colour_of_the_lamp"), "{reply}");
    }
}

#[tokio::test]
async fn a_value_of_the_wrong_kind_is_400_and_its_field_named() {
    let lab = Lab::shared().await;
    for (path, good, field) in routes(&lab).await {
        for wrong in [json!(1), json!(1.5), json!(true), json!(null), json!([1]), json!({"a": 1}), json!("text")] {
            let takes_texts = good[field].is_string() && wrong.is_string();
            let takes_objects = good[field].is_object() && wrong.is_object();
            if takes_texts || takes_objects {
                continue;
            }
            let mut body = good.clone();
            body[field] = wrong.clone();
            let reply = lab.post(&path).by(ADMIN).json(body).await.expect(400);
            assert!(reply.text().contains(field), "{path} with {field} = {wrong}: {reply}");
        }
    }
}

#[tokio::test]
async fn numbers_at_the_edges_of_i64_are_taken_or_refused_and_never_wrapped() {
    let lab = Lab::shared().await;
    for (index, status) in [(0_i128, 201), (32_767, 201), (32_768, 400), (-1, 400), (1 << 63, 400), (-(1 << 63), 400)] {
        let text = format!(r#"{{"ip": "{}", "index": {index}, "cpu_mem": 1}}"#, lab.unique("edge"));
        lab.post("/v1/nodes/create").text(text).await.expect(status);
    }
    let largest = i128::from(i64::MAX);
    for (memory, status) in [(largest, 201), (largest + 1, 400), (-1, 400), (1 << 64, 400), (0, 201)] {
        let text = format!(r#"{{"ip": "{}", "index": 0, "cpu_mem": {memory}}}"#, lab.unique("edge"));
        let reply = lab.post("/v1/nodes/create").text(text).await.expect(status);
        if status == 201 {
            assert_eq!(i128::from(reply.json()["cpu_mem"].as_i64().expect("a number")), memory);
        }
    }
    for number in ["1.0e0", "1.5", "\"1\"", "1e2", "true", "99999999999999999999999999"] {
        let text =
            format!(r#"{{"ip": "{}", "index": 0, "hardware_generation": {number}, "cpu_mem": 1}}"#, lab.unique("e"));
        lab.post("/v1/nodes/create").text(text).await.expect(400);
    }
}

#[tokio::test]
async fn every_text_of_sql_comes_back_as_it_went_in() {
    let lab = Lab::shared().await;
    let pieces = [
        "'; DROP TABLE jobs; --",
        "\" OR 1=1 --",
        "%' OR '%'='",
        "x'); DELETE FROM users; --",
        "_%\\",
        "?1",
        ":a",
        "$1",
        "Robert'); --",
        "\u{202e}\u{0}'".trim_end_matches('\''),
        "NULL",
        "💥",
        "a\nb\r\tc",
    ];
    for piece in pieces {
        let job = lab.job().await;
        let body = json!({"description": piece});
        let described = lab.patch(&format!("/v1/jobs/{job}")).by(ADMIN).json(body).await;
        if described.status == 400 {
            continue;
        }
        assert_eq!(described.expect(200).json()["description"], piece);
        for expression in [
            json!({"type": "exact", "field": "description", "value": piece}),
            json!({"type": "exact", "field": "description", "value": piece, "case_insensitive": true}),
            json!({"type": "contains", "field": "description", "sub_string": piece}),
        ] {
            let found = lab.post("/v1/jobs/list").json(json!({"expressions": [expression]})).await.expect(200);
            assert!(found.pks().contains(&job), "{piece:?} by {expression}");
        }
    }
    for piece in pieces {
        lab.get(&format!("/v1/users/{}", encode(piece))).by(ADMIN).await;
        lab.obtain(piece, piece).await;
        lab.post("/v1/jobs/list")
            .json(json!({"expressions": [{"type": "exact", "field": piece, "value": 1}]}))
            .await
            .expect(400);
        lab.post("/v1/jobs/list").json(json!({"order_by": [{"field": piece}]})).await.expect(400);
        lab.post("/v1/jobs/list").json(json!({"limit": 1, "after": piece})).await.expect(400);
        let reply = lab.import(document(piece)).await;
        assert!(reply.status == 200 || reply.status == 400, "{reply}");
    }
    lab.get("/v1/users/1").by(ADMIN).await.expect(200);
}

/// Percent-encodes all that is no letter or digit.
fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn filters_nest_to_16_and_no_deeper() {
    let lab = Lab::shared().await;
    let nested = |depth: usize| {
        let mut expression = json!({"type": "isnull", "field": "node"});
        for _ in 0..depth {
            expression = json!({"type": "or", "sub_expressions": [expression]});
        }
        json!({"expressions": [expression]})
    };
    for depth in [1, 15, 16] {
        lab.post("/v1/jobs/list").json(nested(depth)).await.expect(200);
    }
    for depth in [17, 18, 40] {
        lab.post("/v1/jobs/list").json(nested(depth)).await.expect(400);
    }
    // Deeper than a parser that calls itself could go.
    let deep = format!(
        r#"{{"expressions": [{}{{"type": "isnull", "field": "node"}}{}]}}"#,
        r#"{"type": "and", "sub_expressions": ["#.repeat(20_000),
        "]}".repeat(20_000)
    );
    lab.post("/v1/jobs/list").text(deep).await.expect(400);
    let many = |count: usize| json!({"expressions": vec![json!({"type": "isnull", "field": "node"}); count]});
    lab.post("/v1/jobs/list").json(many(200)).await.expect(200);
    lab.post("/v1/jobs/list").json(many(201)).await.expect(400);
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_413_and_one_below_is_not() {
    let lab = Lab::shared().await;
    let job = lab.job().await;
    let path = format!("/v1/jobs/{job}");
    let around = r#"{"description":""}"#.len();
    for (size, status) in [((1 << 20) - around, 200), ((1 << 20) - around + 1, 413), (3 << 20, 413)] {
        let text = format!(r#"{{"description":"{}"}}"#, "x".repeat(size));
        lab.patch(&path).by(ADMIN).text(text).await.expect(status);
    }
}

#[tokio::test]
async fn another_media_type_is_415_and_none_is_json() {
    let lab = Lab::shared().await;
    for kind in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "multipart/form-data",
    ] {
        lab.post("/v1/jobs/list").header("content-type", kind).bytes("{}").await.refuses(415, "unsupported_media_type");
    }
    for kind in ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json ;x=y"] {
        lab.post("/v1/jobs/list").by(USER).header("content-type", kind).bytes("{\"limit\":1}").await.expect(200);
    }
    lab.post("/v1/jobs/list").bytes("{\"limit\":1}").await.expect(200);
    lab.post("/v1/jobs/list").await.expect(200);
}
