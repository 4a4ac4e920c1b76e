use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::domain::time::SystemClock;

fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("labrun.db"), Arc::new(SystemClock)).unwrap()
}

fn catalogue(spelling: &str) -> &'static Catalogue {
    CATALOGUES.iter().find(|catalogue| catalogue.spellings.contains(&spelling)).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn make(store: &Store, spelling: &str, body: Value) -> i64 {
    let row = store.create_catalogue_row(catalogue(spelling), object(body)).await.unwrap();
    row["pk"].as_i64().unwrap()
}

/// Gives the names of the fields that a body is refused for.
fn culprits<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<String> {
    match result {
        Err(Error::Invalid(problems)) => problems.names().map(str::to_owned).collect(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}

/// Makes a docker image with all that it refers to; gives its row.
async fn docker(store: &Store) -> Value {
    make(store, "cuda", json!({"version": "11.0", "full_version": "11.0.3", "min_driver_version": "450.36.06"})).await;
    make(store, "frameworks", json!({"name": "torch", "version": "2.1"})).await;
    make(store, "domains", json!({"name": "ic", "description": "Image Classification"})).await;
    make(store, "licenses", json!({"name": "MIT", "url": ""})).await;
    let body = json!({
        "name": "trainer", "version": "3", "url": "https://images.example/trainer", "registry_url": "",
        "registry_password": "open sesame", "cuda_version": 1, "framework": 1, "domain": "ic", "licence": "MIT",
        "tasks": ["Predict", "Train", "Predict"], "min_hardware_generation": 6,
    });
    store.create_catalogue_row(catalogue("docker"), object(body)).await.unwrap()
}

#[tokio::test]
async fn a_docker_image_is_shown_with_its_references_and_can_be_sent_back_as_it_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let row = docker(&store).await;
    let shown = json!({
        "pk": 1, "name": "trainer", "version": "3", "url": "https://images.example/trainer", "registry_url": "",
        "registry_username": null, "registry_password": "open sesame",
        "cuda_version": {"pk": 1, "version": "11.0", "full_version": "11.0.3", "min_driver_version": "450.36.06"},
        "framework": {"pk": 1, "name": "torch", "version": "2.1"}, "domain": "Image Classification",
        "tasks": ["Train", "Predict"],
        "min_hardware_generation":
            {"pk": 6, "generation": "Turing", "min_compute_capability": 7.5, "max_compute_capability": 8.0},
        "cpu": false, "licence": "MIT",
    });
    // Compared as text: the order of the fields is the contract's.
    assert_eq!(row.to_string(), shown.to_string());

    // A second domain of the same description leaves it clear which one the image means.
    make(&store, "domains", json!({"name": "i2", "description": "Image Classification"})).await;
    let same = store.update_catalogue_row(catalogue("docker"), 1, object(row.clone()), true).await.unwrap();
    assert_eq!(same, row);
    let mut other = object(row.clone());
    other.insert("name".to_owned(), "another".into());
    assert_eq!(culprits(store.create_catalogue_row(catalogue("docker"), other).await), ["domain"]);

    let patch = object(json!({"min_hardware_generation": null, "cpu": true, "tasks": [], "domain": 2}));
    let changed = store.update_catalogue_row(catalogue("docker"), 1, patch, false).await.unwrap();
    assert_eq!(changed["min_hardware_generation"], Value::Null);
    assert_eq!((&changed["cpu"], &changed["tasks"]), (&json!(true), &json!([])));
    assert_eq!(changed["registry_password"], "open sesame");
}

#[tokio::test]
async fn secrets_are_left_out_for_those_who_may_not_see_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    docker(&store).await;
    let secret = |show: bool| {
        let row = store.catalogue_row(catalogue("docker"), 1, show).unwrap().unwrap();
        row.get("registry_password").cloned()
    };
    assert_eq!((secret(true), secret(false)), (Some("open sesame".into()), None));
    let selection = listing(catalogue("docker"), false).parse(&json!({"limit": 5})).unwrap();
    let page = store.page(&selection, 5).await.unwrap();
    assert!(page.rows.len() == 1 && page.rows[0].get("registry_password").is_none(), "{:?}", page.rows);
}

#[tokio::test]
async fn what_is_referred_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    docker(&store).await;
    for (spelling, pk) in
        [("cuda", 1), ("frameworks", 1), ("domains", 1), ("licences", 1), ("hardware", 6), ("job-contracts", 1)]
    {
        let refused = store.destroy_catalogue_row(catalogue(spelling), pk).await;
        assert!(matches!(refused, Err(Error::NotNow { code: "in_use", .. })), "{spelling}: {refused:?}");
        assert!(store.catalogue_row_exists(catalogue(spelling), pk).unwrap());
    }
    store.destroy_catalogue_row(catalogue("docker"), 1).await.unwrap();
    store.destroy_catalogue_row(catalogue("job-contracts"), 1).await.unwrap();
    assert!(matches!(store.destroy_catalogue_row(catalogue("docker"), 1).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn a_docker_image_is_taken_as_clients_of_the_reference_write_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let row = docker(&store).await;
    let other_version = json!({"version": "12.1", "full_version": "12.1.0", "min_driver_version": "530.30.02"});
    make(&store, "cuda", other_version).await;
    let change = async |body| store.update_catalogue_row(catalogue("docker"), 1, object(body), false).await.unwrap();
    let changed = change(json!({"cuda_version": "12.1", "min_hardware_generation": "Kepler"})).await;
    assert_eq!(changed["cuda_version"]["full_version"], "12.1.0");
    assert_eq!(changed["min_hardware_generation"]["generation"], "Kepler");
    let back = change(json!({"cuda_version": "11.0", "min_hardware_generation": "Turing"})).await;
    assert_eq!(back, row);
}

#[tokio::test]
async fn bad_bodies_name_their_fields_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let row = docker(&store).await;
    let create = |spelling, body| store.create_catalogue_row(catalogue(spelling), object(body));
    let change = |spelling, pk, body| store.update_catalogue_row(catalogue(spelling), pk, object(body), false);

    assert_eq!(culprits(create("domains", json!({"name": "xyz", "nam": 1})).await), ["description", "nam", "name"]);
    assert_eq!(culprits(create("frameworks", json!({"name": "torch", "version": "2.1"})).await), ["name", "version"]);
    let narrow = json!({"generation": "G", "min_compute_capability": 9, "max_compute_capability": 9.0});
    assert_eq!(culprits(create("hardware", narrow).await), ["max_compute_capability"]);
    assert_eq!(culprits(change("hardware", 1, json!({"min_compute_capability": 3})).await), ["max_compute_capability"]);
    for (field, value) in [
        ("cuda_version", json!("99.0")),
        ("framework", json!("pytorch")),
        ("min_hardware_generation", json!("Faraday")),
        ("cuda_version", json!({"version": "11.0"})),
        ("cuda_version", json!(null)),
        ("framework", json!(99)),
        ("framework", json!({"pk": 1.5})),
        ("domain", json!("nowhere")),
        ("licence", json!(["MIT"])),
        ("min_hardware_generation", json!(-1)),
        ("cpu", json!(1)),
        ("tasks", json!("Train")),
        ("tasks", json!(["Train", "Trian"])),
        ("tasks", json!([null])),
        ("tasks", json!([99])),
        ("registry_username", json!(5)),
        ("url", json!(null)),
    ] {
        assert_eq!(culprits(change("docker", 1, json!({field: value.clone()})).await), [field], "{value}");
    }
    assert_eq!(store.catalogue_row(catalogue("docker"), 1, true).unwrap(), Some(row));
}

#[tokio::test]
async fn hardware_is_found_by_its_lower_bound_and_not_by_its_upper() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let found =
        |compute| store.hardware_for(compute).unwrap().map(|row| row["generation"].as_str().unwrap().to_owned());
    for (compute, name) in
        [(2.0, "Fermi"), (2.999, "Fermi"), (3.0, "Kepler"), (7.4, "Volta"), (7.5, "Turing"), (9.99, "Hopper")]
    {
        assert_eq!(found(compute).as_deref(), Some(name), "{compute}");
    }
    for compute in [-1.0, 1.999, 10.0, f64::MAX, f64::INFINITY, f64::NAN] {
        assert_eq!(found(compute), None, "{compute}");
    }
}
