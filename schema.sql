-- The whole database, in numbered steps. A step, once shipped, is never changed; a new one is added below it.
-- `store/migrate.rs` applies the steps above `user_version`, each in a transaction of its own.
--
-- Times are microseconds since 1970 UTC. Booleans are 0 or 1. Keys are AUTOINCREMENT, so that none is used twice
-- (contract §1). The CHECKs on jobs are the second guard behind `domain/lifecycle.rs`: no code can write a state
-- that the rules do not know.

-- v1

CREATE TABLE users (
    pk               INTEGER PRIMARY KEY AUTOINCREMENT,
    username         TEXT    NOT NULL UNIQUE,
    password_hash    TEXT    NOT NULL,
    -- Counts password changes and deactivations; a token names the count it was made under and dies with it.
    credentials      INTEGER NOT NULL DEFAULT 1,
    first_name       TEXT    NOT NULL DEFAULT '',
    last_name        TEXT    NOT NULL DEFAULT '',
    email            TEXT    NOT NULL DEFAULT '',
    is_active        INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    is_staff         INTEGER NOT NULL DEFAULT 0 CHECK (is_staff IN (0, 1)),
    is_superuser     INTEGER NOT NULL DEFAULT 0 CHECK (is_superuser IN (0, 1)),
    date_joined      INTEGER NOT NULL,
    last_login       INTEGER
) STRICT;

CREATE TABLE hardware_generations (
    pk                      INTEGER PRIMARY KEY AUTOINCREMENT,
    generation              TEXT NOT NULL UNIQUE,
    min_compute_capability  REAL NOT NULL,
    max_compute_capability  REAL NOT NULL
) STRICT;

CREATE TABLE job_types (
    pk    INTEGER PRIMARY KEY AUTOINCREMENT,
    name  TEXT NOT NULL UNIQUE,
    pkg   TEXT NOT NULL,
    cls   TEXT NOT NULL
) STRICT;

CREATE TABLE job_contracts (
    pk    INTEGER PRIMARY KEY AUTOINCREMENT,
    name  TEXT NOT NULL UNIQUE,
    pkg   TEXT NOT NULL,
    cls   TEXT NOT NULL
) STRICT;

CREATE TABLE domains (
    pk           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE CHECK (length(name) = 2),
    description  TEXT NOT NULL
) STRICT;

CREATE TABLE licences (
    pk    INTEGER PRIMARY KEY AUTOINCREMENT,
    name  TEXT NOT NULL UNIQUE,
    url   TEXT NOT NULL
) STRICT;

CREATE TABLE frameworks (
    pk       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL,
    version  TEXT NOT NULL,
    UNIQUE (name, version)
) STRICT;

CREATE TABLE cuda_versions (
    pk                  INTEGER PRIMARY KEY AUTOINCREMENT,
    version             TEXT NOT NULL UNIQUE,
    full_version        TEXT NOT NULL,
    min_driver_version  TEXT NOT NULL
) STRICT;

CREATE TABLE docker_images (
    pk                       INTEGER PRIMARY KEY AUTOINCREMENT,
    name                     TEXT    NOT NULL,
    version                  TEXT    NOT NULL,
    url                      TEXT    NOT NULL,
    registry_url             TEXT    NOT NULL,
    registry_username        TEXT,
    registry_password        TEXT,
    cuda_version             INTEGER NOT NULL REFERENCES cuda_versions,
    framework                INTEGER NOT NULL REFERENCES frameworks,
    domain                   INTEGER NOT NULL REFERENCES domains,
    licence                  INTEGER NOT NULL REFERENCES licences,
    min_hardware_generation  INTEGER REFERENCES hardware_generations,
    cpu                      INTEGER NOT NULL CHECK (cpu IN (0, 1)),
    UNIQUE (name, version)
) STRICT;

-- What a docker image can do: the contracts of its tasks.
CREATE TABLE docker_tasks (
    docker_image  INTEGER NOT NULL REFERENCES docker_images ON DELETE CASCADE,
    contract      INTEGER NOT NULL REFERENCES job_contracts,
    PRIMARY KEY (docker_image, contract)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_templates (
    pk             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT    NOT NULL,
    version        INTEGER NOT NULL CHECK (version >= 1),
    description    TEXT    NOT NULL,
    scope          TEXT    NOT NULL,
    domain         INTEGER REFERENCES domains,
    licence        INTEGER NOT NULL REFERENCES licences,
    kind           TEXT    NOT NULL CHECK (kind IN ('workable', 'meta')),
    -- The contract and the executor stand beside the JSON of `specific`, since lists filter by them.
    type           TEXT             CHECK ((type IS NOT NULL) = (kind = 'workable')),
    executor_class TEXT             CHECK ((executor_class IS NOT NULL) = (kind = 'workable')),
    required_packages TEXT          CHECK ((required_packages IS NOT NULL) = (kind = 'workable')),
    body           TEXT             CHECK ((body IS NOT NULL) = (kind = 'workable')),
    specific       TEXT    NOT NULL CHECK (json_valid(specific)),
    creator        INTEGER NOT NULL REFERENCES users,
    creation_time  INTEGER NOT NULL,
    deletion_time  INTEGER
) STRICT;

-- One live template per name and version; also finds the highest version of a name.
CREATE UNIQUE INDEX job_templates_live ON job_templates (name, version) WHERE deletion_time IS NULL;

CREATE TABLE nodes (
    pk                   INTEGER PRIMARY KEY AUTOINCREMENT,
    ip                   TEXT    NOT NULL CHECK (length(ip) BETWEEN 1 AND 39),
    "index"              INTEGER NOT NULL CHECK ("index" BETWEEN 0 AND 32767),
    driver_version       TEXT,
    hardware_generation  INTEGER REFERENCES hardware_generations,
    gpu_mem              INTEGER CHECK (gpu_mem >= 0),
    cpu_mem              INTEGER NOT NULL CHECK (cpu_mem >= 0),
    last_seen            INTEGER,
    -- The job this node works on; it outlives the node's hold on the job until the node says `finish` (contract §5).
    current_job          INTEGER REFERENCES jobs ON DELETE SET NULL,
    creator              INTEGER NOT NULL REFERENCES users,
    UNIQUE (ip, "index")
) STRICT;

-- Clears current_job when a job is hard-deleted.
CREATE INDEX nodes_current_job ON nodes (current_job) WHERE current_job IS NOT NULL;

CREATE TABLE jobs (
    pk                INTEGER PRIMARY KEY AUTOINCREMENT,
    template          INTEGER NOT NULL REFERENCES job_templates,
    kind              TEXT    NOT NULL CHECK (kind IN ('workable', 'meta')),
    parent            INTEGER REFERENCES jobs ON DELETE CASCADE,
    -- The name of the parent's node that this job is.
    child_name        TEXT    CHECK ((child_name IS NULL) = (parent IS NULL)),
    phase             TEXT    NOT NULL CHECK (phase IN ('created', 'started', 'errored', 'finished', 'cancelled')),
    node              INTEGER REFERENCES nodes ON DELETE SET NULL,
    start_time        INTEGER,
    end_time          INTEGER,
    error_reason      TEXT,
    progress_amount   REAL    NOT NULL DEFAULT 0 CHECK (progress_amount BETWEEN 0 AND 1),
    input_values      TEXT    NOT NULL CHECK (json_valid(input_values)),
    parameter_values  TEXT    NOT NULL CHECK (json_valid(parameter_values)),
    description       TEXT    NOT NULL,
    -- What create-job asked of notifications, as it was given, for the job and for its children.
    notifications     TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(notifications)),
    -- Who claims first: the highest, then the oldest.
    priority          INTEGER NOT NULL DEFAULT 0,
    -- Kept from every node until somebody lets it go.
    on_hold           INTEGER NOT NULL DEFAULT 0 CHECK (on_hold IN (0, 1)),
    -- A JSON object of texts.
    labels            TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(labels)),
    -- How often the job was acquired; the number of the newest row of job_attempts.
    attempt           INTEGER NOT NULL DEFAULT 0,
    max_attempts      INTEGER NOT NULL DEFAULT 1 CHECK (max_attempts >= 1),
    -- Seconds before the first retry; doubled for each one after it.
    retry_delay       REAL    NOT NULL DEFAULT 0 CHECK (retry_delay >= 0),
    -- When an errored job goes back to created by itself.
    retry_time        INTEGER,
    -- Seconds that a run may take, and when the present run has taken them.
    timeout           REAL             CHECK (timeout > 0),
    deadline          INTEGER,
    -- Seconds for which the holder keeps the job without a sign of life, and when it loses it.
    lease             REAL             CHECK (lease > 0),
    lease_expires     INTEGER,
    -- How many children a meta-job has in all, those that are not made yet too.
    children          INTEGER NOT NULL DEFAULT 0 CHECK (children = 0 OR kind = 'meta'),
    creator           INTEGER NOT NULL REFERENCES users,
    creation_time     INTEGER NOT NULL,
    deletion_time     INTEGER,
    CHECK (retry_time IS NULL OR phase = 'errored'),
    CHECK (deadline IS NULL OR (phase = 'started' AND timeout IS NOT NULL)),
    CHECK ((lease IS NULL) = (lease_expires IS NULL)),
    CHECK (lease IS NULL OR (phase IN ('created', 'started') AND node IS NOT NULL)),
    CHECK ((end_time IS NOT NULL) = (phase IN ('errored', 'finished', 'cancelled'))),
    CHECK ((error_reason IS NOT NULL) = (phase IN ('errored', 'cancelled'))),
    CHECK (phase <> 'cancelled' OR error_reason = 'Cancelled'),
    CHECK (phase <> 'created' OR (start_time IS NULL AND progress_amount = 0)),
    CHECK (phase NOT IN ('started', 'finished', 'errored') OR start_time IS NOT NULL),
    CHECK (phase <> 'finished' OR progress_amount = 1),
    -- A workable job that runs is held; a meta-job never is.
    CHECK (phase <> 'started' OR kind = 'meta' OR node IS NOT NULL),
    CHECK (kind = 'workable' OR node IS NULL)
) STRICT;

-- The launcher's question: free workable jobs, oldest first.
CREATE INDEX jobs_free ON jobs (pk) WHERE phase = 'created' AND node IS NULL AND kind = 'workable' AND deletion_time IS NULL;
-- The next job to be claimed.
CREATE INDEX jobs_to_claim ON jobs (priority DESC, pk)
    WHERE phase = 'created' AND node IS NULL AND kind = 'workable' AND deletion_time IS NULL AND on_hold = 0;
-- What falls due by time; most jobs are in none of the three.
CREATE INDEX jobs_by_lease ON jobs (lease_expires) WHERE lease_expires IS NOT NULL;
CREATE INDEX jobs_by_deadline ON jobs (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX jobs_by_retry ON jobs (retry_time) WHERE retry_time IS NOT NULL;
-- The unfinished jobs of a node, asked when it is destroyed; and lists by node.
CREATE INDEX jobs_by_node ON jobs (node) WHERE node IS NOT NULL;
-- The children of a meta-job.
CREATE INDEX jobs_by_parent ON jobs (parent) WHERE parent IS NOT NULL;
-- A child by its name; and no child is ever made twice.
CREATE UNIQUE INDEX jobs_by_child_name ON jobs (parent, child_name) WHERE parent IS NOT NULL;
-- How the children of a meta-job stand, added up at each of their transitions without a look at their rows.
CREATE INDEX jobs_tally ON jobs (parent, phase, progress_amount) WHERE parent IS NOT NULL;
-- The jobs of a template, asked when it is hard-deleted; and lists by template.
CREATE INDEX jobs_by_template ON jobs (template);

-- Every time that a job was acquired, and what came of it.
CREATE TABLE job_attempts (
    job       INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    number    INTEGER NOT NULL CHECK (number >= 1),
    node      INTEGER,
    acquired  INTEGER NOT NULL,
    started   INTEGER,
    ended     INTEGER,
    outcome   TEXT    CHECK (outcome IN ('released', 'finished', 'errored', 'aborted', 'cancelled', 'lease_expired',
                                         'timed_out')),
    error     TEXT,
    CHECK ((ended IS NULL) = (outcome IS NULL)),
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- What workers wrote while they ran, by attempt. `start` counts the bytes before a piece, those that were cut included.
CREATE TABLE job_logs (
    job      INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    start    INTEGER NOT NULL CHECK (start >= 0),
    bytes    BLOB    NOT NULL,
    PRIMARY KEY (job, attempt, start)
) STRICT;

-- The keys with which create-job was called, so that a retry gives the same job; kept for a day.
CREATE TABLE idempotency_keys (
    user         INTEGER NOT NULL REFERENCES users,
    key          TEXT    NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    -- SHA-256 of what was asked for.
    fingerprint  TEXT    NOT NULL,
    job          INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    time         INTEGER NOT NULL,
    PRIMARY KEY (user, key)
) STRICT, WITHOUT ROWID;

-- The keys that are old enough to be forgotten.
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (time);
-- The keys of a job, which go with it.
CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job);

-- The children that a meta-job will have, worked out when it is made: no template is looked at later.
CREATE TABLE workflow_children (
    parent            INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    name              TEXT    NOT NULL,
    -- Their order in the template.
    position          INTEGER NOT NULL,
    -- Kept from hard deletion by workflow_templates.
    template          INTEGER NOT NULL,
    -- What they have from their parent, JSON objects; what siblings feed is not among it.
    input_values      TEXT    NOT NULL CHECK (json_valid(input_values)),
    parameter_values  TEXT    NOT NULL CHECK (json_valid(parameter_values)),
    PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;

-- Which child's output is which child's input.
CREATE TABLE workflow_edges (
    parent     INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    to_node    TEXT    NOT NULL,
    to_input   TEXT    NOT NULL,
    from_node  TEXT    NOT NULL,
    -- The whole of it, a JSON object.
    edge       TEXT    NOT NULL CHECK (json_valid(edge)),
    PRIMARY KEY (parent, to_node, to_input)
) STRICT, WITHOUT ROWID;

-- The children that wait for one that has finished.
CREATE INDEX workflow_edges_by_source ON workflow_edges (parent, from_node);

-- The templates below the top of a hierarchy of meta-jobs, as they were found when it was made: one that is imported
-- again or soft-deleted meanwhile changes nothing for the children that are still to come.
CREATE TABLE workflow_templates (
    top       INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    name      TEXT    NOT NULL,
    -- 0 where the meta-template names none, that is: the highest.
    version   INTEGER NOT NULL,
    template  INTEGER NOT NULL REFERENCES job_templates,
    PRIMARY KEY (top, name, version)
) STRICT, WITHOUT ROWID;

-- Whether a template is still wanted, asked when it is hard-deleted.
CREATE INDEX workflow_templates_by_template ON workflow_templates (template);

-- The bytes that are inputs of a job, and are kept as long as it is.
CREATE TABLE job_blobs (
    job     INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    sha256  TEXT    NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (job, sha256)
) STRICT, WITHOUT ROWID;

-- Whether any job still wants some bytes, asked by the sweep.
CREATE INDEX job_blobs_by_sha256 ON job_blobs (sha256);

CREATE TABLE job_outputs (
    pk             INTEGER PRIMARY KEY AUTOINCREMENT,
    job            INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    -- 200 characters at the most when a worker adds it; a meta-job's are `child:NAME`, and longer where they nest.
    name           TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 4000),
    type           TEXT    NOT NULL CHECK (length(type) BETWEEN 1 AND 500),
    size           INTEGER NOT NULL CHECK (size >= 0),
    sha256         TEXT    NOT NULL CHECK (length(sha256) = 64),
    creator        INTEGER NOT NULL REFERENCES users,
    creation_time  INTEGER NOT NULL,
    deletion_time  INTEGER
) STRICT;

-- One live output per name and type of a job; also finds an output by name, and a job's outputs.
CREATE UNIQUE INDEX job_outputs_live ON job_outputs (job, name, type) WHERE deletion_time IS NULL;
-- All outputs of a job, the removed ones too, for its hard delete.
CREATE INDEX job_outputs_by_job ON job_outputs (job);
-- Whether any output still names some bytes, asked by the sweep.
CREATE INDEX job_outputs_by_sha256 ON job_outputs (sha256);

-- Every transition of every job, written in the transaction that makes it. Watchers read it by `seq`.
CREATE TABLE events (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    job          INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    time         INTEGER NOT NULL,
    transition   TEXT    NOT NULL CHECK (transition IN ('create', 'acquire', 'release', 'start', 'progress', 'finish',
                                                        'error', 'reset', 'abort', 'cancel')),
    -- The job as the transition left it.
    node         INTEGER,
    progress     REAL    NOT NULL,
    error        TEXT,
    description  TEXT    NOT NULL,
    -- What the caller sent along, a JSON object.
    data         TEXT    NOT NULL DEFAULT '{}'
) STRICT;

-- The events of one job in order, from a sequence number on.
CREATE INDEX events_by_job ON events (job, seq);

-- E-mails that are still to be sent, as rendered. One goes when every recipient has it or is given up, or its job goes.
CREATE TABLE mails (
    pk        INTEGER PRIMARY KEY AUTOINCREMENT,
    job       INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    -- JSON arrays of the addresses that everybody sees.
    to_shown  TEXT    NOT NULL CHECK (json_valid(to_shown)),
    cc_shown  TEXT    NOT NULL CHECK (json_valid(cc_shown)),
    subject   TEXT    NOT NULL,
    body      TEXT    NOT NULL,
    created   INTEGER NOT NULL
) STRICT;

-- The e-mails of a job, which go with it.
CREATE INDEX mails_by_job ON mails (job);

-- Whom they are still to be sent to. One row each, so that a refused recipient holds up nobody else.
CREATE TABLE mail_queue (
    pk                 INTEGER PRIMARY KEY AUTOINCREMENT,
    mail               INTEGER NOT NULL REFERENCES mails ON DELETE CASCADE,
    recipient          TEXT    NOT NULL,
    attempts           INTEGER NOT NULL DEFAULT 0,
    next_attempt_time  INTEGER NOT NULL,
    UNIQUE (mail, recipient)
) STRICT;

-- What is to be sent now.
CREATE INDEX mail_queue_by_time ON mail_queue (next_attempt_time);

-- Bytes that nothing refers to, and since when: they go a day later. A row that names them ends the wait.
CREATE TABLE unreferenced_blobs (
    sha256  TEXT    PRIMARY KEY CHECK (length(sha256) = 64),
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Those whose day is over, asked by the sweep.
CREATE INDEX unreferenced_blobs_by_since ON unreferenced_blobs (since);

CREATE TRIGGER job_outputs_refer AFTER INSERT ON job_outputs BEGIN
    DELETE FROM unreferenced_blobs WHERE sha256 = NEW.sha256;
END;

CREATE TRIGGER job_blobs_refer AFTER INSERT ON job_blobs BEGIN
    DELETE FROM unreferenced_blobs WHERE sha256 = NEW.sha256;
END;

-- Bytes that `labrun verify --repair` found damaged or missing: the mark on every output and input that names them.
CREATE TABLE damaged_blobs (
    sha256      TEXT    PRIMARY KEY CHECK (length(sha256) = 64),
    found_time  INTEGER NOT NULL,
    -- What was wrong, a sentence for people.
    damage      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Operations: whether writes are possible, API tokens, and what was done by whom.

-- One row, written to see that writes are possible.
CREATE TABLE health (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    checked  INTEGER NOT NULL
) STRICT;

-- Long-lived tokens for programs. What is kept is the SHA-256 of a token that is random enough not to need more.
CREATE TABLE api_tokens (
    pk             INTEGER PRIMARY KEY AUTOINCREMENT,
    user           INTEGER NOT NULL REFERENCES users,
    name           TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    sha256         TEXT    NOT NULL UNIQUE CHECK (length(sha256) = 64),
    -- The one node it may act for.
    node           INTEGER REFERENCES nodes ON DELETE CASCADE,
    read_only      INTEGER NOT NULL CHECK (read_only IN (0, 1)),
    creator        INTEGER NOT NULL REFERENCES users,
    creation_time  INTEGER NOT NULL,
    expiry_time    INTEGER,
    revoked_time   INTEGER
) STRICT;

-- The tokens of a user; and of a node, when that is destroyed.
CREATE INDEX api_tokens_by_user ON api_tokens (user);
CREATE INDEX api_tokens_by_node ON api_tokens (node) WHERE node IS NOT NULL;

-- What staff did, and who logged in or tried to. Each row carries the hash of the one before, so that a row that is
-- changed or taken out later is seen. No keys point out of it: it outlives what it speaks of.
CREATE TABLE audit (
    pk       INTEGER PRIMARY KEY AUTOINCREMENT,
    time     INTEGER NOT NULL,
    user     INTEGER,
    -- The name as it was, or as it was tried.
    username TEXT    NOT NULL,
    address  TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    target   TEXT    NOT NULL,
    status   INTEGER NOT NULL,
    request  TEXT    NOT NULL,
    -- SHA-256 in hex over the row before's hash and this row; see store/audit.rs.
    hash     TEXT    NOT NULL CHECK (length(hash) = 64)
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'the audit log can only be added to'); END;

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT raise(ABORT, 'the audit log can only be added to'); END;

-- v2

-- Uploads that come in pieces. Their bytes lie in `blobs/partial/PK` until all are there; `received` of them are on disk
-- and were acknowledged, what the file has beyond that counts for nothing.
CREATE TABLE uploads (
    pk             INTEGER PRIMARY KEY AUTOINCREMENT,
    creator        INTEGER NOT NULL REFERENCES users,
    -- On whose behalf, and for which attempt of the job; NULL without.
    node           INTEGER,
    attempt        INTEGER,
    -- The output that it is to become; all three are NULL for bytes that nothing names yet.
    job            INTEGER REFERENCES jobs ON DELETE CASCADE,
    name           TEXT    CHECK (length(name) BETWEEN 1 AND 200),
    type           TEXT    CHECK (length(type) BETWEEN 1 AND 500),
    size           INTEGER NOT NULL CHECK (size >= 0),
    received       INTEGER NOT NULL DEFAULT 0 CHECK (received BETWEEN 0 AND size),
    -- What was announced at the beginning, or else what was found at the end.
    sha256         TEXT    CHECK (length(sha256) = 64),
    -- All bytes are on disk and right, and may have been moved to their place already: they are not to be written in.
    sealed         INTEGER NOT NULL DEFAULT 0 CHECK (sealed IN (0, 1)),
    -- What the client said of it, given back as it came.
    metadata       TEXT    NOT NULL DEFAULT '',
    creation_time  INTEGER NOT NULL,
    expiry_time    INTEGER NOT NULL,
    finished_time  INTEGER,
    output         INTEGER REFERENCES job_outputs ON DELETE SET NULL,
    CHECK ((job IS NULL) = (name IS NULL) AND (job IS NULL) = (type IS NULL)),
    CHECK (sealed = 0 OR sha256 IS NOT NULL),
    -- One that has all of its bytes is finished, so that a client which sees their number knows that it is done.
    CHECK ((finished_time IS NOT NULL) = (received = size)),
    CHECK (finished_time IS NULL OR sealed = 1)
) STRICT;

-- The open uploads: of a user, of whom there is a limit; and all of them, for the room that they will take.
CREATE INDEX uploads_open ON uploads (creator, size, received) WHERE finished_time IS NULL;
-- Those whose time is over.
CREATE INDEX uploads_by_expiry ON uploads (expiry_time);
-- The uploads of a user, listed; of a job and of an output, with which they go.
CREATE INDEX uploads_by_creator ON uploads (creator, pk);
CREATE INDEX uploads_by_job ON uploads (job) WHERE job IS NOT NULL;
CREATE INDEX uploads_by_output ON uploads (output) WHERE output IS NOT NULL;

-- The next job of a template to be claimed: without it, such a claim would sort all that wait.
CREATE INDEX jobs_to_claim_by_template ON jobs (template, priority DESC, pk)
    WHERE phase = 'created' AND node IS NULL AND kind = 'workable' AND deletion_time IS NULL AND on_hold = 0;

-- v3

-- What became of a job, without its progress, for the pages: the newest steps are found however often it reported.
CREATE INDEX events_by_job_steps ON events (job, seq) WHERE transition <> 'progress';

-- Those who are logged in to the pages. What is kept is the SHA-256 of a secret that is random enough not to need more.
CREATE TABLE page_sessions (
    sha256         TEXT    PRIMARY KEY CHECK (length(sha256) = 64),
    user           INTEGER NOT NULL REFERENCES users,
    -- The user's count of password changes and deactivations at the log-in; a session of another count is void.
    credentials    INTEGER NOT NULL,
    creation_time  INTEGER NOT NULL,
    last_used      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The sessions of a user, ended all at once.
CREATE INDEX page_sessions_by_user ON page_sessions (user);
-- Those that were not used for too long.
CREATE INDEX page_sessions_by_last_used ON page_sessions (last_used);

-- v4

-- A list of more than two values makes SQLite build a table to look them up in, anew for each row that is written: for an
-- event that took as long as all the rest of its statement. The same checks in pairs build none. And AUTOINCREMENT writes
-- one more page for each event; the writer counts by itself, from what the table below keeps. Only the words of the tables
-- change, not how rows are kept.
PRAGMA writable_schema = ON;

UPDATE sqlite_schema SET sql = replace(replace(sql, 'INTEGER PRIMARY KEY AUTOINCREMENT', 'INTEGER PRIMARY KEY'),
    'CHECK (transition IN (''create'', ''acquire'', ''release'', ''start'', ''progress'', ''finish'',
                                                        ''error'', ''reset'', ''abort'', ''cancel''))',
    'CHECK (transition IN (''progress'', ''create'') OR transition IN (''acquire'', ''start'')
            OR transition IN (''finish'', ''release'') OR transition IN (''error'', ''reset'')
            OR transition IN (''abort'', ''cancel''))')
WHERE type = 'table' AND name = 'events';

UPDATE sqlite_schema SET sql = replace(sql,
    'CHECK (outcome IN (''released'', ''finished'', ''errored'', ''aborted'', ''cancelled'', ''lease_expired'',
                                         ''timed_out''))',
    'CHECK (outcome IN (''finished'', ''errored'') OR outcome IN (''released'', ''aborted'')
            OR outcome IN (''cancelled'', ''lease_expired'') OR outcome = ''timed_out'')')
WHERE type = 'table' AND name = 'job_attempts';

UPDATE sqlite_schema SET sql = replace(replace(replace(sql,
    'CHECK (phase IN (''created'', ''started'', ''errored'', ''finished'', ''cancelled''))',
    'CHECK (phase IN (''created'', ''started'') OR phase IN (''finished'', ''errored'') OR phase = ''cancelled'')'),
    'CHECK ((end_time IS NOT NULL) = (phase IN (''errored'', ''finished'', ''cancelled'')))',
    'CHECK ((end_time IS NOT NULL) = (phase NOT IN (''created'', ''started'')))'),
    'CHECK (phase NOT IN (''started'', ''finished'', ''errored'') OR start_time IS NOT NULL)',
    'CHECK (phase IN (''created'', ''cancelled'') OR start_time IS NOT NULL)')
WHERE type = 'table' AND name = 'jobs';

PRAGMA writable_schema = RESET;

-- The place in the event log up to which numbers were used, as far as events that are gone had them: no number is used
-- twice, since watchers go on from the last one that they saw.
CREATE TABLE events_gone (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    seq  INTEGER NOT NULL
) STRICT;

INSERT INTO events_gone SELECT 1, coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events';
DELETE FROM sqlite_sequence WHERE name = 'events';

-- Events go with their job, and in no other way.
CREATE TRIGGER events_go BEFORE DELETE ON jobs BEGIN
    UPDATE events_gone SET seq = max(seq, (SELECT coalesce(max(seq), 0) FROM events));
END;

-- v5

-- What falls due of a deleted job waits until the job is reinstated. As long as such jobs stood in these indexes, they stood
-- at the front for ever, and kept what came after them from being found.
DROP INDEX jobs_by_lease;
DROP INDEX jobs_by_deadline;
DROP INDEX jobs_by_retry;
CREATE INDEX jobs_by_lease ON jobs (lease_expires) WHERE lease_expires IS NOT NULL AND deletion_time IS NULL;
CREATE INDEX jobs_by_deadline ON jobs (deadline) WHERE deadline IS NOT NULL AND deletion_time IS NULL;
CREATE INDEX jobs_by_retry ON jobs (retry_time) WHERE retry_time IS NOT NULL AND deletion_time IS NULL;

-- A lease goes on when the run errs: whoever then holds the job must give signs of life as before. As in step 4, only the
-- words of the table change; and no row is against them that was not before.
PRAGMA writable_schema = ON;

UPDATE sqlite_schema SET sql = replace(sql,
    'CHECK (lease IS NULL OR (phase IN (''created'', ''started'') AND node IS NOT NULL))',
    'CHECK (lease IS NULL OR (phase NOT IN (''finished'', ''cancelled'') AND node IS NOT NULL))')
WHERE type = 'table' AND name = 'jobs';

PRAGMA writable_schema = RESET;

-- v6

-- An index of the events by their job cost every transition the writing of a page that it shared with none, and the index of
-- steps another. Now the events of a job are a chain: each says which was before it, and the job says which is its newest.
-- Only every 64th event of a job is in an index, so that what comes after a place is found without a walk from the end.
-- (`job` has no REFERENCES: SQLite would look for the events of a job that is deleted by reading them all. The trigger below
-- finds them by their chain.)
CREATE TABLE events_in_chains (
    seq            INTEGER PRIMARY KEY,
    job            INTEGER NOT NULL,
    -- Which event of the job it is, from 1 on.
    number         INTEGER NOT NULL CHECK (number >= 1),
    -- The event of the job before it, and the last one before it that was not progress.
    previous       INTEGER CHECK (previous < seq),
    previous_step  INTEGER CHECK (previous_step <= previous),
    time           INTEGER NOT NULL,
    -- In pairs, as step 4 says.
    transition     TEXT    NOT NULL CHECK (transition IN ('progress', 'create') OR transition IN ('acquire', 'start')
                                           OR transition IN ('finish', 'release') OR transition IN ('error', 'reset')
                                           OR transition IN ('abort', 'cancel')),
    -- The job as the transition left it.
    node           INTEGER,
    progress       REAL    NOT NULL,
    error          TEXT,
    description    TEXT    NOT NULL,
    -- What the caller sent along, a JSON object.
    data           TEXT    NOT NULL DEFAULT '{}',
    CHECK ((previous IS NULL) = (number = 1))
) STRICT;

-- How many events the job has, the newest of them, and the newest that is not progress.
ALTER TABLE jobs ADD COLUMN events INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN last_event INTEGER;
ALTER TABLE jobs ADD COLUMN last_step INTEGER CHECK (last_step <= last_event);

INSERT INTO events_in_chains
SELECT e.seq, e.job, links.number, links.previous, links.previous_step, e.time, e.transition, e.node, e.progress, e.error,
    e.description, e.data
FROM (
    SELECT seq, row_number() OVER of_job AS number, lag(seq) OVER of_job AS previous,
        max(iif(transition = 'progress', NULL, seq))
            OVER (of_job ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_step
    FROM events WINDOW of_job AS (PARTITION BY job ORDER BY seq)
    ORDER BY seq
) AS links CROSS JOIN events AS e ON e.seq = links.seq;

UPDATE jobs SET (events, last_event) = (SELECT count(*), max(seq) FROM events WHERE job = jobs.pk),
    last_step = (SELECT max(seq) FROM events WHERE job = jobs.pk AND transition <> 'progress');

DROP TRIGGER events_go;
DROP TABLE events;
ALTER TABLE events_in_chains RENAME TO events;

-- Where to turn back for the events of a job after a place.
CREATE INDEX events_marked ON events (job, seq) WHERE number % 64 = 0;

-- Events go with their job, and in no other way.
CREATE TRIGGER events_go BEFORE DELETE ON jobs BEGIN
    UPDATE events_gone SET seq = max(seq, (SELECT coalesce(max(seq), 0) FROM events));
    DELETE FROM events WHERE seq IN (
        WITH RECURSIVE chain (seq) AS (
            SELECT old.last_event
            UNION ALL SELECT e.previous FROM chain CROSS JOIN events AS e ON e.seq = chain.seq WHERE e.previous IS NOT NULL)
        SELECT seq FROM chain);
END;
