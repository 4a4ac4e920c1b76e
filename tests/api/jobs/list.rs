//! `POST /v1/jobs/list`: filters, order and pages through the server; the language itself is tested beside its code.

use serde_json::{Value, json};

use crate::harness::{Lab, document};

/// Makes jobs of a template of their own, one for each description.
async fn jobs(lab: &Lab, descriptions: &[&str]) -> (Value, Vec<i64>) {
    let template = lab.import(document(&lab.unique("listed"))).await.expect(200).pk();
    let mut made = Vec::new();
    for description in descriptions {
        let body = json!({"input_values": {}, "description": description});
        made.push(lab.post(&format!("/v1/job-templates/{template}/create-job")).json(body).await.expect(200).pk());
    }
    (json!({"type": "exact", "field": "template.pk", "value": template}), made)
}

#[tokio::test]
async fn expressions_are_joined_and_rows_are_the_jobs_themselves() {
    let lab = Lab::shared().await;
    let (ours, made) = jobs(&lab, &["Straße", "STRASSE", "weg", ""]).await;
    let find = async |expression: Value| {
        lab.post("/v1/jobs/list").json(json!({"expressions": [ours, expression]})).await.expect(200).pks()
    };
    let street = json!({"type": "exact", "field": "description", "value": "strasse", "case_insensitive": true});
    assert_eq!(find(street.clone()).await, made[..2]);
    let mut others = street;
    others["invert"] = json!(true);
    assert_eq!(find(others).await, made[2..]);
    assert_eq!(find(json!({"type": "contains", "field": "description", "sub_string": "e"})).await, [made[0], made[2]]);
    assert_eq!(find(json!({"type": "isnull", "field": "node"})).await, made);
    assert_eq!(find(json!({"type": "is_null", "field": "node", "invert": true})).await, Vec::<i64>::new());
    let compare = json!({"type": "compare", "field": "pk", "operator": ">", "value": made[1]});
    assert_eq!(find(compare).await, made[2..]);
    let rows = lab.post("/v1/jobs/list").json(json!({"expressions": [ours]})).await.expect(200).json();
    assert_eq!(rows[2], lab.read(made[2]).await);
}

#[tokio::test]
async fn long_texts_are_ordered_to_their_ends_page_by_page() {
    let lab = Lab::shared().await;
    let long = |end: &str| format!("{}{end}", "µ".repeat(600));
    let texts = ["z", "b", "m", "b"].map(long);
    let (ours, made) = jobs(&lab, &texts.each_ref().map(String::as_str)).await;
    let sorted = [made[1], made[3], made[2], made[0]];
    let spec = json!({"expressions": [ours], "order_by": [{"field": "description"}]});
    assert_eq!(lab.post("/v1/jobs/list").json(spec.clone()).await.expect(200).pks(), sorted);
    let (mut seen, mut page_spec) = (Vec::new(), spec);
    page_spec["limit"] = json!(1);
    while seen.len() < sorted.len() {
        let page = lab.post("/v1/jobs/list").json(page_spec.clone()).await.expect(200);
        seen.extend(page.pks());
        if let Some(cursor) = page.header("x-next-cursor") {
            page_spec["after"] = json!(cursor);
        }
    }
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn any_name_of_a_label_can_be_asked_for() {
    let lab = Lab::shared().await;
    let template = lab.template().await;
    let value = lab.unique("labelled");
    for name in ["a.b.c.d.e.f.g.h", "k8s.io/app.kubernetes.io/x.y.z.w", "Größe in µm", "$.\"x\"", "."] {
        let body = json!({"input_values": {}, "labels": {name: value}});
        let job = lab.post(&format!("/v1/job-templates/{template}/create-job")).json(body).await.expect(200);
        assert_eq!(job.json()["labels"][name], value);
        let test = json!({"type": "exact", "field": format!("labels.{name}"), "value": value});
        let found = lab.post("/v1/jobs/list").json(json!({"expressions": [test]})).await.expect(200);
        assert_eq!(found.pks(), [job.pk()], "{name}");
    }
}

#[tokio::test]
async fn pages_are_walked_by_cursor_and_counted() {
    let lab = Lab::shared().await;
    let (ours, made) = jobs(&lab, &["c", "a", "b", "a", "c", "b", "a"]).await;
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut spec = json!({"expressions": [ours], "order_by": [{"field": "description", "ascending": false}],
            "limit": 2, "count": true});
        if !after.is_null() {
            spec["after"] = after;
        }
        let page = lab.post("/v1/jobs/list").json(spec).await.expect(200);
        assert_eq!(page.header("x-total-count"), Some("7"));
        seen.extend(page.pks());
        match page.header("x-next-cursor") {
            Some(cursor) => after = json!(cursor),
            None => break,
        }
        assert!(seen.len() < 20, "the pages do not end");
    }
    let by = |index: usize| made[index];
    assert_eq!(seen, [by(0), by(4), by(2), by(5), by(1), by(3), by(6)]);
}

#[tokio::test]
async fn a_spec_that_can_not_be_is_400_and_names_the_culprit() {
    let lab = Lab::shared().await;
    for (spec, culprit) in [
        (json!({"expressions": {}}), "expressions"),
        (json!({"expressions": [1]}), "expressions"),
        (json!({"expressions": [{"type": "like", "field": "pk"}]}), "like"),
        (json!({"expressions": [{"type": "exact", "field": "colour", "value": 1}]}), "colour"),
        (json!({"expressions": [{"type": "exact", "field": "pk", "value": "one"}]}), "pk"),
        (json!({"expressions": [{"type": "exact", "field": "pk"}]}), "value"),
        (json!({"expressions": [{"type": "compare", "field": "pk", "operator": "!=", "value": 1}]}), "!="),
        (json!({"expressions": [{"type": "isnull", "field": "node", "value": true}]}), "value"),
        (json!({"expressions": [{"type": "contains", "field": "pk", "sub_string": "1"}]}), "pk"),
        (json!({"order_by": [{"field": "colour"}]}), "colour"),
        (json!({"order_by": "pk"}), "order_by"),
        (json!({"limit": 0}), "limit"),
        (json!({"limit": 10_001}), "limit"),
        (json!({"limit": 1, "after": "nonsense"}), "after"),
        (json!({"include_inactive": "yes"}), "include_inactive"),
        (json!({"offset": 5}), "offset"),
    ] {
        let reply = lab.post("/v1/jobs/list").json(spec.clone()).await.expect(400);
        assert!(reply.text().contains(culprit), "{spec}: {reply}");
    }
}

#[tokio::test]
async fn a_list_without_limit_is_whole_however_long() {
    let lab = Lab::shared().await;
    // More than the server reads at a time.
    let (ours, made) = jobs(&lab, &["x"; 1_100]).await;
    assert_eq!(lab.post("/v1/jobs/list").json(json!({"expressions": [ours]})).await.expect(200).pks(), made);
}
