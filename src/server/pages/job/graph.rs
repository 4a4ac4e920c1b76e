//! The graph of a meta-job, drawn from left to right: what feeds another child stands to the left of it.

use std::collections::HashMap;

use crate::domain::ids::JobId;
use crate::domain::lifecycle::Phase;
use crate::server::pages::show::Badge;
use crate::store::workflow::view::Graph;

const WIDTH: usize = 190;
const HEIGHT: usize = 58;
const GAP_X: usize = 56;
const GAP_Y: usize = 18;
/// Around the whole.
const MARGIN: usize = 6;
/// Characters of a name that fit into a box.
const CHARS_MAX: usize = 22;

/// A child with its place.
#[derive(Debug)]
pub(super) struct Box {
    pub(super) name: String,
    /// The name as far as it fits.
    pub(super) short: String,
    pub(super) template: String,
    pub(super) job: Option<JobId>,
    pub(super) badge: Badge,
    pub(super) percent: u8,
    pub(super) x: usize,
    pub(super) y: usize,
}

/// A line between two children, as the path of an SVG.
pub(super) type Line = String;

/// The whole.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) boxes: Vec<Box>,
    pub(super) lines: Vec<Line>,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Drawing {
    /// Gives every child its place.
    pub(super) fn of(graph: &Graph) -> Self {
        let layers = layers(graph);
        let mut filled: HashMap<usize, usize> = HashMap::new();
        let mut places = HashMap::new();
        let mut boxes = Vec::new();
        for (child, layer) in graph.children.iter().zip(&layers) {
            let row = filled.entry(*layer).or_default();
            let (x, y) = (MARGIN + layer * (WIDTH + GAP_X), MARGIN + *row * (HEIGHT + GAP_Y));
            *row += 1;
            places.insert(child.name.as_str(), (x, y));
            let badge = match &child.job {
                None => Badge { word: "not made yet", kind: "unmade" },
                Some(job) if job.phase == Phase::Created && job.node.is_some() => Badge { word: "held", kind: "held" },
                Some(job) => Badge::of_phase(job.phase),
            };
            let progress = child.job.map_or(0.0, |job| job.progress);
            boxes.push(Box {
                short: shortened(&child.name),
                name: child.name.clone(),
                template: shortened(&child.template),
                job: child.job.map(|job| job.pk),
                badge,
                percent: (progress * 100.0) as u8,
                x,
                y,
            });
        }
        let lines = graph
            .edges
            .iter()
            .filter_map(|(from, to)| Some(line(*places.get(from.as_str())?, *places.get(to.as_str())?)));
        let columns = layers.iter().max().map_or(0, |last| last + 1);
        let rows = filled.values().max().copied().unwrap_or(0);
        Self {
            lines: lines.collect(),
            boxes,
            width: 2 * MARGIN + (columns * (WIDTH + GAP_X)).saturating_sub(GAP_X),
            height: 2 * MARGIN + (rows * (HEIGHT + GAP_Y)).saturating_sub(GAP_Y),
        }
    }

    /// Gives the jobs of the children that are made.
    pub(super) fn jobs(&self) -> Vec<JobId> {
        self.boxes.iter().filter_map(|child| child.job).collect()
    }
}

/// Gives each child its layer: one behind the last of those that feed it. There are no cycles: no template has any.
fn layers(graph: &Graph) -> Vec<usize> {
    let places: HashMap<&str, usize> =
        graph.children.iter().enumerate().map(|(place, child)| (child.name.as_str(), place)).collect();
    let edges: Vec<(usize, usize)> = graph
        .edges
        .iter()
        .filter_map(|(from, to)| Some((*places.get(from.as_str())?, *places.get(to.as_str())?)))
        .collect();
    let mut layers = vec![0; graph.children.len()];
    // Each round settles one more layer at the least.
    for _ in 0..graph.children.len() {
        let mut moved = false;
        for (from, to) in &edges {
            let behind = layers.get(*from).map_or(0, |layer| layer + 1);
            if let Some(layer) = layers.get_mut(*to)
                && *layer < behind
            {
                *layer = behind;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    layers
}

fn line(from: (usize, usize), to: (usize, usize)) -> Line {
    let (x, y) = (from.0 + WIDTH, from.1 + HEIGHT / 2);
    let (to_x, to_y) = (to.0, to.1 + HEIGHT / 2);
    let bend = GAP_X / 2;
    format!("M{x} {y}C{} {y} {} {to_y} {to_x} {to_y}", x + bend, to_x.saturating_sub(bend))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::workflow::view::Child;

    fn graph(names: &[&str], edges: &[(&str, &str)]) -> Graph {
        let child = |name: &&str| Child { name: (*name).to_owned(), template: String::new(), job: None };
        let edge = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        Graph { children: names.iter().map(child).collect(), edges: edges.iter().map(edge).collect() }
    }

    #[test]
    fn every_edge_leads_to_the_right_and_no_two_boxes_lie_on_each_other() {
        let edges = [("a", "b"), ("b", "d"), ("a", "d"), ("c", "d"), ("d", "e"), ("ghost", "a")];
        let graph = graph(&["e", "d", "c", "b", "a", "alone"], &edges);
        let drawing = Drawing::of(&graph);
        let place = |name: &str| drawing.boxes.iter().find(|one| one.name == name).map(|one| (one.x, one.y));
        for (from, to) in edges.iter().filter(|(from, _)| *from != "ghost") {
            assert!(place(from).unwrap().0 + WIDTH < place(to).unwrap().0, "{from} {to}");
        }
        assert_eq!(drawing.lines.len(), 5);
        let mut places: Vec<_> = drawing.boxes.iter().map(|one| (one.x, one.y)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 6);
        assert!(drawing.boxes.iter().all(|one| one.x + WIDTH <= drawing.width && one.y + HEIGHT <= drawing.height));
    }

    #[test]
    fn nothing_and_a_circle_are_drawn_as_well() {
        assert!(Drawing::of(&Graph::default()).boxes.is_empty());
        assert_eq!(Drawing::of(&graph(&["a", "b"], &[("a", "b"), ("b", "a")])).boxes.len(), 2);
    }
}
