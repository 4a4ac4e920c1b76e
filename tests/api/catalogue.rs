//! The catalogues: hardware, cuda, docker, job-types, job-contracts, domains, licences, frameworks.

use serde_json::{Value, json};

use super::access::row;
use crate::harness::{ADMIN, Lab, USER, document};

const CATALOGUES: [&str; 8] =
    ["hardware", "cuda", "docker", "job-types", "job-contracts", "domains", "licences", "frameworks"];

#[tokio::test]
async fn rows_are_made_read_changed_listed_and_destroyed() {
    let lab = Lab::shared().await;
    for catalogue in CATALOGUES {
        let body = row(&lab, catalogue).await;
        let made = lab.post(&format!("/v1/{catalogue}/create")).by(ADMIN).json(body.clone()).await.expect(201);
        let path = format!("/v1/{catalogue}/{}", made.pk());
        let shown = made.json();
        for (name, value) in body.as_object().expect("an object") {
            // A reference is given by key and shown as what it names.
            if !value.is_i64() {
                assert_eq!(&shown[name], value, "{catalogue}: {name}");
            }
        }
        assert_eq!(lab.get(&path).by(ADMIN).await.expect(200).json(), shown, "{catalogue}");
        assert_eq!(lab.patch(&path).by(ADMIN).json(json!({})).await.expect(200).json(), shown, "{catalogue}");
        let put = lab.put(&path).by(ADMIN).json(body).await.expect(200).json();
        assert_eq!(put, shown, "{catalogue}");
        lab.put(&path).by(ADMIN).json(json!({})).await.expect(400);
        let spec = json!({"expressions": [{"type": "exact", "field": "pk", "value": made.pk()}]});
        let list = format!("/v1/{catalogue}/list");
        assert_eq!(lab.post(&list).by(ADMIN).json(spec).await.expect(200).json(), json!([shown]), "{catalogue}");
        lab.delete(&path).by(ADMIN).await.expect(204);
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            lab.request(method, &path).by(ADMIN).json(json!({})).await.refuses(404, "not_found");
        }
    }
}

#[tokio::test]
async fn bad_rows_are_400_and_their_fields_named() {
    let lab = Lab::shared().await;
    for catalogue in CATALOGUES {
        let create = format!("/v1/{catalogue}/create");
        lab.post(&create).by(ADMIN).json(json!({})).await.expect(400);
        let mut extra = row(&lab, catalogue).await;
        extra["colour"] = json!("red");
        lab.post(&create).by(ADMIN).json(extra).await.blames("colour");
        let good = row(&lab, catalogue).await;
        for field in good.as_object().expect("an object").keys() {
            let mut body = good.clone();
            body[field] = json!({"neither": "text nor number"});
            lab.post(&create).by(ADMIN).json(body).await.blames(field);
        }
        let twin = row(&lab, catalogue).await;
        lab.post(&create).by(ADMIN).json(twin.clone()).await.expect(201);
        lab.post(&create).by(ADMIN).json(twin).await.expect(400);
    }
    for (catalogue, field, wrong) in [
        ("domains", "name", json!("abc")),
        ("domains", "name", json!("a")),
        ("docker", "cuda_version", json!(999_999)),
        ("docker", "tasks", json!(["NoSuchContract"])),
        ("docker", "cpu", json!("yes")),
        ("hardware", "min_compute_capability", json!("7")),
        ("hardware", "max_compute_capability", json!(1.0)),
    ] {
        let mut body = row(&lab, catalogue).await;
        body[field] = wrong.clone();
        let reply = lab.post(&format!("/v1/{catalogue}/create")).by(ADMIN).json(body).await;
        assert_eq!(reply.status, 400, "{catalogue} with {field} = {wrong}: {reply}");
    }
}

#[tokio::test]
async fn licences_have_two_spellings() {
    let lab = Lab::shared().await;
    let made = lab.post("/v1/licenses/create").by(ADMIN).json(row(&lab, "licences").await).await.expect(201);
    for spelling in ["licences", "licenses"] {
        assert_eq!(lab.get(&format!("/v1/{spelling}/{}", made.pk())).await.expect(200).json(), made.json());
    }
}

#[tokio::test]
async fn hardware_is_seeded_and_found_by_compute_capability() {
    let lab = Lab::start();
    let rows = lab.post("/v1/hardware/list").await.expect(200).json();
    let names: Vec<&str> =
        rows.as_array().expect("a list").iter().filter_map(|row| row["generation"].as_str()).collect();
    assert_eq!(names, ["Fermi", "Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Ampere", "Hopper"]);
    for (compute, name) in [
        ("2.0", "Fermi"),
        ("2.99", "Fermi"),
        ("3", "Kepler"),
        ("5.2", "Maxwell"),
        ("6.1", "Pascal"),
        ("7.0", "Volta"),
        ("7.5", "Turing"),
        ("8.9", "Ampere"),
        ("9.99", "Hopper"),
    ] {
        let found = lab.get(&format!("/v1/hardware/get-hardware-generation/{compute}")).await.expect(200).json();
        assert_eq!(found["generation"], name, "{compute}");
    }
    for outside in ["1.9", "10.0", "-1", "abc", "NaN", "inf", "1e999", "%20"] {
        lab.get(&format!("/v1/hardware/get-hardware-generation/{outside}")).await.expect(400);
    }
}

#[tokio::test]
async fn job_types_and_contracts_are_seeded() {
    let lab = Lab::start();
    for (catalogue, count) in [("job-types", 27), ("job-contracts", 3)] {
        let rows = lab.post(&format!("/v1/{catalogue}/list")).await.expect(200);
        assert_eq!(rows.pks().len(), count, "{catalogue}");
        for row in rows.json().as_array().expect("a list") {
            let mut keys: Vec<&String> = row.as_object().expect("an object").keys().collect();
            keys.sort();
            assert_eq!(keys, ["cls", "name", "pk", "pkg"]);
        }
    }
    let values = lab.get("/v1/job-types/get-all-values/Hardware").await.expect(200).json();
    assert_eq!(values.as_array().map(Vec::len), Some(8), "{values}");
    for bad in ["str", "Array%3Cint%3E", "Nonsense%3C", "NoSuchType"] {
        lab.get(&format!("/v1/job-types/get-all-values/{bad}")).await.expect(400);
    }
}

#[tokio::test]
async fn a_row_that_something_refers_to_stays() {
    let lab = Lab::shared().await;
    let node = json!({"ip": lab.unique("n"), "index": 0, "cpu_mem": 1, "hardware_generation": 2});
    lab.post("/v1/nodes/create").json(node).await.expect(201);
    lab.delete("/v1/hardware/2").by(ADMIN).await.refuses(406, "in_use");
    let licence = lab.post("/v1/licences/create").by(ADMIN).json(row(&lab, "licences").await).await.expect(201);
    let mut text = document(&lab.unique("licensed"));
    text["licence"] = licence.json()["name"].clone();
    let template = lab.import(text).await.expect(200).pk();
    let path = format!("/v1/licences/{}", licence.pk());
    lab.delete(&path).by(ADMIN).await.refuses(406, "in_use");
    lab.delete(&format!("/v1/job-templates/{template}/hard")).by(ADMIN).await.expect(200);
    lab.delete(&path).by(ADMIN).await.expect(204);
}

#[tokio::test]
async fn a_contract_that_a_template_names_stays() {
    // Its own, since other tests count the templates of the shared one, and this one deletes some for good.
    let lab = Lab::start();
    let contract = async || {
        let body = json!({"name": lab.unique("Polish").replace('-', ""), "pkg": "p", "cls": "p.Polish"});
        lab.post("/v1/job-contracts/create").by(ADMIN).json(body).await.expect(201)
    };
    for arguments in ["", "<Domain, Framework>"] {
        let made = contract().await;
        let name = made.json()["name"].as_str().expect("a name").to_owned();
        let mut text = document(&lab.unique("polishing"));
        text["specific"]["job_type"] = format!("{name}{arguments}").into();
        let template = lab.import(text).await.expect(200).pk();
        let path = format!("/v1/job-contracts/{}", made.pk());
        lab.delete(&path).by(ADMIN).await.refuses(406, "in_use");
        // A deleted template may come back.
        lab.delete(&format!("/v1/job-templates/{template}")).by(ADMIN).await.expect(204);
        lab.delete(&path).by(ADMIN).await.refuses(406, "in_use");
        lab.delete(&format!("/v1/job-templates/{template}/hard")).by(ADMIN).await.expect(200);
        lab.delete(&path).by(ADMIN).await.expect(204);
    }
    // One whose name begins like that of another is not meant.
    let made = contract().await;
    let mut text = document(&lab.unique("polishing"));
    text["specific"]["job_type"] = format!("{}er", made.json()["name"].as_str().expect("a name")).into();
    lab.import(text).await.expect(200);
    lab.delete(&format!("/v1/job-contracts/{}", made.pk())).by(ADMIN).await.expect(204);
}

#[tokio::test]
async fn the_registrys_login_is_shown_to_staff_and_nodes_only() {
    let lab = Lab::shared().await;
    let body = row(&lab, "docker").await;
    let pk = lab.post("/v1/docker/create").by(ADMIN).json(body).await.expect(201).pk();
    let (path, node) = (format!("/v1/docker/{pk}"), lab.node(USER).await);
    let spec = json!({"expressions": [{"type": "exact", "field": "pk", "value": pk}]});
    let secrets = |image: &Value| (image["registry_username"].clone(), image["registry_password"].clone());
    let shown = (json!("reader"), json!("secret"));
    assert_eq!(secrets(&lab.get(&path).by(ADMIN).await.expect(200).json()), shown);
    assert_eq!(secrets(&lab.get(&path).node(node).await.expect(200).json()), shown);
    assert_eq!(secrets(&lab.post("/v1/docker/list").node(node).json(spec.clone()).await.expect(200).json()[0]), shown);
    for image in [
        lab.get(&path).await.expect(200).json(),
        lab.post("/v1/docker/list").json(spec.clone()).await.expect(200).json()[0].clone(),
    ] {
        assert!(!image.to_string().contains("secret") && !image.to_string().contains("reader"), "{image}");
        assert!(image["cuda_version"].is_object() && image["framework"].is_object(), "{image}");
    }
    // Nor can they be guessed at by a filter.
    let guess = json!({"expressions": [{"type": "contains", "field": "registry_password", "sub_string": "s"}]});
    let reply = lab.post("/v1/docker/list").json(guess).await;
    assert!(reply.status == 400 || reply.pks().is_empty(), "{reply}");
}
