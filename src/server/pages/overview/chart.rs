//! Counts over time, as the parts of an SVG: layers that stand on each other, step by step.

use crate::server::pages::show;

/// The size of the drawing, in the units of its `viewBox`, and the room around the layers for what is written there.
pub(in crate::server::pages) const WIDTH: f64 = 640.0;
pub(in crate::server::pages) const HEIGHT: f64 = 190.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 24.0;
/// Share of a step that a bar fills.
const BAR: f64 = 0.78;

/// One layer: its name, the class that colours it, and its counts, step by step.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) counts: Vec<i64>,
}

/// How layers are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// What was so at the end of each step.
    Area,
    /// What happened in each step.
    Bars,
}

/// A layer as it is drawn.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    /// For `<path d>`.
    pub(super) path: String,
    /// Its count at the end, or in all, for the legend.
    pub(super) told: String,
}

/// A mark on an axis.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) text: String,
}

/// A chart.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) shapes: Vec<Shape>,
    pub(super) x_marks: Vec<Mark>,
    pub(super) y_marks: Vec<Mark>,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    /// Whether there is anything to see.
    pub(super) is_empty: bool,
}

impl Chart {
    /// Draws layers, the first at the bottom. `x_marks` says what stands at which share of the width.
    pub(super) fn of(title: &'static str, form: Form, layers: &[Layer], x_marks: &[(f64, String)]) -> Self {
        let steps = layers.iter().map(|layer| layer.counts.len()).max().unwrap_or(0);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let highest = (0..steps).map(|step| layers.iter().map(|layer| count(layer, step)).sum::<i64>()).max();
        let (top, marks) = scale(highest.unwrap_or(0));
        let y = |value: i64| bottom - value as f64 / top as f64 * (bottom - TOP);
        let width = (right - LEFT) / steps.max(1) as f64;
        let mut below = vec![0; steps];
        let mut shapes = Vec::with_capacity(layers.len());
        for layer in layers {
            let mut path = String::new();
            let above: Vec<i64> = below.iter().enumerate().map(|(step, low)| low + count(layer, step)).collect();
            match form {
                Form::Area => area(&mut path, &below, &above, |step| LEFT + width * step as f64, y),
                Form::Bars => {
                    for (step, (low, high)) in
                        below.iter().zip(&above).enumerate().filter(|(_, (low, high))| low < high)
                    {
                        let from = LEFT + width * (step as f64 + (1.0 - BAR) / 2.0);
                        path.push_str(&format!(
                            "M{from:.1} {:.1}h{:.1}V{:.1}h-{:.1}z",
                            y(*low),
                            width * BAR,
                            y(*high),
                            width * BAR
                        ));
                    }
                }
            }
            let told = match form {
                Form::Area => layer.counts.last().copied().unwrap_or(0),
                Form::Bars => layer.counts.iter().sum(),
            };
            shapes.push(Shape { name: layer.name, kind: layer.kind, path, told: show::count(told) });
            below = above;
        }
        Self {
            title,
            shapes,
            x_marks: x_marks
                .iter()
                .map(|(share, text)| Mark { at: LEFT + share * (right - LEFT), text: text.clone() })
                .collect(),
            y_marks: marks.into_iter().map(|value| Mark { at: y(value), text: show::count(value) }).collect(),
            left: LEFT,
            right,
            bottom,
            is_empty: highest.unwrap_or(0) == 0,
        }
    }
}

fn count(layer: &Layer, step: usize) -> i64 {
    layer.counts.get(step).copied().unwrap_or(0).max(0)
}

/// Draws a band whose edges go in stairs: a count holds until the next one.
fn area(path: &mut String, below: &[i64], above: &[i64], x: impl Fn(usize) -> f64, y: impl Fn(i64) -> f64) {
    if below.is_empty() || below == above {
        return;
    }
    for (step, high) in above.iter().enumerate() {
        let first = if step == 0 { 'M' } else { 'L' };
        path.push_str(&format!("{first}{:.1} {:.1}H{:.1}", x(step), y(*high), x(step + 1)));
    }
    for (step, low) in below.iter().enumerate().rev() {
        path.push_str(&format!("L{:.1} {:.1}H{:.1}", x(step + 1), y(*low), x(step)));
    }
    path.push('z');
}

/// Gives the top of an axis that holds a count, and its marks: round numbers, a few.
fn scale(highest: i64) -> (i64, Vec<i64>) {
    let highest = highest.max(1);
    let mut step: i64 = 1;
    for factor in [2, 5, 10].into_iter().cycle() {
        if highest <= step.saturating_mul(4) {
            break;
        }
        let power = 10_i64.saturating_pow(step.ilog10());
        step = power.saturating_mul(factor);
    }
    let top = highest.saturating_add(step - 1) / step * step;
    (top, (0..=top / step).map(|mark| mark * step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks_and_hold_everything() {
        assert_eq!(scale(0), (1, vec![0, 1]));
        assert_eq!(scale(7), (8, vec![0, 2, 4, 6, 8]));
        assert_eq!(scale(11), (15, vec![0, 5, 10, 15]));
        for highest in [1, 3, 4, 5, 99, 1_234, 987_654, i64::MAX / 4] {
            let (top, marks) = scale(highest);
            assert!(top >= highest && marks.len() <= 6, "{highest}: {top} {marks:?}");
        }
    }

    #[test]
    fn layers_stand_on_each_other() {
        let layer = |name, counts: &[i64]| Layer { name, kind: "started", counts: counts.to_vec() };
        let layers = [layer("low", &[1, 0]), layer("high", &[1, 2])];
        let chart = Chart::of("t", Form::Bars, &layers, &[(0.0, "then".to_owned())]);
        assert_eq!(chart.shapes[0].path.matches('M').count(), 1);
        assert_eq!(chart.shapes[1].path.matches('M').count(), 2);
        assert_eq!((chart.shapes[0].told.as_str(), chart.shapes[1].told.as_str()), ("1", "3"));
        let chart = Chart::of("t", Form::Area, &layers, &[]);
        assert_eq!(chart.shapes[1].told, "2");
        assert!(chart.shapes[0].path.ends_with('z') && !chart.is_empty);
        assert!(Chart::of("t", Form::Area, &[layer("none", &[0, 0])], &[]).is_empty);
    }
}
