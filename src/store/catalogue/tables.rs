//! What each catalogue's rows are made of (contract §4).

use serde_json::{Map, Value};

use super::{Catalogue, Field, Kind, Shown};
use crate::domain::fields::Problems;
use crate::store::filter;

/// Characters of names and versions.
const NAME_CHARS_MAX: usize = 200;
/// Characters of addresses.
const URL_CHARS_MAX: usize = 2_000;

/// Every catalogue.
pub static CATALOGUES: [&Catalogue; 8] =
    [&HARDWARE, &CUDA, &DOCKER, &JOB_TYPES, &JOB_CONTRACTS, &DOMAINS, &LICENCES, &FRAMEWORKS];

/// Hardware generations of GPUs.
pub static HARDWARE: Catalogue = Catalogue {
    spellings: &["hardware"],
    noun: "a hardware generation",
    resource: &filter::HARDWARE,
    fields: &[name("generation"), number("min_compute_capability"), number("max_compute_capability")],
    unique: &["generation"],
    check: bounds_in_order,
    named_by: None,
};

static CUDA: Catalogue = Catalogue {
    spellings: &["cuda"],
    noun: "a CUDA version",
    resource: &filter::CUDA,
    fields: &[name("version"), name("full_version"), name("min_driver_version")],
    unique: &["version"],
    check: anything,
    named_by: None,
};

static DOCKER: Catalogue = Catalogue {
    spellings: &["docker"],
    noun: "a docker image",
    resource: &filter::DOCKER,
    fields: &[
        name("name"),
        name("version"),
        text("url", 1, URL_CHARS_MAX),
        // Empty for the registry that docker asks by itself.
        text("registry_url", 0, URL_CHARS_MAX),
        secret("registry_username"),
        secret("registry_password"),
        reference("cuda_version", &CUDA, Shown::Whole { named_by: Some("version") }),
        reference("framework", &FRAMEWORKS, Shown::Whole { named_by: None }),
        reference("domain", &DOMAINS, Shown::Text { column: "description", also: &["name"] }),
        Field { name: "tasks", kind: Kind::Tasks, required: false, nullable: false },
        Field {
            required: false,
            nullable: true,
            ..reference("min_hardware_generation", &HARDWARE, Shown::Whole { named_by: Some("generation") })
        },
        Field { name: "cpu", kind: Kind::Flag, required: false, nullable: false },
        reference("licence", &LICENCES, Shown::Text { column: "name", also: &[] }),
    ],
    unique: &["name", "version"],
    check: anything,
    named_by: None,
};

static JOB_TYPES: Catalogue = Catalogue {
    spellings: &["job-types"],
    noun: "a job type",
    resource: &filter::JOB_TYPES,
    fields: CLASS_FIELDS,
    unique: &["name"],
    check: anything,
    named_by: None,
};

static JOB_CONTRACTS: Catalogue = Catalogue {
    spellings: &["job-contracts"],
    noun: "a job contract",
    resource: &filter::JOB_CONTRACTS,
    fields: CLASS_FIELDS,
    unique: &["name"],
    check: anything,
    // Type strings are canonical: the name, and its arguments in angle brackets if it has any. Deleted templates count:
    // they may be reinstated.
    named_by: Some(
        "SELECT EXISTS (SELECT 1 FROM job_contracts AS c JOIN job_templates AS t
             ON t.type = c.name OR substr(t.type, 1, length(c.name) + 1) = c.name || '<'
         WHERE c.pk = ?1)",
    ),
};

static DOMAINS: Catalogue = Catalogue {
    spellings: &["domains"],
    noun: "a domain",
    resource: &filter::DOMAINS,
    fields: &[text("name", 2, 2), name("description")],
    unique: &["name"],
    check: anything,
    named_by: None,
};

static LICENCES: Catalogue = Catalogue {
    spellings: &["licences", "licenses"],
    noun: "a licence",
    resource: &filter::LICENCES,
    // An import makes licences that it knows the name of, and no address.
    fields: &[name("name"), text("url", 0, URL_CHARS_MAX)],
    unique: &["name"],
    check: anything,
    named_by: None,
};

static FRAMEWORKS: Catalogue = Catalogue {
    spellings: &["frameworks"],
    noun: "a framework",
    resource: &filter::FRAMEWORKS,
    fields: &[name("name"), name("version")],
    unique: &["name", "version"],
    check: anything,
    named_by: None,
};

/// The fields of job types and of job contracts: what a worker loads.
const CLASS_FIELDS: &[Field] = &[name("name"), name("pkg"), name("cls")];

const fn text(name: &'static str, chars_min: usize, chars_max: usize) -> Field {
    Field { name, kind: Kind::Text { chars_min, chars_max }, required: true, nullable: false }
}

const fn name(name: &'static str) -> Field {
    text(name, 1, NAME_CHARS_MAX)
}

const fn number(name: &'static str) -> Field {
    Field { name, kind: Kind::Number, required: true, nullable: false }
}

const fn secret(name: &'static str) -> Field {
    Field { name, kind: Kind::Secret { chars_max: URL_CHARS_MAX }, required: false, nullable: true }
}

const fn reference(name: &'static str, to: &'static Catalogue, shown: Shown) -> Field {
    Field { name, kind: Kind::Reference { to, shown }, required: true, nullable: false }
}

fn anything(_: &Map<String, Value>) -> Result<(), Problems> {
    Ok(())
}

/// Refuses a generation that spans nothing.
fn bounds_in_order(row: &Map<String, Value>) -> Result<(), Problems> {
    let bound = |name| row.get(name).and_then(Value::as_f64);
    if bound("min_compute_capability") < bound("max_compute_capability") {
        return Ok(());
    }
    Err(Problems::one("max_compute_capability", "Must be greater than min_compute_capability."))
}
