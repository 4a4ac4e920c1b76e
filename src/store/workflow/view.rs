//! A meta-job as people look at it: its children, made or not, and what leads from one to another.

use crate::domain::ids::{JobId, NodeId};
use crate::domain::lifecycle::Phase;
use crate::store::{Error, Store};

/// Children that are read at the most.
const CHILDREN_MAX: u32 = 500;

/// A child of a meta-job.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its name in the template.
    pub name: String,
    /// The name of its own template.
    pub template: String,
    /// The job, once it is made.
    pub job: Option<ChildJob>,
}

/// How a child stands that is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChildJob {
    /// Its key.
    pub pk: JobId,
    /// Where in its life it stands.
    pub phase: Phase,
    /// How far it is, from 0 to 1.
    pub progress: f64,
    /// The node that holds it.
    pub node: Option<NodeId>,
}

/// The children of a meta-job in the order of the template, and the edges between them, from name to name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// The first 500.
    pub children: Vec<Child>,
    /// Each pair once.
    pub edges: Vec<(String, String)>,
}

impl Store {
    /// Reads the graph of a meta-job; it is empty for other jobs.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn graph(&self, job: JobId) -> Result<Graph, Error> {
        self.read_long(move |connection| {
            // One transaction, so that no child is shown at another moment than its siblings.
            let tx = connection.unchecked_transaction()?;
            let mut statement = tx.prepare_cached(
                "SELECT c.name, coalesce((SELECT name FROM job_templates WHERE pk = c.template), ''),
                     j.pk, j.phase, j.progress_amount, j.node
                 FROM workflow_children AS c LEFT JOIN jobs AS j ON j.parent = c.parent AND j.child_name = c.name
                 WHERE c.parent = ?1 ORDER BY c.position LIMIT ?2",
            )?;
            let children = statement.query_map((job, CHILDREN_MAX), |row| {
                let made: Option<JobId> = row.get(2)?;
                let job = match made {
                    None => None,
                    Some(pk) => {
                        Some(ChildJob { pk, phase: row.get(3)?, progress: row.get(4)?, node: row.get(5)? })
                    }
                };
                Ok(Child { name: row.get(0)?, template: row.get(1)?, job })
            })?;
            let children = children.collect::<Result<_, _>>()?;
            let edges = tx
                .prepare_cached(
                    "SELECT DISTINCT from_node, to_node FROM workflow_edges WHERE parent = ?1 ORDER BY from_node, to_node",
                )?
                .query_map([job], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            Ok(Graph { children, edges })
        })
        .await
    }
}
