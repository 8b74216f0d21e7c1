//! `heats quota`: how much projects and users may have of the cluster.

use heats_wire::v1;

use crate::context::{Context, OutputArg};
use crate::exit::{Exit, Outcome};
use crate::hints;
use crate::output::{Column, Fields, Item, Kind, Listing};

/// The verbs about quotas.
#[derive(clap::Subcommand, Debug)]
pub enum QuotaCommand {
    /// Say how much a project or a user may have, in place of what was said before
    Set(SetArgs),
    /// List the quotas, with what is held and used
    Ls(LsArgs),
    /// Take a quota back
    Rm(Target),
}

/// Whom a quota is about.
#[derive(clap::Args, Debug)]
pub struct Target {
    /// Whether it is a project or a user
    #[arg(value_name = "project|user")]
    scope: Scope,
    /// Which
    #[arg(value_name = "NAME")]
    name: String,
}

/// `heats quota set`
#[derive(clap::Args, Debug)]
pub struct SetArgs {
    #[command(flatten)]
    target: Target,
    /// How many shares it has, where others have one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    weight: u32,
    /// How many trials at once [default: as many as fit]
    #[arg(long, value_name = "N")]
    parallel: Option<u32>,
    /// How many GPUs at once [default: as many as there are]
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,
    /// How many GPU-hours in all, of the sweeps that there are [default: no limit]
    #[arg(long, value_name = "HOURS")]
    gpu_hours: Option<f64>,
}

/// `heats quota ls`
#[derive(clap::Args, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    output: OutputArg,
}

/// What a quota is about.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    Project,
    User,
}

impl Scope {
    fn wire(self) -> i32 {
        match self {
            Self::Project => v1::QuotaScope::Project,
            Self::User => v1::QuotaScope::Person,
        }
        .into()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::User => "user",
        }
    }
}

/// Does what the verb says.
pub async fn run(context: &Context, command: &QuotaCommand) -> Outcome {
    match command {
        QuotaCommand::Set(args) => set(context, args).await,
        QuotaCommand::Ls(args) => ls(context, args).await,
        QuotaCommand::Rm(target) => rm(context, target).await,
    }
}

async fn set(context: &Context, args: &SetArgs) -> Outcome {
    let SetArgs { target: Target { scope, name }, weight, parallel, gpus, gpu_hours } = args;
    let quota = v1::Quota {
        scope: scope.wire(),
        name: name.clone(),
        weight: *weight,
        parallel: *parallel,
        gpus: *gpus,
        gpu_hours: *gpu_hours,
    };
    context.client()?.set_quota(quota).await?;
    let scope = scope.name();
    hints::note(&format!("the quota of {scope} `{name}` holds from now on; what runs beyond it runs on"));
    hints::next(&[
        ("heats quota ls".to_owned(), "the quotas, with what is held and used"),
        (format!("heats quota rm {scope} {name}"), "take it back"),
    ]);
    Ok(Exit::Ok)
}

async fn ls(context: &Context, args: &LsArgs) -> Outcome {
    let printer = context.printer(&args.output)?;
    let v1::QuotasResponse { log_index, quotas } = context.client()?.quotas().await?;
    let listing = Listing {
        of: "quotas",
        meta: Fields::new().with("log_index", log_index).done(),
        items: quotas.iter().map(item).collect(),
        columns: vec![
            Column::new("SCOPE", "scope", Kind::Text),
            Column::new("NAME", "name", Kind::Text),
            Column::new("WEIGHT", "weight", Kind::Number),
            Column::new("RUNNING", "running", Kind::Number),
            Column::new("PARALLEL", "parallel", Kind::Number),
            Column::new("GPUS HELD", "gpus_held", Kind::Number),
            Column::new("GPUS", "gpus", Kind::Number),
            Column::new("HOURS USED", "gpu_hours_used", Kind::Number),
            Column::new("GPU-HOURS", "gpu_hours", Kind::Number),
        ],
        now_ms: 0,
    };
    printer.list(&listing, "no quotas: `heats quota set project NAME --parallel 64` makes one")?;
    Ok(Exit::Ok)
}

fn item(usage: &v1::QuotaUse) -> Item {
    let v1::QuotaUse { quota, running, gpu_parts, gpu_ms } = usage;
    let quota = quota.clone().unwrap_or_default();
    let scope = match quota.scope() {
        v1::QuotaScope::Project => Scope::Project,
        v1::QuotaScope::Person => Scope::User,
    };
    let json = Fields::new()
        .with("scope", scope.name())
        .with("name", quota.name.as_str())
        .with("weight", quota.weight)
        .with("running", *running)
        .with("parallel", quota.parallel)
        .number("gpus_held", Some(*gpu_parts as f64 / 100.0))
        .with("gpus", quota.gpus)
        .number("gpu_hours_used", Some(*gpu_ms as f64 / 3_600_000.0))
        .number("gpu_hours", quota.gpu_hours)
        .done();
    Item { name: quota.name, json }
}

async fn rm(context: &Context, target: &Target) -> Outcome {
    let Target { scope, name } = target;
    let request = v1::RemoveQuotaRequest { scope: scope.wire(), name: name.clone() };
    context.client()?.remove_quota(request).await?;
    hints::note(&format!("{} `{name}` has no quota any more, and a weight of 1", scope.name()));
    hints::next(&[("heats quota ls".to_owned(), "those that are left")]);
    Ok(Exit::Ok)
}
