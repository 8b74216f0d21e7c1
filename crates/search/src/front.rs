//! Several objectives at once: which of their losses are better than which others, and how good a set of them is.
//!
//! A point is one trial's losses, smaller is better, all finite. It dominates another where it is nowhere worse and somewhere
//! better; the front of a set is what nothing in it dominates. Knows no trials: see [`standing`](crate::standing).

/// Whether `a` is nowhere worse than `b`, and somewhere better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let pairs = || a.iter().zip(b);
    pairs().all(|(a, b)| a <= b) && pairs().any(|(a, b)| a < b)
}

/// The points by number, in fronts: the first is the front of all, the second that of those which are left without it, and
/// so on (the non-dominated sorting of Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002).
/// Equal points are in the same front; within one, points ascend.
///
/// Found by looking at the points in ascending order, each against the fronts so far, by bisection (Zhang et al., "An
/// Efficient Approach to Nondominated Sorting for Evolutionary Multiobjective Optimization", 2015): `n log n` comparisons
/// for two objectives, up to `n^2 / 2` for more.
pub fn fronts(points: &[&[f64]]) -> Vec<Vec<usize>> {
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    for point in ascending(points) {
        // What is dominated by a member of one front is so by members of all before it.
        match fronts.partition_point(|front| is_dominated(points, front, point)) {
            place if place < fronts.len() => fronts[place].push(point),
            _ => fronts.push(vec![point]),
        }
    }
    fronts
}

/// The first of the [`fronts`]: `n log n` comparisons for two objectives, `n` times its length for more.
pub fn first_front(points: &[&[f64]]) -> Vec<usize> {
    let mut front = Vec::new();
    for point in ascending(points) {
        if !is_dominated(points, &front, point) {
            front.push(point);
        }
    }
    front
}

/// The points by number, by their first loss, then by their second and so on: none is dominated by a later one.
fn ascending(points: &[&[f64]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    let compare = |a: &[f64], b: &[f64]| {
        a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    };
    order.sort_by(|a, b| compare(points[*a], points[*b]));
    order
}

/// Whether one of `front`, which are no greater, dominates `point`.
fn is_dominated(points: &[&[f64]], front: &[usize], point: usize) -> bool {
    // Of up to two losses, the second only falls along a front that ascends: no member has a smaller one than the last.
    let members = if points[point].len() <= 2 { 1 } else { front.len() };
    front.iter().rev().take(members).any(|member| dominates(points[*member], points[point]))
}

/// How much room each member of a front has: the sum over the objectives of the gap between its two neighbours, in parts of the
/// front's range; infinite at the ends (Deb et al. 2002).
pub fn crowding(points: &[&[f64]], front: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0; front.len()];
    let objectives = front.first().map_or(0, |point| points[*point].len());
    let of = |objective: usize| front.iter().map(|point| points[*point][objective]).collect::<Vec<f64>>();
    for losses in (0..objectives).map(of) {
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|a, b| losses[*a].total_cmp(&losses[*b]));
        let (Some(first), Some(last)) = (order.first().copied(), order.last().copied()) else { continue };
        let range = losses[last] - losses[first];
        for trio in order.windows(3) {
            if range > 0.0 && range.is_finite() {
                distances[trio[1]] += (losses[trio[2]] - losses[trio[0]]) / range;
            }
        }
        (distances[first], distances[last]) = (f64::INFINITY, f64::INFINITY);
    }
    distances
}

/// How many of `points` come before `newcomer`: those on better fronts, and those on its own that have more room. What has no
/// finite losses comes after all that have.
pub fn before(points: &[Vec<f64>], newcomer: &[f64]) -> usize {
    let mut all: Vec<&[f64]> = points.iter().map(Vec::as_slice).filter(|point| is_finite(point)).collect();
    let own = all.len();
    if !is_finite(newcomer) {
        return own;
    }
    all.push(newcomer);
    let mut before = 0;
    for front in fronts(&all) {
        let Some(place) = front.iter().position(|point| *point == own) else {
            before += front.len();
            continue;
        };
        let room = crowding(&all, &front);
        return before + room.iter().filter(|other| **other > room[place]).count();
    }
    before
}

/// Whether a point has a place among others.
pub fn is_finite(point: &[f64]) -> bool {
    point.iter().all(|loss| loss.is_finite())
}

/// The volume that `points` dominate and that `reference` bounds: exact. A point that is not better than the reference in every
/// objective has no part in it.
///
/// By sweeping along the last objective over what dominates in the others, which for three is a staircase that grows (Beume et
/// al., "On the Complexity of Computing the Hypervolume Indicator", 2009): `n log n` steps for two and three objectives, `n`
/// times as many for each more.
pub fn hypervolume(points: &[&[f64]], reference: &[f64]) -> f64 {
    let inside = |point: &&&[f64]| point.iter().zip(reference).all(|(loss, bound)| loss < bound);
    volume(points.iter().filter(inside).copied().collect(), reference)
}

fn volume(mut points: Vec<&[f64]>, reference: &[f64]) -> f64 {
    let Some((bound, others)) = reference.split_last() else { return 0.0 };
    let last = others.len();
    points.sort_by(|a, b| a[last].total_cmp(&b[last]));
    // How deep the slice is in which the points up to this one, and no others, dominate.
    let depth = |place: usize| points.get(place + 1).map_or(*bound, |next| next[last]) - points[place][last];
    match *others {
        [] => points.first().map_or(0.0, |best| bound - best[0]),
        [x] => {
            let mut stairs = Stairs::new(x, *bound);
            points.iter().for_each(|point| stairs.add(point[0], point[1]));
            stairs.area
        }
        [x, y] => {
            let mut stairs = Stairs::new(x, y);
            let slice = |(place, point): (usize, &&[f64])| {
                stairs.add(point[0], point[1]);
                stairs.area * depth(place)
            };
            points.iter().enumerate().map(slice).sum()
        }
        _ => {
            let upto = |place: usize| points[..=place].iter().map(|point| &point[..last]).collect();
            (0..points.len()).map(|place| volume(upto(place), others) * depth(place)).sum()
        }
    }
}

/// What points of two losses dominate within a bound.
struct Stairs {
    bound: (f64, f64),
    /// The corners: the first loss ascends, the second descends.
    corners: Vec<(f64, f64)>,
    area: f64,
}

impl Stairs {
    const fn new(x: f64, y: f64) -> Self {
        Self { bound: (x, y), corners: Vec::new(), area: 0.0 }
    }

    /// Adds a corner, takes away those that it dominates.
    fn add(&mut self, x: f64, y: f64) {
        let place = self.corners.partition_point(|corner| corner.0 <= x);
        let mut height = place.checked_sub(1).map_or(self.bound.1, |before| self.corners[before].1);
        if height <= y {
            return;
        }
        let (mut from, mut end) = (x, place);
        // Along what the stairs were above the new corner.
        while let Some((next, below)) = self.corners.get(end).copied().filter(|_| height > y) {
            self.area += (next - from) * (height - y);
            (from, height) = (next, below);
            end += usize::from(below >= y);
        }
        self.area += (self.bound.0 - from) * (height - y).max(0.0);
        self.corners.splice(place..end, [(x, y)]);
    }
}

/// `count` of the points, by number, that together have nearly the largest [`hypervolume`]: one after the other, each time the
/// one that adds most, of equal ones the first (no worse than 63 % of the best choice: Guerreiro et al., "Greedy Hypervolume
/// Subset Selection in Low Dimensions", 2016). All of them where there are no more.
///
/// What a point adds only falls as others are chosen, so that most are not looked at again: about twice as many volumes as
/// points.
pub fn subset(points: &[&[f64]], reference: &[f64], count: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut volume = 0.0;
    // What each point added when it was last looked at, and after how many choices that was.
    let mut gains: Vec<(f64, usize, usize)> =
        (0..points.len()).map(|point| (f64::INFINITY, usize::MAX, point)).collect();
    while chosen.len() < count.min(points.len()) {
        gains.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
        let (gain, seen, point) = gains[0];
        if seen == chosen.len() {
            gains.remove(0);
            chosen.push(point);
            volume += gain;
        } else {
            let with: Vec<&[f64]> = chosen.iter().chain([&point]).map(|point| points[*point]).collect();
            gains[0] = ((hypervolume(&with, reference) - volume).max(0.0), chosen.len(), point);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use rand::RngExt;

    /// Points on a coarse grid, so that losses tie and points repeat.
    fn random(objectives: usize, count: u32, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = stream(seed, count, Purpose::Configuration);
        (0..count).map(|_| (0..objectives).map(|_| f64::from(rng.random_range(0..8u32)) / 8.0).collect()).collect()
    }

    fn slices(points: &[Vec<f64>]) -> Vec<&[f64]> {
        points.iter().map(Vec::as_slice).collect()
    }

    fn sets() -> impl Iterator<Item = (usize, Vec<Vec<f64>>)> {
        (1..=4).flat_map(|objectives| (0..40).map(move |seed| (objectives, random(objectives, 1 + seed as u32, seed))))
    }

    #[test]
    fn a_point_dominates_where_it_is_nowhere_worse_and_somewhere_better() {
        assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]));
        assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(!dominates(&[1.0, 2.0], &[2.0, 1.0]));
    }

    #[test]
    fn a_front_is_what_nothing_dominates_once_the_fronts_before_it_are_gone() {
        for (objectives, points) in sets() {
            let points = slices(&points);
            let mut left: Vec<usize> = (0..points.len()).collect();
            for front in fronts(&points) {
                let free = |point: &usize| !left.iter().any(|other| dominates(points[*other], points[*point]));
                let expected: Vec<usize> = left.iter().copied().filter(free).collect();
                let mut found = front.clone();
                found.sort_unstable();
                assert_eq!(found, expected, "{objectives} objectives: {points:?}");
                left.retain(|point| !front.contains(point));
            }
            assert!(left.is_empty());
            assert_eq!(first_front(&points), fronts(&points)[0]);
        }
    }

    #[test]
    fn the_volume_is_that_of_the_cells_that_some_point_dominates() {
        for (objectives, points) in sets() {
            let points = slices(&points);
            // Cells of an eighth; the reference leaves out points at 7/8 and beyond.
            let cells = (0..7usize.pow(objectives as u32)).filter(|cell| {
                let corner: Vec<f64> =
                    (0..objectives).map(|d| (cell / 7usize.pow(d as u32) % 7) as f64 / 8.0).collect();
                points.iter().any(|point| point.iter().zip(&corner).all(|(loss, at)| loss <= at))
            });
            let expected = cells.count() as f64 / 8f64.powi(objectives as i32);
            let found = hypervolume(&points, &vec![0.875; objectives]);
            assert!((found - expected).abs() < 1e-12, "{objectives} objectives: {found}, not {expected}");
        }
    }

    #[test]
    fn the_volume_of_a_known_front() {
        let points = [vec![1.0, 5.0, 4.0], vec![2.0, 3.0, 3.0], vec![5.0, 1.0, 2.0]];
        let of = |objectives: usize| -> f64 {
            let points: Vec<&[f64]> = points.iter().map(|point| &point[..objectives]).collect();
            hypervolume(&points, &[6.0, 6.0, 5.0][..objectives])
        };
        // 5 by 1, 4 by 2 below it, and 1 by 2 below that.
        assert_eq!((of(1), of(2)), (5.0, 15.0));
        // Slices at depths 2 to 3, 3 to 4 and 4 to 5 with areas 5, 14 and 15.
        assert_eq!(of(3), 34.0);
        assert_eq!(hypervolume(&[], &[1.0, 1.0]), 0.0);
    }

    #[test]
    fn members_with_room_and_ends_are_the_least_crowded() {
        let points = [vec![0.0, 10.0], vec![1.0, 6.0], vec![2.0, 5.0], vec![10.0, 0.0]];
        let points = slices(&points);
        let distances = crowding(&points, &[3, 1, 0, 2]);
        assert_eq!((distances[0], distances[2]), (f64::INFINITY, f64::INFINITY));
        // 2/10 and 5/10 for the second, 9/10 and 6/10 for the third.
        assert!((distances[1] - 0.7).abs() < 1e-12 && (distances[3] - 1.5).abs() < 1e-12, "{distances:?}");
        assert_eq!(crowding(&points, &[1]), [f64::INFINITY]);
        assert!(
            crowding(&[&[1.0, 1.0], &[1.0, 1.0], &[1.0, 1.0]], &[0, 1, 2]).iter().all(|distance| !distance.is_nan())
        );
    }

    #[test]
    fn a_newcomer_comes_after_better_fronts_and_after_those_with_more_room() {
        let points = [vec![0.0, 10.0], vec![1.0, 6.0], vec![10.0, 0.0], vec![f64::INFINITY, 0.0], vec![20.0, 20.0]];
        assert_eq!(before(&points, &[-1.0, 11.0]), 0, "a new end");
        assert_eq!(before(&points, &[2.0, 5.0]), 2, "inside, with more room than one of its front");
        assert_eq!(before(&points, &[0.9, 6.1]), 3, "inside, with the least room");
        assert_eq!(before(&points, &[2.0, 7.0]), 3, "on the second front");
        assert_eq!(before(&points, &[f64::INFINITY, 0.0]), 4, "no number is worse than any");
        assert_eq!(before(&[], &[1.0, 1.0]), 0);
    }

    #[test]
    fn a_subset_is_chosen_greedily_by_what_each_adds() {
        for (objectives, points) in sets() {
            let points = slices(&points);
            let reference = vec![1.0; objectives];
            let count = 1 + points.len() / 3;
            let volume = |chosen: &[usize]| {
                hypervolume(&chosen.iter().map(|point| points[*point]).collect::<Vec<_>>(), &reference)
            };
            let mut plain: Vec<usize> = Vec::new();
            while plain.len() < count {
                let with = |point: usize| volume(&[&plain[..], &[point]].concat());
                let rest = (0..points.len()).filter(|point| !plain.contains(point));
                // Of equal ones the first, where rounding lets them be equal.
                let best = rest.fold(None, |best: Option<(f64, usize)>, point| match best {
                    Some((volume, _)) if with(point) <= volume + 1e-12 => best,
                    Some(_) | None => Some((with(point), point)),
                });
                plain.extend(best.map(|(_, point)| point));
            }
            let found = subset(&points, &reference, count);
            assert_eq!(found.len(), count);
            assert!(
                (volume(&found) - volume(&plain)).abs() < 1e-9,
                "{objectives} objectives: {found:?}, not {plain:?}"
            );
        }
        assert_eq!(subset(&[&[0.5, 0.5]], &[1.0, 1.0], 3), [0], "there are no more");
    }
}
