//! Which fields each resource can be listed by (contract §4, §9), and where they stand in the tables.
//!
//! What is not here can't be reached by any path: passwords, and the docker registries' credentials. Behind a
//! reference to a user only the name is to be seen, since the other fields are for staff alone.

use super::resource::{Field, Hint, Premise, Resource};
use crate::filter::Kind::{Bool, Float, Int, Json, Text, Time};

const PK: Field = Field::new("pk", Int, "$.pk");

/// A resource all of whose rows are active.
const fn plain(name: &'static str, table: &'static str, fields: &'static [Field]) -> Resource {
    Resource { name, table, active: "", fields, hints: &[] }
}

/// The jobs.
pub static JOBS: Resource = Resource {
    name: "jobs",
    table: "jobs",
    active: "$.deletion_time IS NULL",
    fields: &[
        PK,
        Field::reference("template", "$.template", &JOB_TEMPLATES),
        // A job is of its template's kind, and the index of the free jobs knows it from the job itself.
        Field::new("template.workabletemplate", Int, "CASE WHEN $.kind = 'workable' THEN $.template END")
            .present("$.kind = 'workable'"),
        Field::new("template.metatemplate", Int, "CASE WHEN $.kind = 'meta' THEN $.template END")
            .present("$.kind = 'meta'"),
        Field::reference("parent", "$.parent", &JOBS).nullable(),
        Field::new("start_time", Time, "$.start_time").nullable(),
        Field::new("end_time", Time, "$.end_time").nullable(),
        Field::new("error_reason", Text, "$.error_reason").nullable(),
        Field::new("input_values", Json, "$.input_values"),
        Field::new("parameter_values", Json, "$.parameter_values"),
        Field::reference("node", "$.node", &NODES).nullable(),
        Field::new("outputs", Int, "").leads_to_many(&LIVE_OUTPUTS, "job", "pk"),
        Field::new("description", Text, "$.description"),
        Field::new("is_cancelled", Bool, "($.phase = 'cancelled')"),
        Field::new("progress_amount", Float, "$.progress_amount"),
        Field::new("phase", Text, "$.phase"),
        Field::reference("creator", "$.creator", &PEOPLE),
        Field::new("creation_time", Time, "$.creation_time"),
        Field::new("deletion_time", Time, "$.deletion_time").nullable(),
        Field::new("attempt", Int, "$.attempt"),
        Field::new("priority", Int, "$.priority"),
        Field::new("max_attempts", Int, "$.max_attempts"),
        Field::new("retry_delay", Float, "$.retry_delay"),
        Field::new("timeout", Float, "$.timeout").nullable(),
        Field::new("hold", Bool, "$.on_hold"),
        Field::new("labels", Json, "$.labels").of_members(),
        Field::new("lease_expires", Time, "$.lease_expires").nullable(),
    ],
    hints: &[
        // The CHECKs of the table make the two the same.
        Hint { when: &[Premise::Null("start_time"), Premise::Null("error_reason")], sql: "$.phase = 'created'" },
        // SQLite does not hold a bound value against a partial index.
        Hint { when: &[Premise::Equal("phase", "created")], sql: "$.phase = 'created'" },
    ],
};

/// The outputs as a job's JSON shows them.
static LIVE_OUTPUTS: Resource = Resource {
    name: "outputs",
    table: "job_outputs",
    active: "$.deletion_time IS NULL",
    fields: &[PK, Field::new("name", Text, "$.name"), Field::new("type", Text, "$.type")],
    hints: &[],
};

/// The job outputs.
pub static JOB_OUTPUTS: Resource = Resource {
    name: "job-outputs",
    table: "job_outputs",
    active: "$.deletion_time IS NULL",
    fields: &[
        PK,
        Field::reference("job", "$.job", &JOBS),
        Field::new("name", Text, "$.name"),
        Field::new("type", Text, "$.type"),
        Field::new("size", Int, "$.size"),
        Field::new("sha256", Text, "$.sha256"),
        Field::reference("creator", "$.creator", &PEOPLE),
        Field::new("creation_time", Time, "$.creation_time"),
        Field::new("deletion_time", Time, "$.deletion_time").nullable(),
    ],
    hints: &[],
};

/// The job templates.
pub static JOB_TEMPLATES: Resource = Resource {
    name: "job-templates",
    table: "job_templates",
    active: "$.deletion_time IS NULL",
    fields: &[
        PK,
        Field::new("name", Text, "$.name"),
        Field::new("version", Int, "$.version"),
        Field::new("description", Text, "$.description"),
        Field::new("scope", Text, "$.scope"),
        // The JSON has the domain's name.
        Field::new("domain", Text, "(SELECT d.name FROM domains AS d WHERE d.pk = $.domain)")
            .present("$.domain IS NOT NULL")
            .leads_to(&DOMAINS, "$.domain"),
        Field::reference("licence", "$.licence", &LICENCES),
        Field::reference("creator", "$.creator", &PEOPLE),
        Field::new("creation_time", Time, "$.creation_time"),
        Field::new("deletion_time", Time, "$.deletion_time").nullable(),
        Field::new("workabletemplate", Int, "CASE WHEN $.kind = 'workable' THEN $.pk END")
            .present("$.kind = 'workable'"),
        Field::new("metatemplate", Int, "CASE WHEN $.kind = 'meta' THEN $.pk END").present("$.kind = 'meta'"),
        Field::new("type", Text, "$.type").nullable(),
        Field::new("executor_class", Text, "$.executor_class").nullable(),
        Field::new("required_packages", Text, "$.required_packages").nullable(),
        Field::new("body", Text, "$.body").nullable(),
        Field::new("parameters", Json, "CASE WHEN $.kind = 'workable' THEN $.specific END").nullable(),
        Field::new("inputs", Json, "CASE WHEN $.kind = 'workable' THEN $.specific END").nullable(),
        Field::new("outputs", Json, "CASE WHEN $.kind = 'workable' THEN $.specific END").nullable(),
        Field::new("nodes", Json, "CASE WHEN $.kind = 'meta' THEN $.specific END").nullable(),
        Field::new("dependencies", Json, "CASE WHEN $.kind = 'meta' THEN $.specific END").nullable(),
    ],
    hints: &[],
};

/// The nodes.
pub static NODES: Resource = plain(
    "nodes",
    "nodes",
    &[
        PK,
        Field::new("ip", Text, "$.ip"),
        Field::new("index", Int, "$.\"index\""),
        Field::new("driver_version", Text, "$.driver_version").nullable(),
        Field::reference("hardware_generation", "$.hardware_generation", &HARDWARE).nullable(),
        Field::new("gpu_mem", Int, "$.gpu_mem").nullable(),
        Field::new("cpu_mem", Int, "$.cpu_mem"),
        Field::new("last_seen", Time, "$.last_seen").nullable(),
        Field::reference("current_job", "$.current_job", &JOBS).nullable(),
        Field::reference("creator", "$.creator", &PEOPLE),
    ],
);

/// The users. Deactivated ones are the inactive rows.
pub static USERS: Resource = Resource {
    name: "users",
    table: "users",
    active: "$.is_active = 1",
    fields: &[
        PK,
        Field::new("username", Text, "$.username"),
        Field::new("first_name", Text, "$.first_name"),
        Field::new("last_name", Text, "$.last_name"),
        Field::new("email", Text, "$.email"),
        Field::new("is_active", Bool, "$.is_active"),
        Field::new("is_staff", Bool, "$.is_staff"),
        Field::new("is_superuser", Bool, "$.is_superuser"),
        Field::new("date_joined", Time, "$.date_joined"),
        Field::new("last_login", Time, "$.last_login").nullable(),
    ],
    hints: &[],
};

/// The users as all other resources show them.
static PEOPLE: Resource = plain("users", "users", &[PK, Field::new("username", Text, "$.username")]);

/// The hardware generations.
pub static HARDWARE: Resource = plain(
    "hardware",
    "hardware_generations",
    &[
        PK,
        Field::new("generation", Text, "$.generation"),
        Field::new("min_compute_capability", Float, "$.min_compute_capability"),
        Field::new("max_compute_capability", Float, "$.max_compute_capability"),
    ],
);

/// The CUDA versions.
pub static CUDA: Resource = plain(
    "cuda",
    "cuda_versions",
    &[
        PK,
        Field::new("version", Text, "$.version"),
        Field::new("full_version", Text, "$.full_version"),
        Field::new("min_driver_version", Text, "$.min_driver_version"),
    ],
);

/// The docker images.
pub static DOCKER: Resource = plain(
    "docker",
    "docker_images",
    &[
        PK,
        Field::new("name", Text, "$.name"),
        Field::new("version", Text, "$.version"),
        Field::new("url", Text, "$.url"),
        Field::new("registry_url", Text, "$.registry_url"),
        Field::reference("cuda_version", "$.cuda_version", &CUDA),
        Field::reference("framework", "$.framework", &FRAMEWORKS),
        // The JSON has the domain's description and the licence's name.
        Field::new("domain", Text, "(SELECT d.description FROM domains AS d WHERE d.pk = $.domain)")
            .leads_to(&DOMAINS, "$.domain"),
        Field::new("tasks", Text, "").leads_to_many(&TASKS, "docker_image", "name"),
        Field::reference("min_hardware_generation", "$.min_hardware_generation", &HARDWARE).nullable(),
        Field::new("cpu", Bool, "$.cpu"),
        Field::new("licence", Text, "(SELECT l.name FROM licences AS l WHERE l.pk = $.licence)")
            .leads_to(&LICENCES, "$.licence"),
    ],
);

/// The tasks of a docker image.
static TASKS: Resource = plain(
    "tasks",
    "docker_tasks",
    &[Field::new("name", Text, "(SELECT c.name FROM job_contracts AS c WHERE c.pk = $.contract)")],
);

/// The fields of job types and of job contracts.
const CLASSES: &[Field] =
    &[PK, Field::new("name", Text, "$.name"), Field::new("pkg", Text, "$.pkg"), Field::new("cls", Text, "$.cls")];

/// The job types.
pub static JOB_TYPES: Resource = plain("job-types", "job_types", CLASSES);

/// The job contracts.
pub static JOB_CONTRACTS: Resource = plain("job-contracts", "job_contracts", CLASSES);

/// The domains.
pub static DOMAINS: Resource = plain(
    "domains",
    "domains",
    &[PK, Field::new("name", Text, "$.name"), Field::new("description", Text, "$.description")],
);

/// The licences.
pub static LICENCES: Resource =
    plain("licences", "licences", &[PK, Field::new("name", Text, "$.name"), Field::new("url", Text, "$.url")]);

/// The frameworks.
pub static FRAMEWORKS: Resource = plain(
    "frameworks",
    "frameworks",
    &[PK, Field::new("name", Text, "$.name"), Field::new("version", Text, "$.version")],
);
