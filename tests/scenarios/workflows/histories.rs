//! Random graphs, each with a random history, on the store and on a model that knows nothing of its code. After each
//! step both must agree on where the parent stands and on which children there are: each made once, as soon as its
//! inputs are there and never before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use labrun::domain::ids::{JobId, NodeId, TemplateId, UserId};
use labrun::domain::job::Policy;
use labrun::domain::template::import;
use labrun::domain::time::SystemClock;
use labrun::store::Store;
use labrun::store::jobs::{By, NewJob, Verb};
use labrun::store::outputs::{Adder, NewOutput};
use labrun::wire::node::NewNode;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};
use serde_json::Value;

use super::bench;

const ADMIN: UserId = UserId(1);
const CHILDREN_MAX: usize = 6;
const STEPS_MAX: usize = 60;
const HISTORIES: u32 = 64;

/// A graph without cycles: `edges[to]` holds the children that `to` needs something of, all before it.
type Graph = Vec<Vec<usize>>;

#[derive(Debug, Clone, Copy)]
enum Deed {
    Start,
    Progress(u8),
    /// Ends well, with an output or without.
    Finish {
        with_output: bool,
    },
    Fail,
    Reset,
    Abort,
    /// Soft-deletes the parent, or takes that back.
    Delete(bool),
    Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Child {
    Unmade,
    Created,
    Started(f64),
    Errored(f64),
    Finished { with_output: bool },
}

/// What contract §6 says, child by child.
#[derive(Debug)]
struct Model {
    graph: Graph,
    children: Vec<Child>,
    began: bool,
    deleted: bool,
    cancelled: bool,
}

impl Model {
    fn new(graph: Graph) -> Self {
        let children = vec![Child::Unmade; graph.len()];
        let mut model = Self { graph, children, began: false, deleted: false, cancelled: false };
        model.make();
        model
    }

    fn lacks(&self) -> bool {
        (0..self.graph.len())
            .filter(|&to| self.children[to] == Child::Unmade)
            .any(|to| self.graph[to].iter().any(|&from| self.children[from] == Child::Finished { with_output: false }))
    }

    fn phase(&self) -> &'static str {
        let errored = |child: &Child| matches!(child, Child::Errored(_));
        let finished = |child: &Child| matches!(child, Child::Finished { .. });
        match () {
            () if self.cancelled => "cancelled",
            () if self.children.iter().all(finished) => "finished",
            () if self.children.iter().any(errored) || self.lacks() => "errored",
            () if self.began => "started",
            () => "created",
        }
    }

    fn progress(&self) -> f64 {
        let of = |child: &Child| match child {
            Child::Unmade | Child::Created => 0.0,
            Child::Started(amount) | Child::Errored(amount) => *amount,
            Child::Finished { .. } => 1.0,
        };
        self.children.iter().map(of).sum::<f64>() / self.children.len() as f64
    }

    fn make(&mut self) {
        if self.deleted || !matches!(self.phase(), "created" | "started") {
            return;
        }
        for to in 0..self.graph.len() {
            let there = |&from: &usize| self.children[from] == Child::Finished { with_output: true };
            if self.children[to] == Child::Unmade && self.graph[to].iter().all(there) {
                self.children[to] = Child::Created;
            }
        }
    }

    /// Says whether a deed is allowed, and does it.
    fn does(&mut self, at: usize, deed: Deed) -> bool {
        if self.cancelled {
            return false;
        }
        let next = match (deed, self.children[at]) {
            (Deed::Start, Child::Created) => Child::Started(0.0),
            (Deed::Progress(quarters), Child::Started(_)) => Child::Started(f64::from(quarters) / 4.0),
            (Deed::Finish { with_output }, Child::Started(_)) => Child::Finished { with_output },
            (Deed::Fail, Child::Started(amount)) => Child::Errored(amount),
            (Deed::Reset, Child::Errored(_)) => Child::Created,
            (Deed::Abort, Child::Started(_) | Child::Errored(_)) => Child::Created,
            (Deed::Delete(deleted), child) => {
                self.deleted = deleted;
                child
            }
            (Deed::Cancel, child) if !self.deleted && self.phase() != "finished" => {
                self.cancelled = true;
                child
            }
            _ => return false,
        };
        self.began |= matches!(next, Child::Started(_));
        self.children[at] = next;
        self.make();
        true
    }
}

/// A store with one node per child.
struct World {
    store: Store,
    nodes: Vec<NodeId>,
    number: AtomicU64,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(&dir.path().join("labrun.db"), Arc::new(SystemClock)).expect("a store");
        store.create_first_user("no hash".to_owned()).await.expect("a user");
        let mut world = Self { store, nodes: Vec::new(), number: AtomicU64::new(0), dir };
        for inputs in 0..CHILDREN_MAX {
            let names: Vec<String> = (0..inputs).map(|input| format!("i{input}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            world.import(&bench::stage(&format!("stage{inputs}"), &names, &["o"])).await;
            let node = NewNode { ip: format!("bench{inputs}"), cpu_mem: 1, ..NewNode::default() };
            world.nodes.push(world.store.create_node(node, ADMIN).await.expect("a node").pk);
        }
        world
    }

    async fn import(&self, document: &Value) -> TemplateId {
        let template = import(document.as_object().expect("an object")).expect("a template");
        self.store.import_template(template, ADMIN).await.expect("a template").pk
    }

    async fn create(&self, graph: &Graph) -> JobId {
        let name = |child: usize| format!("c{child}");
        let nodes: Vec<(String, String)> =
            graph.iter().enumerate().map(|(to, from)| (name(to), format!("stage{}", from.len()))).collect();
        let nodes: Vec<(&str, &str)> = nodes.iter().map(|(child, of)| (child.as_str(), of.as_str())).collect();
        let mut edges = Vec::new();
        for (to, sources) in graph.iter().enumerate() {
            let sources = sources.iter().enumerate();
            edges.extend(sources.map(|(input, from)| format!("{}.o>{}.i{input}", name(*from), name(to))));
        }
        let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        let own = format!("flow{}", self.number.fetch_add(1, Ordering::Relaxed));
        let template = self.import(&bench::flow(&own, &nodes, &edges)).await;
        let new = NewJob {
            template,
            input_values: "{}".to_owned(),
            parameter_values: "{}".to_owned(),
            description: String::new(),
            notifications: "{}".to_owned(),
            creator: ADMIN,
            blobs: Vec::new(),
            policy: Policy::default(),
            idempotency: None,
        };
        self.store.create_job(new).await.expect("a job").pk
    }

    /// Gives the children that there are: index, key, phase.
    fn children(&self, parent: JobId) -> Vec<(usize, JobId, String)> {
        let database = bench::open(&self.dir.path().join("labrun.db"));
        let sql = format!("SELECT child_name, pk, phase FROM jobs WHERE parent = {parent} ORDER BY child_name");
        bench::rows(&database, &sql, |row| {
            let name: String = row.get(0)?;
            Ok((name.trim_start_matches('c').parse().expect("a number"), JobId(row.get(1)?), row.get(2)?))
        })
    }

    /// Does a deed; says whether it was allowed.
    async fn does(&self, top: JobId, at: usize, deed: Deed) -> bool {
        let by = By { node: Some(self.nodes[at]), attempt: None };
        match deed {
            Deed::Delete(deleted) => return self.store.set_job_deleted(top, deleted).await.is_ok(),
            Deed::Cancel => return self.store.act(top, By::default(), Verb::Cancel).await.is_ok(),
            Deed::Start | Deed::Progress(_) | Deed::Finish { .. } | Deed::Fail | Deed::Reset | Deed::Abort => {}
        }
        let Some((_, job, _)) = self.children(top).into_iter().find(|(index, ..)| *index == at) else { return false };
        let verb = match deed {
            Deed::Start => {
                if self.store.act(job, by, Verb::Acquire { lease_s: None }).await.is_err() {
                    return false;
                }
                Verb::Start
            }
            Deed::Progress(quarters) => Verb::Progress { amount: f64::from(quarters) / 4.0, data: "{}".to_owned() },
            Deed::Finish { with_output } => {
                if with_output {
                    self.add_output(job, self.nodes[at]).await;
                }
                Verb::Finish { error: None }
            }
            Deed::Fail => Verb::Finish { error: Some("boom".to_owned()) },
            Deed::Reset => Verb::Reset,
            Deed::Abort => Verb::Abort,
            Deed::Delete(_) | Deed::Cancel => return false,
        };
        let aborts = matches!(verb, Verb::Abort);
        let done = self.store.act(job, by, verb).await.is_ok();
        if aborts {
            // The worker notices, and is ready for the next job.
            drop(self.store.act(job, by, Verb::Finish { error: None }).await);
        }
        done
    }

    async fn add_output(&self, job: JobId, node: NodeId) {
        let (name, type_name, sha256) = ("o".to_owned(), "JSON".to_owned(), "0".repeat(64));
        let by = Adder { user: ADMIN, is_staff: false, node: Some(node), attempt: None };
        drop(self.store.add_output(NewOutput { job, name, type_name, size: 2, sha256 }, by).await);
    }

    fn check(&self, top: JobId, model: &Model) {
        let job = self.store.job(top).expect("a read").expect("the job");
        assert_eq!(job.phase.as_str(), model.phase(), "the parent of {model:?}: {:?}", job.error_reason);
        if !model.cancelled {
            assert!((job.progress_amount - model.progress()).abs() < 1e-9, "{} of {model:?}", job.progress_amount);
        }
        let there = self.children(top);
        let expected = model.children.iter().enumerate().filter(|(_, child)| **child != Child::Unmade);
        assert!(there.iter().map(|(index, ..)| *index).eq(expected.map(|(index, _)| index)), "{there:?} of {model:?}");
        let told =
            self.store.events_after(Some(top), 0, 1_000).expect("events").events.pop().expect("an event").message;
        assert_eq!((told.progress, &told.error), (job.progress_amount, &job.error_reason), "the last event");
        assert_eq!(told.node, None);
        let shared = there.iter().filter(|(index, ..)| model.children[*index] == Child::Finished { with_output: true });
        let shared: Vec<String> = shared.map(|(index, ..)| format!("c{index}:o")).collect();
        let mut outputs: Vec<&str> = job.outputs.iter().map(|output| output.name.as_str()).collect();
        outputs.sort_unstable();
        assert_eq!(outputs, shared, "{model:?}");
    }
}

fn graphs() -> impl Strategy<Value = Graph> {
    (1..=CHILDREN_MAX).prop_flat_map(|count| {
        let sources = |to: usize| proptest::sample::subsequence((0..to).collect::<Vec<_>>(), 0..=to.min(3));
        (0..count).map(sources).collect::<Vec<_>>()
    })
}

fn steps() -> impl Strategy<Value = Vec<(usize, Deed)>> {
    let deed = prop_oneof![
        12 => Just(Deed::Start),
        4 => (0..=4_u8).prop_map(Deed::Progress),
        10 => Just(Deed::Finish { with_output: true }),
        1 => Just(Deed::Finish { with_output: false }),
        3 => Just(Deed::Fail),
        3 => Just(Deed::Reset),
        2 => Just(Deed::Abort),
        1 => Just(Deed::Delete(true)),
        2 => Just(Deed::Delete(false)),
    ];
    // A history ends with its cancel, so that is drawn once and not at every step.
    let steps = proptest::collection::vec((0..CHILDREN_MAX, deed), 1..=STEPS_MAX);
    (steps, any::<bool>()).prop_map(|(mut steps, cancels)| {
        if cancels {
            steps.push((0, Deed::Cancel));
            steps.push((0, Deed::Start));
        }
        steps
    })
}

async fn play(world: &World, graph: &Graph, steps: &[(usize, Deed)]) {
    let top = world.create(graph).await;
    let mut model = Model::new(graph.clone());
    world.check(top, &model);
    for &(at, deed) in steps {
        let at = at % graph.len();
        let allowed = model.does(at, deed);
        let done = world.does(top, at, deed).await;
        // Deleting again, and taking back what was not done, are no-ops with a yes; so is abort of a free job.
        let repeats = matches!(deed, Deed::Delete(_) | Deed::Abort | Deed::Cancel);
        assert!(done == allowed || (done && repeats), "{deed:?} of {at}: {done}, {model:?}");
        world.check(top, &model);
    }
    // The nodes are freed for the next history.
    for (at, job, _) in world.children(top) {
        let by = By { node: Some(world.nodes[at]), attempt: None };
        drop(world.store.act(job, by, Verb::Finish { error: None }).await);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn random_histories_of_random_graphs_go_as_the_model_says() {
    let runtime = runtime();
    let world = runtime.block_on(World::new());
    let config = Config {
        cases: HISTORIES,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(6),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let played = TestRunner::new(config).run(&(graphs(), steps()), |(graph, steps)| {
        runtime.block_on(play(&world, &graph, &steps));
        Ok(())
    });
    played.expect("the store goes as the model says");
}

/// Plays every order in which the children of a graph can finish.
fn every_order(graph: &Graph) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..graph.len() {
        let longer = orders.iter().flat_map(|order: &Vec<usize>| {
            let next = (0..graph.len()).filter(|child| !order.contains(child));
            let next = next.filter(|child| graph[*child].iter().all(|from| order.contains(from)));
            next.map(|child| [order.as_slice(), &[child]].concat()).collect::<Vec<_>>()
        });
        orders = longer.collect();
    }
    orders
}

#[test]
fn small_graphs_finish_in_whatever_order() {
    let runtime = runtime();
    let world = runtime.block_on(World::new());
    let diamond = vec![vec![], vec![0], vec![0], vec![1, 2]];
    let row = vec![vec![], vec![0], vec![1]];
    let apart = vec![vec![], vec![], vec![]];
    let tree = vec![vec![], vec![], vec![0, 1], vec![1]];
    for (graph, count) in [(diamond, 2), (row, 1), (apart, 6), (tree, 5)] {
        let orders = every_order(&graph);
        assert_eq!(orders.len(), count, "{graph:?}");
        for order in orders {
            let finish = Deed::Finish { with_output: true };
            let steps: Vec<_> = order.iter().flat_map(|&at| [(at, Deed::Start), (at, finish)]).collect();
            let mut model = Model::new(graph.clone());
            assert!(steps.iter().all(|&(at, deed)| model.does(at, deed)) && model.phase() == "finished");
            runtime.block_on(play(&world, &graph, &steps));
        }
    }
}
