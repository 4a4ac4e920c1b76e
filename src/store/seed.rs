//! The rows that a new database starts with: hardware generations, job types, job contracts (contract §4).

use rusqlite::Connection;

use crate::domain::contract::KNOWN_CONTRACTS;
use crate::domain::types::KNOWN;

/// The NVIDIA generations with the compute capabilities that they span: the lower bound in, the upper out.
const GENERATIONS: [(&str, f64, f64); 8] = [
    ("Fermi", 2.0, 3.0),
    ("Kepler", 3.0, 5.0),
    ("Maxwell", 5.0, 6.0),
    ("Pascal", 6.0, 7.0),
    ("Volta", 7.0, 7.5),
    ("Turing", 7.5, 8.0),
    ("Ampere", 8.0, 9.0),
    ("Hopper", 9.0, 10.0),
];

/// Fills the tables of a new database.
pub(super) fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let mut hardware = connection.prepare(
        "INSERT INTO hardware_generations (generation, min_compute_capability, max_compute_capability)
         VALUES (?1, ?2, ?3)",
    )?;
    for generation in GENERATIONS {
        hardware.execute(generation)?;
    }
    let mut types = connection.prepare("INSERT INTO job_types (name, pkg, cls) VALUES (?1, ?2, ?3)")?;
    for known in &KNOWN {
        types.execute((known.name, known.pkg, known.cls))?;
    }
    let mut contracts = connection.prepare("INSERT INTO job_contracts (name, pkg, cls) VALUES (?1, ?2, ?3)")?;
    for known in &KNOWN_CONTRACTS {
        contracts.execute((known.name, known.pkg, known.cls))?;
    }
    Ok(())
}
