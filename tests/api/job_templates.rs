//! `/v1/job-templates`.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Lab, document};

async fn import(lab: &Lab, change: impl FnOnce(&mut Value)) -> Value {
    let mut text = document(&lab.unique("template"));
    change(&mut text);
    lab.import(text).await.expect(200).json()
}

/// A template with one parameter of each sort and an input.
async fn rich(lab: &Lab) -> Value {
    import(lab, |text| {
        text["specific"]["parameters"] = json!({
            "epochs": {"types": ["int", "str"], "help": "Passes"},
            "rate": {"types": ["float"], "default": 0.5, "help": "Learning rate"},
            "mode": {"types": ["str"], "default": "x", "const": true, "help": ""},
        });
        text["specific"]["inputs"] =
            json!([{"name": "trace", "types": ["JSON", "PK<Hardware>"], "options": "", "help": ""}]);
        text["specific"]["outputs"] = json!([{"name": "fit", "type": "Array< float >", "help": "h"}]);
    })
    .await
}

#[tokio::test]
async fn a_template_shows_what_its_document_said() {
    let lab = Lab::shared().await;
    let template = rich(&lab).await;
    for (key, value) in [
        ("version", json!(1)),
        ("scope", json!("public")),
        ("type", json!("Export")),
        ("executor_class", json!("lab.Assay")),
        ("required_packages", json!("")),
        ("domain", json!(null)),
        ("deletion_time", json!(null)),
        ("body", json!("")),
        ("outputs", json!({"fit": {"type": "Array<float>", "help": "h"}})),
    ] {
        assert_eq!(template[key], value, "{key} in {template}");
    }
    assert_eq!(template["inputs"]["trace"]["types"], json!(["JSON", "PK<Hardware>"]));
    assert_eq!(template["parameters"]["rate"]["default"], 0.5);
    assert!(template["licence"].is_i64());
    assert_eq!(lab.get(&format!("/v1/job-templates/{}", template["pk"])).await.expect(200).json(), template);
}

#[tokio::test]
async fn what_can_not_be_imported_is_400() {
    let lab = Lab::shared().await;
    let before =
        lab.post("/v1/job-templates/list").json(json!({"include_inactive": true, "count": true, "limit": 1})).await;
    for (pointer, wrong) in [
        ("/name", json!("")),
        ("/version", json!(0)),
        ("/version", json!("1")),
        ("/scope", json!(7)),
        ("/licence", json!(null)),
        ("/specific", json!([])),
        ("/specific/job_type", json!("Train<")),
        ("/specific/parameters", json!({"p": {"types": []}})),
        ("/specific/parameters", json!({"p": {"types": ["int"], "default": "x", "help": ""}})),
        ("/specific/parameters", json!({"p": {"types": ["Array<"], "help": ""}})),
        ("/specific/executor_class", json!(null)),
        ("/domain", json!("abc")),
    ] {
        let mut text = document(&lab.unique("bad"));
        match text.pointer_mut(pointer) {
            Some(place) => *place = wrong.clone(),
            None => text["domain"] = wrong.clone(),
        }
        let reply = lab.import(text).await;
        assert_eq!(reply.status, 400, "{pointer} = {wrong}: {reply}");
    }
    let after =
        lab.post("/v1/job-templates/list").json(json!({"include_inactive": true, "count": true, "limit": 1})).await;
    let count = |reply: &crate::harness::Reply| {
        reply.header("x-total-count").expect("a count").parse::<i64>().expect("a number")
    };
    assert!(count(&after) >= count(&before));
    let named = json!({"expressions": [{"type": "contains", "field": "name", "sub_string": "bad-"}]});
    assert!(lab.post("/v1/job-templates/list").json(named).await.expect(200).pks().is_empty());
}

#[tokio::test]
async fn an_import_takes_the_place_of_its_version_and_none_goes_one_up() {
    let lab = Lab::shared().await;
    let name = lab.unique("versions");
    let first = lab.import(document(&name)).await.expect(200).pk();
    let second = lab.import(document(&name)).await.expect(200).pk();
    assert!(lab.get(&format!("/v1/job-templates/{first}")).await.expect(200).json()["deletion_time"].is_string());
    let mut next = document(&name);
    next["version"] = json!(7);
    lab.import(next.clone()).await.expect(200);
    next.as_object_mut().expect("an object").remove("version");
    assert_eq!(lab.import(next).await.expect(200).json()["version"], 8);
    let spec =
        json!({"expressions": [{"type": "exact", "field": "name", "value": name}], "order_by": [{"field": "version"}]});
    let live = lab.post("/v1/job-templates/list").json(spec).await.expect(200);
    assert_eq!((live.pks().len(), live.pks()[0]), (3, second));
    lab.delete(&format!("/v1/job-templates/{first}/reinstate")).by(ADMIN).await.refuses(406, "name_taken");
}

#[tokio::test]
async fn no_version_is_given_that_an_import_would_not_take() {
    let lab = Lab::shared().await;
    let mut last = document(&lab.unique("last"));
    last["version"] = json!(2_147_483_647);
    lab.import(last.clone()).await.expect(200);
    last.as_object_mut().expect("an object").remove("version");
    lab.import(last).await.blames("version");
}

#[tokio::test]
async fn create_job_takes_values_that_fit_and_names_those_that_do_not() {
    let lab = Lab::shared().await;
    let path = format!("/v1/job-templates/{}/create-job", rich(&lab).await["pk"]);
    let trace = json!({"trace": {"value": "{}", "type": "JSON"}});
    let good = json!({"input_values": trace, "parameter_values": {"epochs": "50000"}, "description": "d"});
    let job = lab.post(&path).json(good.clone()).await.expect(200).json();
    assert_eq!((&job["phase"], &job["description"], &job["node"]), (&json!("created"), &json!("d"), &Value::Null));
    assert_eq!((&job["input_values"], &job["parameter_values"]), (&trace, &json!({"epochs": "50000"})));
    let typed =
        json!({"input_values": trace, "parameter_values": {"epochs": {"value": 5, "type": "int"}, "rate": "0.25"}});
    assert_eq!(
        lab.post(&path).json(typed.clone()).await.expect(200).json()["parameter_values"],
        typed["parameter_values"]
    );
    let nothing = json!({"input_values": trace, "parameter_values": null});
    lab.post(&path).json(nothing).await.blames("parameter_values.epochs");
    let hardware =
        json!({"input_values": {"trace": {"value": 1, "type": "PK<Hardware>"}}, "parameter_values": {"epochs": "1"}});
    lab.post(&path).json(hardware).await.expect(200);
    for (pointer, wrong, culprit) in [
        ("/input_values", json!({}), "trace"),
        ("/input_values/trace/type", json!("str"), "trace"),
        ("/input_values/trace", json!({"value": 999_999, "type": "PK<Hardware>"}), "trace"),
        ("/input_values/trace", json!("{}"), "trace"),
        ("/input_values", json!({"trace": trace["trace"], "extra": trace["trace"]}), "extra"),
        ("/parameter_values", json!({}), "epochs"),
        ("/parameter_values", json!({"epochs": "1", "nope": "1"}), "nope"),
        ("/parameter_values", json!({"epochs": "1", "mode": "y"}), "mode"),
        ("/parameter_values", json!({"epochs": "1", "rate": "fast"}), "rate"),
        ("/parameter_values", json!({"epochs": {"value": true, "type": "int"}}), "epochs"),
        ("/description", json!(5), "description"),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(pointer).expect("it is there") = wrong.clone();
        let reply = lab.post(&path).json(body).await.expect(400);
        assert!(reply.text().contains(culprit), "{pointer} = {wrong}: {reply}");
    }
    lab.post(&path).json(json!({"parameter_values": {"epochs": "1"}})).await.blames("input_values");
    lab.post("/v1/job-templates/999999999/create-job").json(good).await.refuses(404, "not_found");
}

#[tokio::test]
async fn a_deleted_template_makes_no_jobs_until_it_is_back() {
    let lab = Lab::shared().await;
    let pk = import(&lab, |_| {}).await["pk"].clone();
    let (path, create) = (format!("/v1/job-templates/{pk}"), format!("/v1/job-templates/{pk}/create-job"));
    let body = json!({"input_values": {}});
    for _ in 0..2 {
        // Again is a no-op.
        assert!(lab.delete(&path).by(ADMIN).await.expect(204).body.is_empty());
    }
    lab.post(&create).json(body.clone()).await.refuses(406, "deleted");
    for _ in 0..2 {
        lab.delete(&format!("{path}/reinstate")).by(ADMIN).await.expect(200);
    }
    lab.post(&create).json(body).await.expect(200);
    lab.delete(&format!("{path}/hard")).by(ADMIN).await.refuses(406, "in_use");
    lab.get(&path).await.expect(200);
}

#[tokio::test]
async fn hard_delete_gives_the_template_as_it_was() {
    let lab = Lab::shared().await;
    let template = import(&lab, |_| {}).await;
    let path = format!("/v1/job-templates/{}", template["pk"]);
    assert_eq!(lab.delete(&format!("{path}/hard")).by(ADMIN).await.expect(200).json(), template);
    lab.get(&path).await.refuses(404, "not_found");
    lab.delete(&format!("{path}/hard")).by(ADMIN).await.refuses(404, "not_found");
}

#[tokio::test]
async fn a_template_tells_its_parameters_types_and_outputs() {
    let lab = Lab::shared().await;
    let path = format!("/v1/job-templates/{}", rich(&lab).await["pk"]);
    let parameters = lab.get(&format!("{path}/get-all-parameters")).await.expect(200).json();
    assert_eq!(parameters["epochs"]["help"], "Passes");
    assert!(parameters["epochs"]["types"]["int"].is_object() && parameters["epochs"].get("default").is_none());
    let default = &parameters["rate"]["default"];
    assert_eq!((&default["value"], &default["type"], &default["const"]), (&json!(0.5), &json!("float"), &json!(false)));
    assert_eq!(parameters["mode"]["default"]["const"], true);
    assert_eq!(lab.get(&format!("{path}/get-outputs")).await.expect(200).json(), json!({"fit": "Array<float>"}));
    assert_eq!(lab.get(&format!("{path}/get-types")).await.expect(200).json(), json!({}));
    let trained = import(&lab, |text| {
        text["specific"]["job_type"] = json!("Train<Domain<'Image Classification'>, Framework<'tensorflow', '1.14'>>");
    })
    .await;
    let path = format!("/v1/job-templates/{}", trained["pk"]);
    let types = lab.get(&format!("{path}/get-types")).await.expect(200).json();
    assert_eq!(types["FrameworkType"], "Framework<'tensorflow', '1.14'>");
    let outputs = lab.get(&format!("{path}/get-outputs")).await.expect(200).json();
    assert_eq!(outputs["model"], "Model<Domain<'Image Classification'>, Framework<'tensorflow', '1.14'>>");
}

#[tokio::test]
async fn matching_templates_are_found_by_contract_and_inputs() {
    let lab = Lab::shared().await;
    let domain = lab.unique("Spectra");
    let template = import(&lab, |text| {
        text["specific"]["job_type"] = json!(format!("Train<Domain<'{domain}'>, Framework<'weka', '3'>>"));
    })
    .await;
    let ask = |query: String| {
        let lab = &lab;
        async move { lab.get(&format!("/v1/job-templates/get-all-matching-templates/{query}")).await }
    };
    let fitting = format!("Train?dataset=PK%3CDataset%3CDomain%3C'{domain}'%3E%3E%3E");
    assert_eq!(ask(fitting).await.expect(200).pks(), [template["pk"].as_i64().expect("a key")]);
    let other = "Train?dataset=PK%3CDataset%3CDomain%3C'Another'%3E%3E%3E".to_owned();
    assert!(!ask(other).await.expect(200).pks().contains(&template["pk"].as_i64().expect("a key")));
    for bad in ["Train%3C", "Train?dataset=PK%3C"] {
        ask(bad.to_owned()).await.expect(400);
    }
}
