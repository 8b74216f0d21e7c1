//! Configurations as points: one coordinate per parameter that has more than one value.

use std::collections::BTreeMap;

use heats_domain::{Params, Space, Value};
use rand::{Rng, RngExt};

use crate::draw;
use crate::parzen::axis::{Axis, Kind};

/// A stepped axis of up to so many values is searched value by value, a longer one as if every number were one.
const FEW: f64 = 12.0;

/// The coordinates of a space.
#[derive(Clone, Debug)]
pub struct Plane {
    space: Space,
    names: Vec<String>,
    axes: Vec<Axis>,
    unordered: Vec<bool>,
    /// Whether every parameter always has a value.
    is_flat: bool,
}

impl Plane {
    /// The coordinates of `space`, in its order.
    pub fn new(space: &Space) -> Self {
        let (names, axes): (Vec<String>, Vec<Axis>) = space
            .parameters
            .iter()
            .filter_map(|parameter| Some((parameter.name.clone(), Axis::new(&parameter.domain)?)))
            .unzip();
        let unordered = axes.iter().map(|axis| matches!(axis.kind, Kind::Choice(_))).collect();
        let is_flat = space.parameters.iter().all(|parameter| parameter.when.is_none());
        Self { space: space.clone(), names, axes, unordered, is_flat }
    }

    /// How many coordinates a point has.
    pub fn len(&self) -> usize {
        self.axes.len()
    }

    /// Whether there is nothing to search.
    pub fn is_empty(&self) -> bool {
        self.axes.is_empty()
    }

    /// For each axis whether its values have no order. Their places are 0, 1, 2 and so on; those of the others lie
    /// between 0 and 1.
    pub fn unordered(&self) -> &[bool] {
        &self.unordered
    }

    /// Where a configuration lies. A parameter that has no value there lies in the middle of its axis, so that
    /// it keeps apart nothing that its condition does not.
    pub fn place(&self, params: &Params) -> Vec<f64> {
        let place = |(name, axis): (&String, &Axis)| {
            params.get(name).and_then(|value| axis.place(value)).unwrap_or_else(|| middle(axis))
        };
        self.names.iter().zip(&self.axes).map(place).collect()
    }

    /// The configuration nearest to a point that has every value of `fixed`; `None` where it breaks a constraint.
    pub fn params(&self, point: &[f64], fixed: &Params) -> Option<Params> {
        let chosen: BTreeMap<&str, Value> = self
            .names
            .iter()
            .zip(self.axes.iter().zip(point))
            .map(|(name, (axis, place))| (name.as_str(), axis.value(*place)))
            .collect();
        let params = self.space.assemble(|parameter, _| {
            let value = fixed.get(&parameter.name).or_else(|| chosen.get(parameter.name.as_str()));
            value.cloned().unwrap_or_else(|| parameter.domain.at(0.5))
        });
        (draw::keeps(&params, fixed) && self.space.is_feasible(&params)).then_some(params)
    }

    /// Moves a point to the configuration nearest to it, and says whether that may be tried.
    pub fn settle(&self, point: &mut [f64], fixed: &Params) -> bool {
        if self.is_flat && self.space.constraints.is_empty() && fixed.is_empty() {
            point.iter_mut().zip(&self.axes).for_each(|(place, axis)| *place = axis.snap(*place));
            return true;
        }
        let Some(params) = self.params(point, fixed) else { return false };
        point.copy_from_slice(&self.place(&params));
        true
    }

    /// A point drawn uniformly. See [`Plane::settle`].
    pub fn draw(&self, rng: &mut (impl Rng + ?Sized)) -> Vec<f64> {
        self.axes.iter().map(|axis| place_at(axis, rng.random())).collect()
    }

    /// A point near `point`: each coordinate moves with the given chance, by about `width`.
    pub fn near(&self, point: &[f64], width: f64, chance: f64, rng: &mut (impl Rng + ?Sized)) -> Vec<f64> {
        let mut moved = point.to_vec();
        for (place, axis) in moved.iter_mut().zip(&self.axes) {
            let (turn, u, v): (f64, f64, f64) = (rng.random(), rng.random(), rng.random());
            if turn >= chance {
                continue;
            }
            if matches!(axis.kind, Kind::Choice(_)) {
                *place = place_at(axis, u);
            } else {
                // Box and Muller; `1 - u` is never zero.
                let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                *place = (*place + width * normal).clamp(0.0, 1.0);
            }
        }
        moved
    }

    /// The axes along which a slope leads somewhere.
    pub fn smooth(&self) -> Vec<bool> {
        self.axes.iter().map(|axis| few(axis).is_none()).collect()
    }

    /// The places to try along an axis of few values.
    pub fn places(&self, axis: usize) -> Vec<f64> {
        let Some(axis) = self.axes.get(axis) else { return Vec::new() };
        let count = few(axis).unwrap_or(0);
        (0..count).map(|k| place_at(axis, (k as f64 + 0.5) / count as f64)).collect()
    }
}

/// How many values an axis has, where they are few or have no order.
fn few(axis: &Axis) -> Option<usize> {
    match axis.kind {
        Kind::Choice(count) => Some(count),
        Kind::Even(count) if count <= FEW => Some(count as usize),
        Kind::Even(_) | Kind::Continuous | Kind::Log { .. } => None,
    }
}

fn middle(axis: &Axis) -> f64 {
    if matches!(axis.kind, Kind::Choice(_)) { 0.0 } else { 0.5 }
}

/// The place that lies `u` of the way along an axis.
fn place_at(axis: &Axis, u: f64) -> f64 {
    match axis.kind {
        Kind::Choice(count) => (u * count as f64).floor().min(count as f64 - 1.0),
        Kind::Even(_) | Kind::Continuous | Kind::Log { .. } => u,
    }
}
