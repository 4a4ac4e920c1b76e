//! A small random world for the tests: the same rows in a database and as JSON.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::Value as Stored;
use serde_json::{Map, Value, json};

/// One row: column to value.
pub(super) type Row = Map<String, Value>;

/// Texts that differ by case, by folding alone, or that a pattern language would trip over.
pub(super) const TEXTS: [&str; 14] = [
    "",
    "Alpha",
    "alpha",
    "ALPHA one",
    "Straße",
    "STRASSE",
    "ΣΊΣΥΦΟΣ",
    "σίσυφος",
    "100% _x_ \\ '\"",
    "A%a",
    "試料",
    "b",
    long(&LONG_Z),
    long(&LONG_B),
];
/// Texts that are longer than a cursor takes, and that differ behind that alone.
const LONG_Z: [u8; 501] = ending_in(b'z');
const LONG_B: [u8; 501] = ending_in(b'b');

const fn ending_in(last: u8) -> [u8; 501] {
    let mut text = [b'l'; 501];
    text[500] = last;
    text
}

const fn long(text: &'static [u8]) -> &'static str {
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(_) => panic!("these are ASCII"),
    }
}
/// Times with ties.
pub(super) const TIMES: [i64; 4] = [-5_000_000, 1_577_836_800_000_000, 1_577_836_800_000_001, 1_700_000_000_000_000];
/// Numbers in [0, 1] with ties.
pub(super) const PARTS: [f64; 4] = [0.0, 0.1, 0.5, 1.0];

/// The rows of all tables, and a database that holds the same.
pub(super) struct World {
    pub(super) db: Connection,
    pub(super) tables: BTreeMap<&'static str, Vec<Row>>,
}

/// A small generator of numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }

    fn one_of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }

    fn text(&mut self) -> &'static str {
        self.one_of(&TEXTS)
    }

    fn time(&mut self) -> i64 {
        self.one_of(&TIMES)
    }

    fn maybe(&mut self, value: impl Into<Value>) -> Value {
        if self.chance() { value.into() } else { Value::Null }
    }

    /// A key of one of the first `count` rows of a table.
    fn key(&mut self, count: usize) -> i64 {
        i64::try_from(self.below(count)).unwrap() + 1
    }

    fn maybe_key(&mut self, count: usize) -> Value {
        let key = self.key(count);
        self.maybe(key)
    }

    fn maybe_time(&mut self) -> Value {
        let time = self.time();
        self.maybe(time)
    }

    fn maybe_text(&mut self) -> Value {
        let text = self.text();
        self.maybe(text)
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../../../schema.sql")).unwrap();
        // Nodes and jobs refer to each other; the rows are made so that the references hold in the end.
        db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        super::register(&db).unwrap();
        let mut world = Self { db, tables: BTreeMap::new() };
        let mut dice = Dice(seed);
        world.fill_catalogue(&mut dice);
        world.fill_templates_and_nodes(&mut dice);
        for pk in 1..=14 {
            let row = job(pk, &mut dice, &world);
            world.add("jobs", row);
        }
        for pk in 1..=16 {
            let output = json!({
                "pk": pk, "job": dice.key(14), "name": dice.one_of(&["log", "LOG", "spectrum"]), "type": dice.one_of(&["str", "JSON"]),
                "size": dice.below(3), "sha256": "a".repeat(64), "creator": dice.key(3), "creation_time": dice.time(),
                "deletion_time": dice.maybe_time(),
            });
            world.add("job_outputs", output);
        }
        let broken: i64 =
            world.db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0)).unwrap();
        assert_eq!(broken, 0, "references hold");
        world
    }

    fn fill_catalogue(&mut self, dice: &mut Dice) {
        for pk in 1..=3 {
            let user = json!({
                "pk": pk, "username": format!("{}{pk}", dice.text()), "password_hash": "secret", "first_name": dice.text(),
                "last_name": dice.text(), "email": dice.text(), "is_active": dice.below(2), "is_staff": dice.below(2),
                "is_superuser": 0, "date_joined": dice.time(), "last_login": dice.maybe_time(),
            });
            self.add("users", user);
            let (low, high) = (f64::from(pk), f64::from(pk) + 0.5);
            let generation = json!({
                "pk": pk, "generation": format!("{}{pk}", dice.text()), "min_compute_capability": low,
                "max_compute_capability": high,
            });
            self.add("hardware_generations", generation);
            self.add(
                "job_contracts",
                json!({"pk": pk, "name": format!("C{pk}"), "pkg": dice.text(), "cls": dice.text()}),
            );
            self.add("domains", json!({"pk": pk, "name": format!("d{pk}"), "description": dice.text()}));
            self.add("licences", json!({"pk": pk, "name": format!("{}{pk}", dice.text()), "url": dice.text()}));
            self.add("frameworks", json!({"pk": pk, "name": dice.text(), "version": pk.to_string()}));
            let cuda = json!({
                "pk": pk, "version": pk.to_string(), "full_version": dice.text(), "min_driver_version": dice.text(),
            });
            self.add("cuda_versions", cuda);
        }
        for pk in 1..=5 {
            let image = json!({
                "pk": pk, "name": dice.text(), "version": pk.to_string(), "url": dice.text(), "registry_url": dice.text(),
                "registry_username": "secret", "registry_password": "secret", "cuda_version": dice.key(3),
                "framework": dice.key(3), "domain": dice.key(3), "licence": dice.key(3),
                "min_hardware_generation": dice.maybe_key(3), "cpu": dice.below(2),
            });
            self.add("docker_images", image);
            self.add("docker_tasks", json!({"docker_image": dice.key(5), "contract": dice.key(3)}));
        }
    }

    fn fill_templates_and_nodes(&mut self, dice: &mut Dice) {
        for pk in 1..=5 {
            let works = dice.below(3) > 0;
            let text = |text: &str| if works { json!(text) } else { Value::Null };
            let template = json!({
                "pk": pk, "name": dice.text(), "version": pk, "description": dice.text(), "scope": dice.text(),
                "domain": dice.maybe_key(3), "licence": dice.key(3), "kind": if works { "workable" } else { "meta" },
                "type": text(dice.text()), "executor_class": text(dice.text()), "required_packages": text(""),
                "body": text("b"), "specific": "{}", "creator": dice.key(3), "creation_time": dice.time(),
                "deletion_time": dice.maybe_time(),
            });
            self.add("job_templates", template);
        }
        for pk in 1..=4 {
            let node = json!({
                "pk": pk, "ip": dice.one_of(&["lab-1", "LAB-1", "10.0.0.1"]), "index": pk, "driver_version": dice.maybe_text(),
                "hardware_generation": dice.maybe_key(3), "gpu_mem": dice.maybe(i64::MAX), "cpu_mem": dice.below(2),
                "last_seen": dice.maybe_time(), "current_job": dice.maybe_key(14), "creator": dice.key(3),
            });
            self.add("nodes", node);
        }
    }

    /// Adds a row to the database, and to the tables if the schema took it.
    fn add(&mut self, table: &'static str, row: Value) {
        let Value::Object(row) = row else { panic!("a row is an object") };
        let columns: Vec<String> = row.keys().map(|name| format!("\"{name}\"")).collect();
        let marks = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT OR IGNORE INTO {table} ({}) VALUES ({marks})", columns.join(", "));
        let values = row.values().map(|value| match value {
            Value::Null => Stored::Null,
            Value::String(text) => Stored::Text(text.clone()),
            number => number.as_i64().map_or_else(|| Stored::Real(number.as_f64().unwrap()), Stored::Integer),
        });
        let added = self.db.execute(&sql, rusqlite::params_from_iter(values)).unwrap();
        assert!(added == 1 || ["job_outputs", "docker_tasks"].contains(&table), "{table} took {row:?}");
        if added == 1 {
            self.tables.entry(table).or_default().push(row);
        }
    }
}

/// A job in a random phase that the schema's CHECKs allow.
fn job(pk: usize, dice: &mut Dice, world: &World) -> Value {
    let template = dice.key(5);
    let kind = world.tables["job_templates"][usize::try_from(template).unwrap() - 1]["kind"].clone();
    let phase = dice.one_of(&["created", "created", "started", "finished", "errored", "cancelled"]);
    let (started, ended) = (json!(dice.time()), json!(dice.time()));
    let start_time = match phase {
        "created" => Value::Null,
        "cancelled" => dice.maybe(started),
        _ => started,
    };
    let error_reason = match phase {
        "errored" => json!(dice.text()),
        "cancelled" => json!("Cancelled"),
        _ => Value::Null,
    };
    let progress = match phase {
        "created" => 0.0,
        "finished" => 1.0,
        _ => dice.one_of(&PARTS),
    };
    let node = match (kind.as_str(), phase) {
        (Some("meta"), _) => Value::Null,
        (_, "started") => json!(dice.key(4)),
        _ => dice.maybe_key(4),
    };
    let parent = if pk > 1 { dice.maybe_key(pk - 1) } else { Value::Null };
    json!({
        "pk": pk, "template": template, "kind": kind, "child_name": if parent.is_null() { Value::Null } else { json!(format!("x{pk}")) },
        "parent": parent, "phase": phase, "node": node, "start_time": start_time,
        "end_time": if ["created", "started"].contains(&phase) { Value::Null } else { ended },
        "error_reason": error_reason, "progress_amount": progress, "input_values": "{}", "parameter_values": "{}",
        "description": dice.text(), "creator": dice.key(3), "creation_time": dice.time(), "deletion_time": dice.maybe_time(),
    })
}
