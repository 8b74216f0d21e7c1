//! What trials ask of machines: amounts that mean something, conditions over what is known of a machine, and variants of
//! which every configuration has one.

use cel::IdedExpr;
use cel::common::ast::{Expr as Ast, operators};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::types::Names;
use super::{Context, conditions, constraints, names, number, space, types};
use crate::document::{Fault, Path, did_you_mean};
use crate::machine::NAMES;
use crate::resources::GPU_PARTS;
use crate::spec::{Needs, Resources};
use crate::{Expr, Params};

/// The most variants.
const VARIANTS: usize = 16;
/// The most machines of one trial.
const NODES: u32 = 64;
/// The most GPUs of a machine.
const GPUS: f64 = 1_024.0;
/// So many configurations are drawn to see whether each has a variant.
const DRAWS: usize = 1_000;

/// What is wrong with the resources.
pub fn check(context: &Context<'_>) -> Vec<Fault> {
    let root = Path::from("resources");
    match &context.spec.resources {
        Needs::One(need) => {
            let mut faults = one(context, need, &root);
            if need.when.is_some() {
                let fault = Fault::new(root.key("when"), "`when` chooses between variants, and this is the only one");
                faults.push(fault.hint("remove `when`, or write a list: `[{ when: ..., gpus: 2 }, { gpus: 1 }]`"));
            }
            faults
        }
        Needs::Several(list) => {
            if list.is_empty() {
                return vec![Fault::new(root, "the list of variants is empty").hint("write `resources: { cpus: 1 }`")];
            }
            if list.len() > VARIANTS {
                let message = format!("{} variants are more than {VARIANTS}", list.len());
                return vec![Fault::new(root.index(VARIANTS), message).hint("keep those that matter")];
            }
            let mut faults: Vec<Fault> =
                list.iter().enumerate().flat_map(|(i, need)| one(context, need, &root.index(i))).collect();
            if faults.is_empty() {
                faults.extend(without_variant(context, list));
            }
            faults
        }
    }
}

fn one(context: &Context<'_>, need: &Resources, at: &Path) -> Vec<Fault> {
    let mut faults = gpus(need, at);
    for (count, key) in [(need.cpus, "cpus"), (need.nodes, "nodes")] {
        if count == 0 {
            faults.push(Fault::new(at.key(key), format!("a trial cannot run on 0 {key}")).hint("write at least 1"));
        }
    }
    if need.nodes > NODES {
        let fault = Fault::new(at.key("nodes"), format!("a trial spans at most {NODES} machines"));
        faults.push(fault.hint("write how many machines one trial spans, not how many there are"));
    }
    for (size, key, what) in [
        (need.memory, "memory", "a trial cannot run in no memory"),
        (need.disk, "disk", "no disk is what a trial has that does not ask for any"),
        (need.gpu_memory, "gpu_memory", "no GPU has no memory"),
    ] {
        if size.is_some_and(|size| size.count == 0) {
            faults.push(Fault::new(at.key(key), what).hint("write for example 4GiB, or remove the key"));
        }
    }
    if let Some(when) = &need.when {
        let at = at.key("when");
        faults.extend(conditions::strangers(context, when, &at));
        faults.extend(types::check(when, Names::Parameters(&context.space), &at));
    }
    if let Some(require) = &need.require {
        let at = at.key("require");
        let strangers = strangers(require, need.gpus > 0.0, &at);
        if strangers.is_empty() {
            faults.extend(types::check(require, Names::Machine, &at));
        }
        faults.extend(strangers);
        faults.extend(conditions::unknown_functions(require, &at));
    }
    faults
}

fn gpus(need: &Resources, at: &Path) -> Vec<Fault> {
    let gpus = need.gpus;
    let fault = |message: String, hint: &str| vec![Fault::new(at.key("gpus"), message).hint(hint)];
    let hundredths = gpus * f64::from(GPU_PARTS);
    if gpus < 0.0 {
        fault(format!("a trial cannot use {} GPUs", number(gpus)), "write 0 or more")
    } else if gpus > GPUS {
        fault(format!("no machine has {} GPUs", number(gpus)), "write what one trial needs, not the whole sweep")
    } else if gpus > 1.0 && gpus.fract() != 0.0 {
        let message = format!("{} GPUs are neither whole ones nor a share of one", number(gpus));
        fault(message, "write a whole number, or less than 1 for a share of one device")
    } else if (hundredths - hundredths.round()).abs() > 1e-6 {
        let message = format!("{} of a GPU cannot be counted: shares are counted to 0.01", number(gpus));
        fault(message, "write for example 0.33")
    } else if gpus == 0.0 && need.gpu_memory.is_some() {
        let fault = Fault::new(at.key("gpu_memory"), "a trial that asks for no GPU has no memory of one").at_key();
        vec![fault.hint("add `gpus: 1`, or a share such as `gpus: 0.5`")]
    } else {
        Vec::new()
    }
}

/// What a condition on the machine mentions that is not known of any.
fn strangers(require: &Expr, has_gpu: bool, at: &Path) -> Vec<Fault> {
    let mut mentioned = Vec::new();
    mentions(require.program().expression(), &mut mentioned);
    mentioned.sort();
    mentioned.dedup();
    let mut faults = Vec::new();
    for Mention { root, part } in mentioned {
        let dotted = part.as_ref().map_or_else(|| root.clone(), |part| format!("{root}.{part}"));
        let fault = |message: String| {
            conditions::within_name(Fault::new(at.clone(), message), require, part.as_deref().unwrap_or(&root))
        };
        let parts: Vec<&str> = NAMES.into_iter().filter(|name| name.starts_with(&format!("{root}."))).collect();
        match (root.as_str(), &part) {
            ("labels" | "facts", Some(_)) => {}
            ("gpu", _) if !has_gpu => {
                faults.push(fault("it asks about a GPU, and the trial takes none".to_owned()).hint("add `gpus: 1`"));
            }
            _ if NAMES.contains(&dotted.as_str()) => {}
            (_, None) if !parts.is_empty() => {
                let message = format!("`{root}` has parts, and is nothing by itself");
                faults.push(fault(message).hint(format!("write for example `{}`", parts[0])));
            }
            _ => {
                let known = if parts.is_empty() { NAMES.to_vec() } else { parts };
                let message = format!("`{dotted}` is not known of a machine");
                faults.push(fault(message).maybe_hint(did_you_mean(&dotted, known)));
            }
        }
    }
    faults
}

/// `root` or `root.part`, as an expression mentions it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Mention {
    root: String,
    part: Option<String>,
}

fn mentions(node: &IdedExpr, into: &mut Vec<Mention>) {
    match &node.expr {
        Ast::Ident(root) => into.push(Mention { root: root.clone(), part: None }),
        Ast::Select(select) => match &select.operand.expr {
            Ast::Ident(root) => into.push(Mention { root: root.clone(), part: Some(select.field.clone()) }),
            _ => mentions(&select.operand, into),
        },
        Ast::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            // A part whose name is computed: `labels["my-zone"]`.
            (operators::INDEX, [IdedExpr { expr: Ast::Ident(root), .. }, key])
                if ["labels", "facts"].contains(&root.as_str()) =>
            {
                into.push(Mention { root: root.clone(), part: Some(String::new()) });
                mentions(key, into);
            }
            _ => call.args.iter().chain(call.target.as_deref()).for_each(|part| mentions(part, into)),
        },
        Ast::List(list) => list.elements.iter().for_each(|element| mentions(element, into)),
        // Loops do not parse, and of maps nothing is asked here.
        Ast::Unspecified | Ast::Comprehension(_) | Ast::Literal(_) | Ast::Map(_) | Ast::Struct(_) => {}
    }
}

/// Configurations that no variant is for: their trials could never run.
fn without_variant(context: &Context<'_>, list: &[Resources]) -> Option<Fault> {
    let is_sound =
        [names::check, space::check, conditions::check, constraints::check].iter().all(|rule| rule(context).is_empty());
    let is_whole = context.is_whole("space") && context.is_whole("constraints") && context.is_whole("resources");
    if list.iter().any(|need| need.when.is_none()) || !is_sound || !is_whole {
        return None;
    }
    let has_variant = |params: &Params| list.iter().any(|need| need.is_for(params));
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut drawn =
        (0..DRAWS).map(|_| context.space.sample(&mut rng)).filter(|params| context.space.is_feasible(params));
    let params = drawn.find(|params| !has_variant(params))?;
    let message = format!("no variant is for the configuration {params}, so its trial could never run");
    Some(Fault::new("resources", message).at_key().hint("let the last variant have no `when`"))
}
