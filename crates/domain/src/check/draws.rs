//! Draws configurations and looks whether conditions and constraints ever hold: a space can be empty
//! although each of its lines is right. All configurations of a small space, a seeded sample of a large one.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{Context, conditions, constraints, names, space};
use crate::document::{Fault, Path, one_of};
use crate::expr::EvalError;
use crate::{Domain, Expr, Params, Space, Value};

/// How many configurations are looked at, at most.
const DRAWS: u64 = 10_000;
/// How many conditions and constraints are computed, at most: a sweep of hundreds of them draws less.
const COMPUTED: u64 = 500_000;
/// No more are drawn after this many once everything has held at least once.
const ENOUGH: u64 = 64;

/// Conditions that never hold, and constraints that no configuration satisfies.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let conditions = context.space.parameters.iter().filter(|parameter| parameter.when.is_some()).count();
    let expressions = (conditions + context.space.constraints.len()) as u64;
    let is_sound =
        [names::check, space::check, conditions::check, constraints::check].iter().all(|rule| rule(context).is_empty());
    let is_whole = context.is_whole("space") && context.is_whole("constraints");
    if !is_sound || !is_whole || expressions == 0 {
        return Vec::new();
    }
    let draws = DRAWS.min(COMPUTED / expressions);
    let mut tally = Tally::new(&context.space);
    let drawn = match context.space.cardinality().filter(|count| *count <= draws) {
        Some(count) => {
            let all = (0..count).map(|k| nth(&context.space, k));
            let mut seen = BTreeSet::new();
            tally.count(all.filter(|params| seen.insert(params.to_string())));
            format!("the {} configurations of the space", thousands(tally.drawn))
        }
        None => {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            tally.count((0..draws).map(|_| context.space.sample(&mut rng)));
            format!("{} configurations drawn from the space", thousands(tally.drawn))
        }
    };
    let mut faults = tally.inactive(&drawn);
    faults.extend(tally.unsatisfied(&drawn));
    faults
}

/// The `k`-th configuration when every parameter is counted through, the last one fastest.
fn nth(space: &Space, k: u64) -> Params {
    let mut rest = k;
    let mut values: Vec<(String, Value)> = Vec::new();
    for parameter in space.parameters.iter().rev() {
        let count = parameter.domain.cardinality().unwrap_or(1).max(1);
        if let Some(value) = parameter.domain.nth(rest % count) {
            values.push((parameter.name.clone(), value));
        }
        rest /= count;
    }
    let counted: Params = values.into_iter().collect();
    space.assemble(|parameter, _| counted.get(&parameter.name).cloned().unwrap_or_else(|| parameter.domain.at(0.0)))
}

/// How often what held.
struct Tally<'a> {
    space: &'a Space,
    drawn: u64,
    feasible: u64,
    /// For each parameter.
    active: Vec<u64>,
    /// For each constraint.
    held: Vec<u64>,
    /// For each constraint that could never be computed so far: the first time and why.
    failed: Vec<Option<String>>,
    computed: Vec<bool>,
}

impl<'a> Tally<'a> {
    fn new(space: &'a Space) -> Self {
        let constraints = space.constraints.len();
        Self {
            space,
            drawn: 0,
            feasible: 0,
            active: vec![0; space.parameters.len()],
            held: vec![0; constraints],
            failed: vec![None; constraints],
            computed: vec![false; constraints],
        }
    }

    fn count(&mut self, configurations: impl Iterator<Item = Params>) {
        for params in configurations {
            self.drawn += 1;
            for (count, parameter) in self.active.iter_mut().zip(&self.space.parameters) {
                *count += u64::from(params.get(&parameter.name).is_some());
            }
            let mut all = true;
            for (i, constraint) in self.space.constraints.iter().enumerate() {
                let holds = match constraint.holds(&params) {
                    Ok(holds) => {
                        self.computed[i] = true;
                        holds
                    }
                    // A constraint on an inactive parameter does not apply.
                    Err(EvalError::Missing(_)) => true,
                    Err(EvalError::Undefined { source_text: _, why }) => {
                        self.failed[i]
                            .get_or_insert_with(|| format!("it {why}, where {}", mentioned(constraint, &params)));
                        false
                    }
                };
                self.held[i] += u64::from(holds);
                all &= holds;
            }
            self.feasible += u64::from(all);
            if self.drawn >= ENOUGH && self.feasible > 0 && self.active.iter().all(|count| *count > 0) {
                break;
            }
        }
    }

    fn inactive(&self, drawn: &str) -> Vec<Fault> {
        let never = self.space.parameters.iter().zip(&self.active).filter(|(_, count)| **count == 0);
        never
            .map(|(parameter, _)| {
                let message = format!("`{}` never has a value: its condition held for none of {drawn}", parameter.name);
                Fault::new(Context::at(&parameter.name).key("when"), message)
                    .hint("compare with values that the other parameters can have, or remove the parameter")
            })
            .collect()
    }

    fn unsatisfied(&self, drawn: &str) -> Vec<Fault> {
        if self.feasible > 0 || self.held.is_empty() {
            return Vec::new();
        }
        let at = |i: usize| Path::from("constraints").index(i);
        let mut faults = Vec::new();
        for (i, constraint) in self.space.constraints.iter().enumerate() {
            let message = match &self.failed[i] {
                Some(why) if !self.computed[i] => {
                    let message = format!("`{constraint}` has no truth value: {why}");
                    let hint = "write it so that it can be computed for every configuration";
                    faults.push(Fault::new(at(i), message).hint(hint));
                    continue;
                }
                Some(_) | None if self.held[i] == 0 => {
                    format!("no configuration satisfies `{constraint}`: it held for none of {drawn}")
                }
                Some(_) | None => continue,
            };
            faults.push(Fault::new(at(i), message).hint(self.widen(constraint)));
        }
        if faults.is_empty() {
            let shares: Vec<String> = self
                .space
                .constraints
                .iter()
                .zip(&self.held)
                .map(|(constraint, held)| format!("`{constraint}` held for {}", share(*held, self.drawn)))
                .collect();
            let message = format!(
                "no configuration satisfies all constraints together: of {drawn}, {}, and all for none",
                shares.join(", ")
            );
            faults.push(Fault::new("constraints", message).hint("loosen one of them, or widen the ranges"));
        }
        faults
    }

    fn widen(&self, constraint: &Expr) -> String {
        let mentions = constraint.mentions();
        let searched =
            |name: &&str| self.space.get(name).is_some_and(|parameter| !matches!(parameter.domain, Domain::Const(_)));
        let names: Vec<&str> = mentions.iter().map(String::as_str).filter(searched).collect();
        match names.as_slice() {
            [] => "it mentions constants only: change them, or the constraint".into(),
            [one] => format!("loosen it, or widen the range of `{one}`"),
            several => format!("loosen it, or widen the range of {}", one_of(several)),
        }
    }
}

/// The values that an expression looks at: `w=3 z=0`.
fn mentioned(expr: &Expr, params: &Params) -> String {
    let mentions = expr.mentions();
    let seen: Params =
        params.iter().filter(|(name, _)| mentions.contains(*name)).map(|(name, value)| (name, value.clone())).collect();
    seen.to_string()
}

fn share(part: u64, whole: u64) -> String {
    format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn thousands(number: u64) -> String {
    if number >= 1000 { format!("{},{:03}", number / 1000, number % 1000) } else { number.to_string() }
}
