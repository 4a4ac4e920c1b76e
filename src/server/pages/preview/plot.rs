//! Lines over an axis, as the parts of an SVG. Many points become the least and the greatest of each stretch, so that no
//! peak is lost.

/// The size of the drawing, in the units of its `viewBox`, and the room around the lines for what is written there.
pub(super) const WIDTH: f64 = 600.0;
pub(super) const HEIGHT: f64 = 230.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Stretches into which a line is cut: fewer than there are pixels on a wide screen, more than an eye tells apart.
const STRETCHES: usize = 800;
/// Marks on an axis, about.
const MARKS: f64 = 5.0;

/// A line's name and points, in the order of `x`.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A line as it is drawn.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// For `<polyline points>`.
    pub(super) points: String,
}

/// A mark on an axis.
#[derive(Debug, PartialEq)]
pub(super) struct Mark {
    /// Where it is, in the units of the `viewBox`.
    pub(super) at: f64,
    pub(super) text: String,
}

/// A plot.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) x_name: String,
    pub(super) lines: Vec<Line>,
    pub(super) x_marks: Vec<Mark>,
    pub(super) y_marks: Vec<Mark>,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// The values from one end of an axis to the other.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: f64,
    to: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let ends = values.fold(None, |ends: Option<(f64, f64)>, value| {
            let (low, high) = ends.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        });
        let (from, to) = ends?;
        // A flat line stands in the middle. Of numbers near the end of the range, no span may become infinite.
        let pad = if to > from { 0.0 } else { from.abs().max(1.0) * 0.5 };
        let range = Self { from: from - pad, to: to + pad };
        ((range.to - range.from).is_finite() && range.to > range.from).then_some(range)
    }

    /// Gives where a value stands between the ends, from 0 to 1.
    fn share(self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    /// Gives round values inside, a few.
    fn marks(self) -> Vec<f64> {
        let rough = (self.to - self.from) / MARKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
        let Some(step) = step.filter(|step| step.is_normal()) else { return Vec::new() };
        let first = (self.from / step).ceil();
        let mark = |count: u32| (first + f64::from(count)) * step;
        (0..20).map(mark).take_while(|value| *value <= self.to).collect()
    }
}

impl Plot {
    /// Draws lines; `None` when there is nothing that could be drawn.
    pub(super) fn of(x_name: String, series: Vec<Series>) -> Option<Self> {
        let points = || series.iter().flat_map(|series| &series.points);
        let x = Range::of(points().map(|(x, _)| *x))?;
        let y = Range::of(points().map(|(_, y)| *y))?;
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let place_x = |value: f64| LEFT + x.share(value) * (right - LEFT);
        let place_y = |value: f64| bottom - y.share(value) * (bottom - TOP);
        let draw = |(x, y): (f64, f64)| format!("{:.1},{:.1}", place_x(x), place_y(y));
        let line = |series: &Series| {
            let points: Vec<String> = thinned(&series.points, x).into_iter().map(draw).collect();
            Line { name: series.name.clone(), points: points.join(" ") }
        };
        let mark = |place: &dyn Fn(f64) -> f64, value: f64| Mark { at: place(value), text: short(value) };
        Some(Self {
            lines: series.iter().filter(|series| !series.points.is_empty()).map(line).collect(),
            x_marks: x.marks().into_iter().map(|value| mark(&place_x, value)).collect(),
            y_marks: y.marks().into_iter().map(|value| mark(&place_y, value)).collect(),
            x_name,
            left: LEFT,
            right,
            top: TOP,
            bottom,
        })
    }
}

/// Keeps of each stretch of the axis the least and the greatest point, in their order.
fn thinned(points: &[(f64, f64)], x: Range) -> Vec<(f64, f64)> {
    if points.len() <= 2 * STRETCHES {
        return points.to_vec();
    }
    let stretch = |point: &(f64, f64)| (x.share(point.0) * STRETCHES as f64) as usize;
    let mut kept = Vec::with_capacity(2 * STRETCHES);
    for some in points.chunk_by(|one, other| stretch(one) == stretch(other)) {
        let by_height = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let (Some(low), Some(high)) = (some.iter().min_by(by_height), some.iter().max_by(by_height)) else { continue };
        let (first, second) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        kept.push(*first);
        if first != second {
            kept.push(*second);
        }
    }
    kept
}

/// Writes the value of a mark.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(points: Vec<(f64, f64)>) -> Vec<Series> {
        vec![Series { name: "s".to_owned(), points }]
    }

    #[test]
    fn no_peak_is_lost_among_many_points() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 0.0)).collect();
        points[61_803].1 = 7.0;
        let range = Range { from: 0.0, to: 99_999.0 };
        let kept = thinned(&points, range);
        assert!(kept.len() <= 2 * STRETCHES + 2, "{}", kept.len());
        assert!(kept.contains(&(61_803.0, 7.0)));
    }

    #[test]
    fn marks_are_round() {
        let plot = Plot::of("x".to_owned(), series(vec![(0.0, -1.0), (10.0, 3.0)])).unwrap();
        let texts = |marks: &[Mark]| marks.iter().map(|mark| mark.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&plot.x_marks), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(texts(&plot.y_marks), ["-1", "0", "1", "2", "3"]);
        assert_eq!([short(0.1 + 0.2), short(1.5e7), short(-0.0)], ["0.3", "1.5e7", "0"]);
    }

    proptest! {
        #[test]
        fn whatever_is_finite_is_drawn_inside_or_not_at_all(points in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..50)) {
            let points = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
            if let Some(plot) = Plot::of(String::new(), series(points)) {
                for pair in plot.lines.iter().flat_map(|line| line.points.split(' ')).filter(|pair| !pair.is_empty()) {
                    let (x, y) = pair.split_once(',').unwrap();
                    let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                    prop_assert!((LEFT - 0.1..=WIDTH).contains(&x) && (TOP - 0.1..=HEIGHT).contains(&y), "{pair}");
                }
                prop_assert!(plot.x_marks.len() <= 20 && plot.y_marks.len() <= 20);
            }
        }
    }
}
