//! Tests over whole documents.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::*;
use crate::domain::fields::Problems;

const RUN: &str = include_str!("../../../tests/data/templates/shaker_run.json");
const FIT: &str = include_str!("../../../tests/data/templates/decay_fit.json");
const TRAIN: &str = include_str!("../../../tests/data/templates/colony_train.json");
const PIPELINE: &str = include_str!("../../../tests/data/templates/decay_pipeline.json");

fn import_value(document: &Value) -> Result<Template, Problems> {
    import(document.as_object().unwrap())
}

fn read(text: &str) -> Template {
    import_value(&serde_json::from_str(text).unwrap()).unwrap()
}

/// Looks templates up in a list; without a version, the highest.
fn look(list: &[Template], name: &str, version: Option<i64>) -> Option<Template> {
    let named = list.iter().filter(|template| template.name == name);
    let fitting = named.filter(|template| version.is_none() || template.version == version);
    fitting.max_by_key(|template| template.version).cloned()
}

/// Says what is wrong with a meta-template beside these.
fn checked(template: &Template, list: &[Template]) -> Result<(), Problems> {
    check_meta(template, &mut |name, version| look(list, name, version))
}

fn interface_of(template: &Template, list: &[Template]) -> Interface {
    interface(template, &mut |name, version| look(list, name, version)).unwrap()
}

/// Makes sure that a template comes back the same from its document and from its stored form.
fn comes_back(template: &Template) {
    let document = export(template);
    assert_eq!(import_value(&document).as_ref(), Ok(template), "{document}");
    let stored = serde_json::to_string(&template.specific).unwrap();
    assert_eq!(serde_json::from_str::<Specific>(&stored).unwrap(), template.specific, "{stored}");
}

#[test]
fn own_documents_come_back_the_same() {
    for text in [RUN, FIT, TRAIN, PIPELINE] {
        comes_back(&read(text));
    }
    // The earlier dialect goes out as it came in, save for what is written in canonical form.
    let mut document: Value = serde_json::from_str(FIT).unwrap();
    document["specific"]["inputs"][0]["types"][0] = json!("JobOutput<Array<float>>");
    document["specific"]["parameters"][5].as_object_mut().unwrap().remove("default");
    assert_eq!(export(&read(FIT)), document);
    assert_eq!(export(&read(PIPELINE)), serde_json::from_str::<Value>(PIPELINE).unwrap());
}

/// Reads the documents of a folder, makes sure that they come back, and counts them.
fn imports_all_of(folder: &Path) -> usize {
    let paths = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all = Vec::new();
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let document: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let template =
            import_value(&document).unwrap_or_else(|wrong| panic!("{}: {}", path.display(), wrong.sentence()));
        comes_back(&template);
        all.push(template);
    }
    for template in &all {
        assert_eq!(checked(template, &all), Ok(()), "{}", template.name);
        interface_of(template, &all);
    }
    all.len()
}

#[test]
fn documents_of_the_field_are_imported_where_they_are_at_hand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/templates");
    let counts = [".", "ufdl/earlier", "ufdl/today"].map(|within| imports_all_of(&folder.join(within)));
    assert!(counts == [4, 14, 39] || !folder.exists(), "{counts:?} documents");
}

#[test]
fn an_earlier_document_keeps_what_it_has() {
    let template = read(FIT);
    let fit = template.workable().unwrap();
    assert_eq!(
        fit.inputs_json(),
        json!({"trace": {"types": ["JobOutput<Array<float>>", "JobOutput<JSON>"], "help": "What to fit", "options": "--skip 1"}})
    );
    assert_eq!(fit.outputs_json(), json!({"fit": {"type": "JSON", "help": "Coefficients"}}));
    let parameters = fit.parameters_json();
    for (name, default, default_type) in [
        ("terms", json!(2), "int"),
        ("loss", json!("huber"), "str"),
        ("cutoff", json!(-1), "float"),
        ("verbose", json!(false), "bool"),
        ("image", json!(""), "pk<docker_image>"),
    ] {
        assert_eq!(parameters[name]["default"], default, "{name}");
        assert_eq!(parameters[name]["default_type"], default_type, "{name}");
        assert_eq!(parameters[name]["const"], false, "{name}");
    }
    assert_eq!(parameters["seed"], json!({"types": ["int"], "help": "Has no default, since the text is empty"}));
    let order: Vec<_> = fit.parameters.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, ["terms", "loss", "cutoff", "verbose", "image", "seed"]);
}

#[test]
fn a_default_takes_the_first_type_that_it_fits() {
    let template = read(RUN);
    let parameters = template.workable().unwrap().parameters_json();
    assert_eq!(parameters["wells"]["default_type"], "Array<str>");
    assert_eq!(parameters["gate"]["default_type"], "Nothing");
    assert_eq!(parameters["gate"]["default"], Value::Null);
    assert!(parameters["gate"].as_object().unwrap().contains_key("default"));
    assert_eq!(parameters["unit"]["const"], true);
    assert_eq!(parameters["speed_rpm"], json!({"types": ["int", "float"], "help": "Turns per minute"}));
}

/// Makes a document with members put in (or, if null, taken out), in `specific` where the name begins with `s.`.
fn changed(changes: &Value) -> Value {
    let mut document = json!({"name": "assay", "version": 1, "scope": "public", "licence": "MIT", "specific": {
        "job_type": "Export", "executor_class": "lab.Assay", "required_packages": "", "parameters": {}}});
    for (name, value) in changes.as_object().unwrap() {
        let (place, name) = match name.strip_prefix("s.") {
            Some(inner) => (document["specific"].as_object_mut().unwrap(), inner),
            None => (document.as_object_mut().unwrap(), name.as_str()),
        };
        if value.is_null() {
            place.remove(name);
        } else {
            place.insert(name.to_owned(), value.clone());
        }
    }
    document
}

#[test]
fn bad_documents_are_refused_naming_the_culprit() {
    let parameter = |more: Value| {
        let mut parameter = json!({"types": ["int"], "help": ""});
        parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"s.parameters": {"dilution": parameter}})
    };
    assert!(import_value(&changed(&json!({}))).is_ok());
    for (changes, word) in [
        (json!({"name": null}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": 5}), "name"),
        (json!({"version": 0}), "version"),
        (json!({"version": 1.5}), "version"),
        (json!({"version": "1"}), "version"),
        (json!({"scope": null}), "scope"),
        (json!({"licence": null}), "licence"),
        (json!({"specific": null}), "specific"),
        (json!({"specific": {}}), "specific.job_type"),
        (json!({"specific": 5}), "specific"),
        (json!({"colour": "red"}), "colour"),
        (json!({"s.colour": "red"}), "specific.colour"),
        (json!({"domain": "abc"}), "domain"),
        (json!({"s.parameters": 5}), "specific.parameters"),
        (json!({"s.executor_class": 5}), "executor_class"),
        (json!({"s.executor_class": null}), "executor_class"),
        (json!({"s.job_type": "Train<"}), "Train<"),
        (json!({"s.job_type": "Train<int, str>"}), "Train<int, str>"),
        (parameter(json!({"colour": 1})), "dilution.colour"),
        (parameter(json!({"types": []})), "dilution.types"),
        (parameter(json!({"types": ["Array<"]})), "Array<"),
        (parameter(json!({"types": [5]})), "dilution.types"),
        (parameter(json!({"default": "x"})), "dilution.default"),
        (parameter(json!({"const": true})), "dilution.const"),
        (parameter(json!({"default_type": "int"})), "dilution.default_type"),
        (parameter(json!({"default": "x", "default_type": "str"})), "dilution.default_type"),
        (parameter(json!({"default": "x", "default_type": "int"})), "dilution.default"),
        (json!({"s.parameters": {"": {"types": ["int"], "help": ""}}}), "specific.parameters"),
        (json!({"s.parameters": [{"name": "p", "type": "int", "default": "x", "help": ""}]}), "parameters.p.default"),
        (json!({"s.parameters": [{"name": "p", "type": "int"}, {"name": "p", "type": "int"}]}), "two of the name"),
        (json!({"s.parameters": [{"type": "int"}]}), "parameters.0.name"),
        (json!({"s.parameters": [5]}), "parameters.0"),
        (json!({"s.inputs": [{"name": "i", "types": ["Nope"], "options": "", "help": ""}]}), "Nope"),
        (json!({"s.inputs": [{"name": "i", "types": ["int"], "unit": ""}]}), "inputs.i.unit"),
        (json!({"s.outputs": [{"name": "o", "help": ""}]}), "outputs.o.type"),
        (json!({"s.outputs": {"o": {"type": "int"}}}), "specific.outputs"),
        (json!({"s.job_type": "Train", "s.outputs": [{"name": "model", "type": "JSON"}]}), "outputs.model"),
        (json!({"s.job_type": "Train", "s.inputs": [{"name": "dataset", "types": ["int"]}]}), "inputs.dataset"),
        (json!({"specific": {"nodes": {}, "dependencies": []}}), "nodes"),
        (json!({"specific": {"nodes": {"a:b": {"name": "x"}}}}), "nodes.a:b"),
        (json!({"specific": {"nodes": {"a": {"name": "x", "kind": 1}}}}), "nodes.a.kind"),
        (json!({"specific": {"nodes": {"a": {"name": "x"}}, "job_type": ""}}), "job_type"),
        (json!({"specific": {"nodes": {"a": {"name": "x"}}, "dependencies": [{}]}}), "dependencies.0.from_output"),
        (json!({"specific": {"dependencies": []}}), "nodes"),
    ] {
        let problems = import_value(&changed(&changes)).expect_err(&changes.to_string());
        assert!(problems.sentence().contains(word), "{changes}: {}", problems.sentence());
    }
}

#[test]
fn own_inputs_and_outputs_add_to_those_of_the_contract() {
    let document = changed(&json!({
        "s.job_type": "Train<Domain<'X'>,Framework<'a', '1'>>",
        "s.inputs": [{"name": "dataset", "types": ["PK<Dataset<Domain<'X'>>>"], "options": "to-csv", "help": "h"},
                     {"name": "mask", "types": ["int"], "options": "", "help": ""}],
        "s.outputs": [{"name": "log", "type": "JSON", "help": ""}]
    }));
    let template = import_value(&document).unwrap();
    comes_back(&template);
    let workable = template.workable().unwrap();
    assert_eq!(workable.type_, "Train<Domain<'X'>, Framework<'a', '1'>>");
    let inputs = workable.all_inputs();
    assert_eq!(inputs.len(), 2);
    assert_eq!(find(&inputs, "dataset").unwrap().options, "to-csv");
    assert_eq!(
        output_types(&interface_of(&template, &[])),
        json!({"model": "Model<Domain<'X'>, Framework<'a', '1'>>", "log": "JSON"})
    );
}

#[test]
fn an_unknown_contract_leaves_the_templates_own() {
    let changes = json!({"s.job_type": "Distil<'x'>", "s.outputs": [{"name": "still", "type": "JSON", "help": "h"}]});
    let template = import_value(&changed(&changes)).unwrap();
    assert_eq!(template.workable().unwrap().outputs_json(), json!({"still": {"type": "JSON", "help": "h"}}));
    assert_eq!(type_parameters(&template), json!({}));
}

#[test]
fn a_train_template_describes_itself() {
    let template = read(TRAIN);
    let interface = interface_of(&template, &[]);
    assert_eq!(
        type_parameters(&template),
        json!({"DomainType": "Domain<'Colony Images'>", "FrameworkType": "Framework<'counter', '3'>"})
    );
    assert_eq!(output_types(&interface), json!({"model": "Model<Domain<'Colony Images'>, Framework<'counter', '3'>>"}));
    let all = all_parameters(&interface);
    assert_eq!(
        all["epochs"],
        json!({"types": {"int": {"type": "integer"}, "str": {"type": "string"}}, "help": "Passes"})
    );
    assert_eq!(
        all["rate"]["default"],
        json!({"value": 0.5, "type": "float", "schema": {"type": "number"}, "const": false})
    );
    assert_eq!(all["mode"]["default"]["const"], true);
}

#[test]
fn queries_find_templates_by_contract_and_input() {
    let template = read(TRAIN);
    let matches = |contract: &str, inputs: &[(&str, &str)]| {
        let inputs: Vec<_> = inputs.iter().map(|(name, of)| ((*name).to_owned(), (*of).to_owned())).collect();
        Query::parse(contract, &inputs).map(|query| query.matches(&template))
    };
    assert_eq!(matches("Train", &[]), Ok(true));
    assert_eq!(matches("Train<Domain<'Colony Images'>, Framework>", &[]), Ok(true));
    assert_eq!(matches("Train<Domain<'Speech'>, Framework>", &[]), Ok(false));
    assert_eq!(matches("Predict", &[]), Ok(false));
    assert_eq!(matches("Train", &[("dataset", "PK<Dataset<Domain<'Colony Images'>>>")]), Ok(true));
    assert_eq!(matches("Train", &[("dataset", "PK<Dataset<Domain<'Speech'>>>")]), Ok(false));
    assert_eq!(matches("Train", &[("dataset", "int")]), Ok(false));
    for (contract, inputs) in [
        ("Nope", &[][..]),
        ("", &[]),
        ("Train<", &[]),
        ("Train", &[("nope", "int")]),
        ("Train", &[("dataset", "Array<")]),
    ] {
        assert!(matches(contract, inputs).is_err(), "{contract} {inputs:?}");
    }
    let meta = read(PIPELINE);
    assert!(!Query::parse("Train", &[]).unwrap().matches(&meta));
}

/// Makes a meta-template of `(node, template)` pairs and `a.out>b.in` edges.
fn flow(nodes: &[(&str, &str)], edges: &[&str]) -> Template {
    let nodes: Map<String, Value> =
        nodes.iter().map(|(node, name)| ((*node).to_owned(), json!({"name": name}))).collect();
    let edges = edges.iter().map(|edge| {
        let parts: Vec<_> = edge.split(['.', '>']).collect();
        json!({"from_node": parts[0], "from_output": parts[1], "to_node": parts[2], "to_input": parts[3]})
    });
    let specific = json!({"nodes": nodes, "dependencies": edges.collect::<Vec<_>>()});
    import_value(&changed(&json!({"name": "flow", "specific": specific}))).unwrap()
}

/// Makes a workable template without a contract.
fn stage(name: &str, inputs: &[(&str, &str)], outputs: &[(&str, &str)]) -> Template {
    let inputs: Vec<_> = inputs.iter().map(|(name, of)| json!({"name": name, "types": [of]})).collect();
    let outputs: Vec<_> = outputs.iter().map(|(name, of)| json!({"name": name, "type": of})).collect();
    let changes = json!({"name": name, "s.job_type": "", "s.inputs": inputs, "s.outputs": outputs});
    import_value(&changed(&changes)).unwrap()
}

#[test]
fn a_good_workflow_passes_and_shows_its_interface() {
    let list = [read(RUN), read(FIT)];
    let pipeline = read(PIPELINE);
    assert_eq!(checked(&pipeline, &list), Ok(()));
    let interface = interface_of(&pipeline, &list);
    assert!(interface.inputs.is_empty());
    assert_eq!(output_types(&interface), json!({"run:trace": "Array<float>", "fit:fit": "JSON", "refine:fit": "JSON"}));
    let parameters = all_parameters(&interface);
    assert_eq!(parameters["refine:terms"]["default"]["value"], 3);
    assert_eq!(parameters["refine:terms"]["default"]["const"], true);
    assert_eq!(parameters["fit:terms"]["default"]["value"], 2);
    assert_eq!(parameters["refine:seed"]["default"]["value"], 7);
    assert!(find(&interface.parameters, "run:speed_rpm").unwrap().default.is_none());
}

#[test]
fn bad_workflows_are_refused_naming_the_culprit() {
    let list = [
        stage("give", &[], &[("o", "JSON")]),
        stage("pass", &[("i", "JobOutput<JSON>"), ("j", "JobOutput<JSON>")], &[("o", "JSON")]),
        stage("mute", &[], &[]),
        stage("old", &[("i", "job_output<curve>")], &[("o", "curve")]),
        flow(&[("x", "flow")], &[]),
    ];
    let two = [("a", "pass"), ("b", "pass"), ("g", "give"), ("m", "mute"), ("old", "old"), ("older", "old")];
    for (edges, word) in [
        (vec!["g.o>a.i", "g.o>a.j", "a.o>b.i"], ""),
        (vec!["m.anything>a.i"], ""),
        (vec!["old.o>older.i"], ""),
        (vec!["a.o>b.i", "b.o>a.i"], "wait for each other"),
        (vec!["a.o>a.i"], "wait for each other: a."),
        (vec!["nobody.o>a.i"], "\"nobody\""),
        (vec!["g.o>nobody.i"], "\"nobody\""),
        (vec!["g.nothing>a.i"], "\"nothing\""),
        (vec!["g.o>a.nothing"], "\"nothing\""),
        (vec!["g.o>a.i", "b.o>a.i"], "fed twice"),
        (vec!["g.o>old.i"], "job_output<curve>"),
        (vec!["old.o>a.i"], "JobOutput<curve>"),
    ] {
        let result = checked(&flow(&two, &edges), &list);
        let sentence = result.map_err(|problems| problems.sentence()).err().unwrap_or_default();
        assert_eq!(sentence.is_empty(), word.is_empty(), "{edges:?}: {sentence}");
        assert!(sentence.contains(word), "{edges:?}: {sentence}");
    }
    let unknown = checked(&flow(&[("a", "none")], &[]), &list).unwrap_err();
    assert!(unknown.names().eq(["specific.nodes.a.name"]));
    let itself = checked(&flow(&[("a", "flow")], &[]), &list).unwrap_err();
    assert!(itself.sentence().contains("holds itself"), "{}", itself.sentence());
}

#[test]
fn versions_overrides_and_said_types_are_checked() {
    let list = [read(RUN), read(FIT)];
    for (path, value, word) in [
        ("/nodes/run/version", json!(77), "version 77"),
        ("/nodes/refine/parameter_default_overrides/terms/default", json!("x"), "terms.default"),
        ("/nodes/refine/parameter_default_overrides/seed/default_type", json!("str"), "seed.default_type"),
        ("/nodes/run/name", json!("decay_fit"), "nodes.run.version"),
        ("/dependencies/0/from_output/type", json!("Array<int>"), "not Array<int>"),
    ] {
        let mut document: Value = serde_json::from_str(PIPELINE).unwrap();
        *document["specific"].pointer_mut(path).unwrap() = value;
        let problems = checked(&import_value(&document).unwrap(), &list).expect_err(path);
        assert!(problems.sentence().contains(word), "{path}: {}", problems.sentence());
    }
}

#[test]
fn workflows_nest_and_hierarchies_are_bounded() {
    let inner =
        Template { name: "inner".to_owned(), ..flow(&[("x", "pass"), ("g", "give"), ("m", "mute")], &["g.o>x.i"]) };
    let pass = stage("pass", &[("i", "JobOutput<JSON>"), ("j", "JobOutput<JSON>")], &[("o", "JSON")]);
    let list = [pass, stage("give", &[], &[("o", "JSON")]), stage("mute", &[], &[]), inner];
    let nested = |edges: &[&str]| checked(&flow(&[("n", "inner"), ("p", "pass"), ("g", "give")], edges), &list);
    assert_eq!(nested(&["n.x:o>p.i", "n.m:any>p.j", "g.o>n.x:j"]), Ok(()));
    assert!(nested(&["n.x:other>p.i"]).is_err());
    assert!(nested(&["g.o>n.x:i"]).is_err(), "a sibling inside feeds it already");
    let top = flow(&[("n", "inner")], &[]);
    let inputs: Vec<_> = interface_of(&top, &list).inputs.into_iter().map(|(name, _)| name).collect();
    assert_eq!(inputs, ["n:x:j"]);

    // Each level holds the next ten times: far more jobs than any hierarchy may have.
    let names: Vec<String> = (0..=12).map(|level| format!("level-{level}")).collect();
    let nodes: Vec<String> = (0..10).map(|node| format!("n{node}")).collect();
    let wide: Vec<Template> = (0..12)
        .map(|level| {
            let nodes: Vec<_> = nodes.iter().map(|node| (node.as_str(), names[level + 1].as_str())).collect();
            Template { name: names[level].clone(), ..flow(&nodes, &[]) }
        })
        .chain([Template { name: names[12].clone(), ..read(RUN) }])
        .collect();
    assert!(checked(&wide[0], &wide).unwrap_err().sentence().contains("at most 1000 jobs"));
    // Two templates that hold each other, as after a reinstatement: the depth ends it.
    let round = [
        Template { name: "ping".to_owned(), ..flow(&[("x", "pong")], &[]) },
        Template { name: "pong".to_owned(), ..flow(&[("x", "ping")], &[]) },
    ];
    assert!(interface(&round[0], &mut |name, version| look(&round, name, version)).is_err());
}
